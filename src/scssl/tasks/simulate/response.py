"""How a condition moves the expression of groups of cells: learned from some groups, predicted for others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from scssl.tasks.simulate.covariates import depending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SHARED: Final = (0.7, 0.3)
"""Shares of a response's variance that may be common to all groups, beside all of it."""
SINGLE: Final = 0.1
"""Share that is a group's and a donor's own, where types have several groups."""
SLOPES: Final = (0.0, 0.4)
"""Spread over genes of how far a change depends on the gene's own level, in changes per level."""
STEP: Final = 3.0
"""Between sizes of changes."""
LEARNED, ENOUGH, MANY = 1500, 400, 24
"""Genes that the mixture is learned from, at most; and where groups are more than `MANY`, which takes time with their
third power, as many fewer, but so many at least."""
ROUNDS: Final = 300
NOTHING: Final = 10.0
"""Genes without any change that the mixture is begun with."""
LEAST: Final = 1e-3
"""Parts of the mixture below this weight are left out."""
AT_A_TIME: Final = 1_000_000
"""Covariances held at a time."""


class Predicted(NamedTuple):
    """Changes of groups."""

    mean: NDArray[np.float64]
    """(n_groups, n_genes)."""
    sd: NDArray[np.float64]
    """(n_groups, n_genes) how far the truth may be off."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """One normal distribution of a gene's changes over groups."""

    kernel: NDArray[np.float64]
    slope: float

    def covariance(self, level: NDArray[np.float64], *, n_seen: int) -> NDArray[np.float64]:
        """(n_genes, n_seen, n_groups) of the first groups with all; `level` is (n_genes, n_groups)."""
        return self.kernel[None, :n_seen] + (self.slope * level[:, :n_seen, None]) * (self.slope * level[:, None, :])

    def variance(self, level: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n_genes, n_groups)."""
        return np.diag(self.kernel) + (self.slope * level) ** 2


def kernels(
    types: Sequence[str],
    donors: Sequence[str] | None,
    features: Sequence[NDArray[np.float64]],
    *,
    likeness: Sequence[NDArray[np.float64]] = (),
) -> list[NDArray[np.float64]]:
    """Return covariances of changes between groups, each about 1 on the diagonal.

    A part of each is common to all groups; the rest belongs to the cell types, which have nothing more in common, or
    as much as they are alike: the inner products of their features, as in ridge regression on these. Where there are
    covariates, half of all this may be shared by groups of like values only.

    Parameters
    ----------
    types, donors
        Of each group; donors are None where groups are whole types.
    features
        Each (n_groups, any width): what groups are like under the control.
    likeness
        Each (n_groups, n_groups): how alike groups are in a covariate, by `likenesses`.
    """
    n = len(types)
    names, of = np.unique(np.asarray(types, dtype=str), return_inverse=True)
    same = (of[:, None] == of[None]).astype(float)
    own = [same]
    for values in features:
        centres = np.stack([values[of == i].mean(axis=0) for i in range(len(names))])
        centres = centres - centres.mean(axis=0)
        products = centres @ centres.T
        if len(names) > 2 and np.trace(products) > 0:
            own.append((products / np.diag(products).mean())[np.ix_(of, of)])
    found = [np.ones((n, n))]
    if len(names) > 1:
        found += [share + (1 - share) * kernel for share in SHARED for kernel in own]
    found = depending(found, likeness)
    if len(names) < n:
        singles = np.eye(n)
        if donors is not None:
            whom = np.asarray(donors, dtype=str)
            singles = 0.5 * singles + 0.5 * (whom[:, None] == whom[None])
        found += [(1 - SINGLE) * kernel + SINGLE * singles for kernel in found]
    return found


def predict(
    change: NDArray[np.float64],
    variance: NDArray[np.float64],
    covariances: Sequence[NDArray[np.float64]],
    *,
    level: NDArray[np.float64],
    seed: int = 0,
) -> Predicted:
    r"""Predict the change of all groups from those of the first ones, gene by gene, by multivariate adaptive shrinkage.

    The changes of a gene over groups are drawn from a mixture of :math:`N(0, s^2 K_k + b^2 x x^\top)`, and seen with
    known errors. :math:`K_k` is one of the covariances, s a size, and x the gene's own level under the control, on
    which changes may depend (a gene that is on already cannot be switched on). How often each occurs is learned from
    all genes together by expectation-maximisation; then each gene's changes are what this makes of those seen, in
    groups not seen as in the others (mash: Urbut et al. 2019, doi 10.1038/s41588-018-0268-8; across groups: kriging).

    Parameters
    ----------
    change, variance
        (n_seen, n_genes) changes seen, and their squared standard errors.
    covariances
        Each (n_groups, n_groups); the first n_seen groups are those seen.
    level
        (n_groups, n_genes) of the genes under the control.
    seed
        Of the genes that the mixture is learned from.
    """
    n_seen, n_genes = change.shape
    centred = (level - level[:n_seen].mean(axis=0)).T
    slopes = SLOPES if n_seen > 2 else SLOPES[:1]
    parts = [
        _Part(kernel=size**2 * kernel, slope=slope)
        for kernel in covariances
        for size in _sizes(change, variance)
        for slope in slopes
    ]
    parts.append(_Part(kernel=np.zeros_like(covariances[0]), slope=0.0))
    n_learned = LEARNED if n_seen <= MANY else max(ENOUGH, int(LEARNED * (MANY / n_seen) ** 2))
    some = np.sort(np.random.default_rng(seed).permutation(n_genes)[:n_learned])
    density = []
    for part in parts:
        seen = _Part(kernel=part.kernel[:n_seen, :n_seen], slope=part.slope)
        within = seen.covariance(centred[some, :n_seen], n_seen=n_seen)
        density.append(_density(*_whitened(change[:, some], variance[:, some], within)))
    weights = _mixture(np.stack(density))
    kept = np.flatnonzero(weights > LEAST)
    log_weights = np.log(weights[kept] / weights[kept].sum())
    means, variances = [], []
    step = max(1, AT_A_TIME // (n_seen * centred.shape[1]))
    for start in range(0, n_genes, step):
        genes = slice(start, start + step)
        found = [_posterior(change[:, genes], variance[:, genes], parts[i], level=centred[genes]) for i in kept]
        score = np.stack([w + part[0] for w, part in zip(log_weights, found, strict=True)])
        score = np.exp(score - score.max(axis=0))
        score = (score / score.sum(axis=0))[:, :, None]
        mean, spread = (np.stack([part[i] for part in found]) for i in (1, 2))
        middle = (score * mean).sum(axis=0)
        means.append(middle)
        variances.append((score * (spread + (mean - middle) ** 2)).sum(axis=0))
    return Predicted(np.concatenate(means).T, np.sqrt(np.maximum(np.concatenate(variances).T, 0.0)))


def _sizes(change: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sizes of changes: from below the errors up to the largest change seen, in even steps of the logarithm."""
    smallest = float(np.sqrt(np.median(variance)) / 3)
    largest = float(np.sqrt(np.maximum((change**2 - variance).mean(axis=0), 0.0).max()))
    steps = int(np.ceil(np.log(max(largest / smallest, STEP)) / np.log(STEP)))
    return np.asarray(smallest * STEP ** np.arange(steps + 1))


