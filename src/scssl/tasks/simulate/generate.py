"""Counts of cells under another condition, made of the counts of real control cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.tasks.simulate.space import Space

BLOCK: Final = 4_000_000
UNEVEN_CELLS, MOST_CELLS = 20, 300
"""Of a group, under either condition, from which unevenness is estimated."""
LEAST_SHARE: Final = 1e-8
"""Taken for the share of a gene that no control cell had: one count in 100 million."""


def generate(
    counts: sp.csr_matrix,
    *,
    share: NDArray[np.float64],
    target: NDArray[np.float64],
    depth: float,
    dispersion: NDArray[np.float64],
    unevenness: float = 0.0,
    rng: np.random.Generator,
) -> sp.csr_matrix:
    r"""Turn control cells into cells whose expected expression is another, each cell by itself.

    A count is taken for a Poisson draw from a rate :math:`\lambda` that varies between cells as a gamma distribution
    (together: negative binomial). Where expression falls to a share f, every molecule is kept with probability f. Where
    it rises f-fold, Poisson draws of rate :math:`(f - 1) \lambda` are added, with :math:`\lambda` drawn from what the
    count at hand leaves possible, gamma of shape :math:`1/\phi + y`. Either way the new count is a Poisson draw from
    :math:`f \lambda`: if the control cells are as assumed, simulated ones are negative binomial around the new mean,
    with the same dispersion, and whatever else tells the control cells apart is kept.

    Cells respond unevenly: each goes a part of the way that is drawn from a gamma distribution with mean 1.

    Parameters
    ----------
    counts
        (n_cells, n_genes) control cells of one group.
    share
        (n_genes,) of the group's counts.
    target
        (n_genes,) share of the simulated cells' counts.
    depth
        By what factor totals change.
    dispersion
        (n_genes,) :math:`\phi`.
    unevenness
        Variance between cells of the part of the way that they go.
    rng
        Source of random numbers.
    """
    base = np.maximum(share, LEAST_SHARE)
    ratio = target / base
    totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    strength = np.ones(len(totals))
    if unevenness > 0:
        strength = rng.gamma(1.0 / unevenness, unevenness, len(totals))
    rows = max(1, BLOCK // max(len(base), 1))
    parts = []
    for start in range(0, len(totals), rows):
        block = sp.csr_matrix(counts[start : start + rows], dtype=np.int64)
        way = strength[start : start + rows, None]
        fold = depth * np.maximum(1.0 + way * (ratio - 1.0), 0.0)
        kept = block.copy()
        at = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        kept.data = rng.binomial(kept.data, np.minimum(fold[at, block.indices], 1.0))
        up = np.flatnonzero((fold > 1).any(axis=0))
        mu = totals[start : start + rows, None] * base[up]
        shape = 1.0 / dispersion[up]
        rate = rng.gamma(shape + block[:, up].toarray(), 1.0 / (shape / mu + 1.0))
        added = sp.csr_matrix(rng.poisson(np.maximum(fold[:, up] - 1.0, 0.0) * rate))
        added = sp.csr_matrix((added.data, up[added.indices], added.indptr), shape=block.shape)
        parts.append(kept + added)
    found = sp.vstack(parts, format="csr")
    found.eliminate_zeros()
    return found


def unevenness(
    pairs: list[tuple[sp.csr_matrix, sp.csr_matrix]], *, space: Space, dispersion: NDArray[np.float64]
) -> float:
    """Estimate how much further some cells go than others, between control and case.

    Of each group, cells are simulated that all go the whole way. How much more measured cells vary along the way, in
    units of its length, is what is looked for; the mean over groups counts long ways more.

    Parameters
    ----------
    pairs
        Counts of control and case cells, per group.
    space
        In which the way is seen.
    dispersion
        (n_genes,).
    """
    more, lengths = 0.0, 0.0
    for number, (control, case) in enumerate(pairs):
        if min(control.shape[0], case.shape[0]) < UNEVEN_CELLS:
            continue
        rng = np.random.default_rng([7, number])
        control, case = (part[np.sort(rng.permutation(part.shape[0])[:MOST_CELLS])] for part in (control, case))
        shares = [np.asarray(part.sum(axis=0), dtype=np.float64).ravel() / part.sum() for part in (control, case)]
        depth = np.exp(np.diff([np.log(np.asarray(part.sum(axis=1))).mean() for part in (control, case)])[0])
        made = generate(control, share=shares[0], target=shares[1], depth=float(depth), dispersion=dispersion, rng=rng)
        before, after, simulated = (space.of(part) for part in (control, case, made))
        way = after.mean(axis=0) - before.mean(axis=0)
        length = float(np.linalg.norm(way))
        if length > 0:
            along = [float((points @ way / length).var(ddof=1)) for points in (after, simulated)]
            more, lengths = more + along[0] - along[1], lengths + length**2
    return float(np.clip(more / lengths, 0.0, 0.5)) if lengths else 0.0


def around(counts: sp.csr_matrix, *, share: NDArray[np.float64], rng: np.random.Generator) -> sp.csr_matrix:
    """Draw cells that differ in nothing but their totals and chance: Poisson around one mean profile.

    Parameters
    ----------
    counts
        (n_cells, n_genes) whose totals to keep in the mean.
    share
        (n_genes,) of the counts.
    rng
        Source of random numbers.
    """
    totals = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    rows = max(1, BLOCK // max(len(share), 1))
    parts = [
        sp.csr_matrix(rng.poisson(totals[start : start + rows, None] * share)) for start in range(0, len(totals), rows)
    ]
    return sp.vstack(parts, format="csr")


def dispersions(groups: list[sp.csr_matrix]) -> NDArray[np.float64]:
    r"""Estimate each gene's negative binomial dispersion within groups, by moments, drawn towards that of all genes.

    :math:`\phi = \sum_i [(y_i - \mu_i)^2 - \mu_i] / \sum_i \mu_i^2` over the cells of all groups, with
    :math:`\mu_i` the cell's total times the group's share. One cell's worth of the median over genes is added to
    both sums, so that genes hardly seen are taken for usual ones.

    Parameters
    ----------
    groups
        Counts of each group, (n_cells, n_genes).
    """
    n_genes = groups[0].shape[1]
    above, squares, expected = np.zeros(n_genes), np.zeros(n_genes), np.zeros(n_genes)
    for counts in groups:
        values: Any = sp.csr_matrix(counts, dtype=np.float64)
        totals = np.asarray(values.sum(axis=1)).ravel()
        share = np.asarray(values.sum(axis=0)).ravel() / max(totals.sum(), 1.0)
        second = np.asarray(values.multiply(values).sum(axis=0)).ravel()
        mu2 = share**2 * (totals**2).sum()
        above += second - 2 * share * (values.T @ totals) + mu2 - share * totals.sum()
        squares += mu2
        expected += share * totals.sum()
    seen = expected >= 20
    usual = float(np.median(above[seen] / squares[seen])) if seen.any() else 0.5
    usual = float(np.clip(usual, 0.05, 5.0))
    # Weight of about 20 expected counts.
    weight = squares * 20.0 / np.maximum(expected, 1e-9) + 1e-12
    return np.clip((above + usual * weight) / (squares + weight), 0.02, 20.0)
