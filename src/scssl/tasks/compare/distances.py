"""How far samples lie from each other as clouds of cells, and what a condition moves beyond what donors differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.tasks.compare.layout import Layout

BLOCK: Final = 1 << 22
"""Distances held at a time: 32 MB."""


class Shift(NamedTuple):
    """How far a condition moves the cells of a type."""

    shift: float
    """Energy distance between the conditions that is beyond what donors differ by chance."""
    donor_spread: float
    """Energy distance between two donors under the same condition, on average."""

    @property
    def share(self) -> float:
        """How much of the distance between donors of different conditions is the condition, from 0 to 1."""
        between = self.shift + self.donor_spread
        return float(np.clip(self.shift / between, 0.0, 1.0)) if between > 0 else 0.0


def sample_distances(
    points: NDArray[np.floating], *, sample: NDArray[np.integer], n_samples: int
) -> NDArray[np.float64]:
    """Return the energy distance between all pairs of samples, as `scssl.metrics.populations.energy_distance` has it.

    Each cell is compared with each other once for all pairs together.

    Parameters
    ----------
    points
        (n_cells, n_dimensions).
    sample
        (n_cells,) codes from 0; each has two cells or more.
    n_samples
        Samples.

    Returns
    -------
    numpy.ndarray
        (n_samples, n_samples) unbiased, zero on the diagonal.
    """
    from scipy.spatial.distance import cdist

    order = np.argsort(sample, kind="stable")
    x, codes = np.asarray(points, dtype=np.float64)[order], sample[order]
    size = np.bincount(codes, minlength=n_samples)
    starts = np.concatenate([[0], np.cumsum(size)[:-1]])
    total = np.zeros((n_samples, n_samples))
    rows = max(1, BLOCK // max(len(x), 1))
    for start in range(0, len(x), rows):
        summed = np.add.reduceat(cdist(x[start : start + rows], x), starts, axis=1)
        np.add.at(total, codes[start : start + rows], summed)
    mean = total / np.outer(size, size)
    own = np.diag(total) / (size * (size - 1.0))
    distances = 2 * mean - own[:, None] - own[None, :]
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0.0)
    return np.asarray(distances)


def coordinates(distances: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates of samples between which squared lengths are energy distances (principal coordinates).

    An energy distance is a squared length between the samples' mean embeddings, so that a linear model of such
    coordinates is one of the samples' distributions (McArdle and Anderson 2001,
    doi 10.1890/0012-9658(2001)082[0290:FMMTCD]2.0.CO;2). Estimates of distances need not fit into one space: what does
    not has negative squares.

    Parameters
    ----------
    distances
        (n_samples, n_samples) squared lengths.

    Returns
    -------
    coordinates : numpy.ndarray
        (n_samples, n_samples).
    signs : numpy.ndarray
        (n_samples,) 1 or -1, the sign of the squares of each coordinate.
    """
    centre = np.eye(len(distances)) - 1 / len(distances)
    gram = -0.5 * centre @ distances @ centre
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    return vectors * np.sqrt(np.abs(values)), np.where(values < 0, -1.0, 1.0)


def adjusted_distances(distances: NDArray[np.floating], layout: Layout) -> NDArray[np.float64]:
    """Take what covariates do out of distances between samples; the donors of pairs stay as they are.

    Parameters
    ----------
    distances
        (n_samples, n_samples) squared lengths.
    layout
        The samples.
    """
    if layout.paired or layout.basis.shape[1] == 1:
        return np.asarray(distances, dtype=np.float64)
    contrast = layout.contrast / (layout.contrast @ layout.contrast)
    # Residuals of the whole model, and the condition put back.
    project = np.eye(len(distances)) - layout.basis @ layout.basis.T
    project += np.outer(layout.case - layout.contrast, contrast)
    gram = -0.5 * project @ distances @ project.T
    diagonal = np.diag(gram)
    return np.asarray(diagonal[:, None] + diagonal[None, :] - 2 * gram)


def shift_of(distances: NDArray[np.floating], layout: Layout, *, weight: NDArray[np.floating] | None = None) -> Shift:
    """Return how far the conditions lie apart, and how far donors do.

    .. math:: E_{AB} - (E_{AA} + E_{BB}) / 2

    with mean energy distances between different donors: it is 0 on average where donors are the only difference.

    Parameters
    ----------
    distances
        (n_samples, n_samples) energy distances.
    layout
        The samples.
    weight
        (n_donors,) how often each donor counts; once by default. A donor is never compared with itself.
    """
    each = np.ones(layout.donor.max() + 1) if weight is None else np.asarray(weight, dtype=np.float64)
    shift, spread = resampled(distances, layout, weights=each[None])
    return Shift(float(shift[0]), float(spread[0]))


def resampled(
    distances: NDArray[np.floating], layout: Layout, *, weights: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the shift and the donors' spread (see `shift_of`) for several weights of the donors at once.

    Parameters
    ----------
    distances, layout
        See `shift_of`.
    weights
        (n_resamples, n_donors).

    Returns
    -------
    shift, spread : numpy.ndarray
        (n_resamples,) each; NaN where a condition has fewer than two different donors.
    """
    different = (layout.donor[:, None] != layout.donor[None, :]).astype(np.float64)
    w = np.asarray(weights, dtype=np.float64)[:, layout.donor]

    def mean(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float64]:
        pairs, block = different[np.ix_(one, other)], distances[np.ix_(one, other)]
        total = ((w[:, one] @ pairs) * w[:, other]).sum(axis=1)
        summed = ((w[:, one] @ (pairs * block)) * w[:, other]).sum(axis=1)
        means: NDArray[np.float64] = np.divide(summed, total, out=np.full(len(w), np.nan), where=total > 0)
        return means

    case = layout.case
    spread = (mean(case, case) + mean(~case, ~case)) / 2
    return mean(case, ~case) - spread, spread