def _whitened(
    d: NDArray[np.float64], v: NDArray[np.float64], K: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cholesky factors (n_genes, n_seen, n_seen) of covariance and errors, and the changes whitened by them."""
    n = K.shape[1]
    jitter = 1e-8 * np.trace(K, axis1=1, axis2=2)[:, None] / n
    factor: NDArray[np.float64] = np.linalg.cholesky(K + (v.T + jitter)[:, :, None] * np.eye(n))
    return factor, np.asarray(np.linalg.solve(factor, d.T[:, :, None])[:, :, 0], dtype=np.float64)


def _density(factor: NDArray[np.float64], white: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-0.5 * (white**2).sum(axis=1) - np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1))


def _posterior(
    d: NDArray[np.float64], v: NDArray[np.float64], part: _Part, *, level: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Log density of what was seen, and mean and variance (n_genes, n_groups) of all groups given it."""
    n = len(d)
    K = part.covariance(level, n_seen=n)
    factor, white = _whitened(d, v, K[:, :, :n])
    across = np.linalg.solve(factor, K)
    mean = np.einsum("gsk,gs->gk", across, white)
    return _density(factor, white), mean, part.variance(level) - (across**2).sum(axis=1)


def _mixture(log_density: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the parts of a mixture by expectation-maximisation; the last part, no change, is favoured a little."""
    density = np.exp(log_density - log_density.max(axis=0))
    weights, prior = np.full(len(density), 1.0 / len(density)), np.zeros(len(density))
    prior[-1] = NOTHING
    for _ in range(ROUNDS):
        share = weights[:, None] * density
        new = (share / share.sum(axis=0)).sum(axis=1) + prior
        before, weights = weights, np.asarray(new / new.sum())
        if np.abs(weights - before).max() < 1e-5:
            break
    return weights
