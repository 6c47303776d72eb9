"""How far apart two populations of cells lie, as clouds of points: energy distance and maximum mean discrepancy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BLOCK: Final = 1 << 21
"""Distances held at a time: 16 MB."""
SAMPLED: Final = 1_000
"""Cells of each population among which the median distance is taken."""


def energy_distance(x: NDArray[Any], y: NDArray[Any], *, unbiased: bool = True) -> float:
    r"""Return the energy distance of two populations (Székely and Rizzo 2013, doi 10.1016/j.jspi.2013.03.018).

    .. math:: 2\,E\lVert X - Y \rVert - E\lVert X - X' \rVert - E\lVert Y - Y' \rVert

    with Euclidean distances (not squared ones, which would see the means only) and without a root. It is 0 only when
    both have the same distribution. How to read it: against the value between two halves of one population.

    Parameters
    ----------
    x, y
        (n_x, n_dimensions) and (n_y, n_dimensions): codes or principal components, in the same space.
    unbiased
        Leave out the distance of each cell to itself: right on average at any number of cells, and so sometimes a
        little below 0. With False it is never negative, and too large by about the spread divided by the cells.

    Raises
    ------
    DataError
        If shapes do not fit, values are not finite, or a population has no cell (fewer than two, unbiased).

    Example
    -------
    >>> energy_distance(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]]), unbiased=False)
    1.0
    """
    x, y = _checked(x, y, fewest=2 if unbiased else 1)
    within = sum(_mean_within(points, _same, unbiased=unbiased) for points in (x, y))
    return 2.0 * _mean_between(x, y, _same) - within


def mmd(x: NDArray[Any], y: NDArray[Any], *, bandwidth: float | None = None, unbiased: bool = True) -> float:
    r"""Return the squared maximum mean discrepancy with a Gaussian kernel (Gretton et al. 2012, JMLR 13:723).

    .. math:: E\,k(X, X') + E\,k(Y, Y') - 2\,E\,k(X, Y), \quad k(a, b) = e^{-\lVert a - b \rVert^2 / (2 s^2)}

    Parameters
    ----------
    x, y
        (n_x, n_dimensions) and (n_y, n_dimensions), in the same space.
    bandwidth
        s; None for the median distance among the cells of both (`median_distance`). Values are comparable only at the
        same bandwidth: to compare several predictions with one truth, take it once and give it to all.
    unbiased
        Leave out the pairs of a cell with itself (sometimes a little below 0); with False never negative.

    Raises
    ------
    DataError
        If shapes do not fit, values are not finite, a population has no cell (fewer than two, unbiased), or the
        bandwidth is not above 0.

    Example
    -------
    >>> round(mmd(np.array([[0.0], [0.0]]), np.array([[1.0], [1.0]]), bandwidth=1.0), 6)
    0.786939
    """
    x, y = _checked(x, y, fewest=2 if unbiased else 1)
    s = median_distance(x, y) if bandwidth is None else float(bandwidth)
    if not (np.isfinite(s) and s > 0):
        message = f"the bandwidth is {s}; it must be above 0 (are most cells the same point?)"
        raise DataError(message)

    def kernel(distance: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(-0.5 * (distance / s) ** 2)

    within = sum(_mean_within(points, kernel, unbiased=unbiased) for points in (x, y))
    return within - 2.0 * _mean_between(x, y, kernel)


def population_distance(x: NDArray[Any], y: NDArray[Any]) -> float:
    r"""Return how far predicted cells are from measured ones: the means' distance and that of the clouds around them.

    .. math:: \lVert \bar x - \bar y \rVert^2 / E\lVert Y - Y' \rVert + \mathcal{E}(X - \bar x,\, Y - \bar y)

    with :math:`\mathcal{E}` the energy distance; what chance adds to either is taken away. The energy
    distance of the cells as they are has a weakness: where the mean is wrong, it rewards cells that are scattered more
    widely. Here a wrong mean costs the same whatever the spread, and a wrong spread costs in addition.

    Parameters
    ----------
    x
        (n_x, n_dimensions) predicted cells.
    y
        (n_y, n_dimensions) measured cells, which set the unit; not all in one point.

    Raises
    ------
    DataError
        If shapes do not fit, values are not finite, there are fewer than two cells, or all of `y` are in one point.

    Example
    -------
    >>> y = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> round(population_distance(y + 10.0, y), 3), round(population_distance(y, y), 3)
    (59.053, -0.947)
    """
    x, y = _checked(x, y, fewest=2)
    unit = _mean_within(y, _same, unbiased=True)
    if unit <= 0:
        message = "the measured cells are all in one point, which gives distances no unit"
        raise DataError(message)
    chance = sum(float(points.var(axis=0, ddof=1).sum()) / len(points) for points in (x, y))
    means = float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()) - chance
    # Around their own mean cells lie a little closer than around the true one.
    around = [(points - points.mean(axis=0)) * np.sqrt(len(points) / (len(points) - 1)) for points in (x, y)]
    shapes = 2.0 * _mean_between(around[0], around[1], _same) - _mean_within(x, _same, unbiased=True) - unit
    return means / unit + shapes


def median_distance(x: NDArray[Any], y: NDArray[Any], *, seed: int = 0) -> float:
    """Return the median distance between different cells of two populations together.

    Of each population at most 1,000 cells are drawn, at random.

    Parameters
    ----------
    x, y
        (n_x, n_dimensions) and (n_y, n_dimensions).
    seed
        Of the draw.

    Raises
    ------
    DataError
        If shapes do not fit, values are not finite, or there is only one cell.
    """
    from scipy.spatial.distance import pdist

    x, y = _checked(x, y, fewest=1)
    rng = np.random.default_rng(seed)
    drawn = [p if len(p) <= SAMPLED else p[rng.choice(len(p), SAMPLED, replace=False)] for p in (x, y)]
    return float(np.median(pdist(np.concatenate(drawn))))


def _same(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return distance


def _mean_between(x: NDArray[Any], y: NDArray[Any], of: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> float:
    from scipy.spatial.distance import cdist

    rows = max(1, BLOCK // len(y))
    total = sum(float(of(cdist(x[start : start + rows], y)).sum()) for start in range(0, len(x), rows))
    return total / (len(x) * len(y))


def _mean_within(x: NDArray[Any], of: Callable[[NDArray[np.float64]], NDArray[np.float64]], *, unbiased: bool) -> float:
    from scipy.spatial.distance import cdist

    n, rows = len(x), max(1, BLOCK // len(x))
    total = 0.0  # over pairs of different cells, each once
    for start in range(0, n, rows):
        block = x[start : start + rows]
        found = of(cdist(block, x[start:]))
        total += float(found[:, len(block) :].sum() + np.triu(found[:, : len(block)], k=1).sum())
    if unbiased:
        return 2.0 * total / (n * (n - 1))
    return (2.0 * total + n * float(of(np.zeros(1))[0])) / n**2


def _checked(x: NDArray[Any], y: NDArray[Any], *, fewest: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        message = f"two populations must be given in the same space, not with shapes {x.shape} and {y.shape}"
        raise DataError(message)
    if min(len(x), len(y)) < fewest:
        message = f"populations of {len(x)} and {len(y)} cells cannot be compared; each needs at least {fewest}"
        raise DataError(message)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        message = "coordinates of cells are missing or infinite; leave out cells without any count"
        raise DataError(message)
    return x, y
