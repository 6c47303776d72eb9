"""Negative binomial counts drawn straight into sparse form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIRECT_ABOVE = 4.0
# Above this mean a draw is a Gamma-Poisson one; below it, walking up the distribution function is faster.


def negative_binomial(
    mean: NDArray[np.float32], *, dispersion: NDArray[np.floating], rng: np.random.Generator
) -> sp.csr_matrix:
    """Draw negative binomial counts with variance ``mean + dispersion * mean**2``.

    Most entries of single-cell data are zero, so one uniform number per entry is first compared with the chance of a
    zero, ``(1 + dispersion * mean) ** (-1 / dispersion)``; only the entries above zero are worked out further. The
    distribution is the exact one (to the 24 bits of the uniform numbers).

    Parameters
    ----------
    mean
        (n_cells, n_genes) expected counts.
    dispersion
        (n_genes,) above 0.
    rng
        Source of random numbers.

    Returns
    -------
    scipy.sparse.csr_matrix
        (n_cells, n_genes) int32, sorted indices, no stored zeros.

    Example
    -------
    >>> rng = np.random.default_rng(0)
    >>> negative_binomial(np.full((2, 3), 5.0, np.float32), dispersion=np.full(3, 0.1), rng=rng).shape
    (2, 3)
    """
    n_cells, n_genes = mean.shape
    phi = np.asarray(dispersion, dtype=np.float32)
    uniform = rng.random(mean.shape, dtype=np.float32)
    zero = mean * phi
    np.log1p(zero, out=zero)
    zero *= -1 / phi
    np.exp(zero, out=zero)
    flat = np.flatnonzero(uniform >= zero)
    gene = flat % n_genes
    values = _above_zero(
        mean.ravel()[flat].astype(np.float64),
        size=1 / phi[gene].astype(np.float64),
        uniform=uniform.ravel()[flat].astype(np.float64),
        rng=rng,
    )
    indptr = np.zeros(n_cells + 1, dtype=np.int64)
    np.cumsum(np.bincount(flat // n_genes, minlength=n_cells), out=indptr[1:])
    return sp.csr_matrix((values, gene.astype(np.int32), indptr), shape=mean.shape)


def _above_zero(
    mean: NDArray[np.float64], *, size: NDArray[np.float64], uniform: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw counts given that they are above zero; `size` is 1 / dispersion, `uniform` lies above the chance of zero."""
    values = np.ones(mean.shape[0], dtype=np.int32)
    direct = np.flatnonzero(mean >= _DIRECT_ABOVE)
    walk = np.flatnonzero(mean < _DIRECT_ABOVE)

    while direct.size:
        drawn = rng.poisson(rng.gamma(size[direct], mean[direct] / size[direct]))
        values[direct] = drawn
        direct = direct[drawn == 0]

    m, r, u = mean[walk], size[walk], uniform[walk]
    odds = m / (r + m)
    term = (r / (r + m)) ** r
    below = term.copy()
    k = 0
    while walk.size:
        k += 1
        term = term * odds * (r + k - 1) / k
        below += term
        # Rounding can leave a chance that never adds up to `u`: stop where the terms no longer count.
        go_on = np.flatnonzero((u >= below) & (term > 1e-12))
        values[walk] = k
        walk, r, u, odds, term, below = walk[go_on], r[go_on], u[go_on], odds[go_on], term[go_on], below[go_on]
    return values
