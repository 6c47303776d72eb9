"""How well predicted numbers agree with measured ones: one score per gene, protein or peak, or one per cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.stats import rankdata

from scssl.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Agreement(NamedTuple):
    """Scores, each one number per column or per row; float64."""

    pearson: NDArray[np.float64]
    """Correlation, from -1 to 1; 0 where the prediction is constant, which tells nothing apart."""
    spearman: NDArray[np.float64]
    """The same of the ranks; equal values share the mean of their ranks."""
    rmse: NDArray[np.float64]
    """Root of the mean squared difference, in the units of the values."""
    explained_variance: NDArray[np.float64]
    """1 - variance of the differences / variance of the truth: 1 is perfect, 0 as good as any constant, below 0 worse.
    Differences that are the same everywhere cost nothing; `rmse` sees them."""


def agreement(
    truth: NDArray[np.floating],
    predicted: NDArray[np.floating],
    *,
    axis: Literal[0, 1] = 0,
    weights: NDArray[np.floating] | None = None,
) -> Agreement:
    """Compare predictions with the truth, column by column or row by row.

    Parameters
    ----------
    truth, predicted
        (n_cells, n_features), on the same scale.
    axis
        0: over the cells, one number per feature; 1: over the features, one number per cell.
    weights
        0 or more: one per value that is averaged over, (n_cells,) for ``axis=0`` and (n_features,) for ``axis=1``, or
        one per entry, (n_cells, n_features). A weight of 2 is the same as the value twice, 0 as without it. All count
        the same by default.

    Returns
    -------
    Agreement
        All but `rmse` are NaN where the truth is constant, as there is nothing to explain; all are NaN where nothing
        has a weight.

    Raises
    ------
    DataError
        If the shapes differ, or a value is not finite.

    Example
    -------
    >>> truth = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    >>> agreement(truth, truth + 0.5).pearson
    array([ 1., nan])
    """
    x, y, w = _checked(truth, predicted, axis=axis, weights=weights)
    if len(x) == 0:
        nothing = np.full(x.shape[1], np.nan)
        return Agreement(*(nothing.copy() for _ in Agreement._fields))
    if w is None:
        constant, flat = (x.max(axis=0) == x.min(axis=0)), (y.max(axis=0) == y.min(axis=0))
        total: NDArray[np.float64] = np.full(x.shape[1], float(len(x)))
    else:
        constant, flat = _constant(x, w), _constant(y, w)
        total = w.sum(axis=0)
    total = np.where(total > 0, total, np.nan)
    difference = y - x
    rmse = np.sqrt(_sum(difference * difference, w) / total)
    variance = _centred_sum(x, x, w, total)
    explained = 1.0 - _centred_sum(difference, difference, w, total) / np.where(constant, np.nan, variance)
    return Agreement(
        pearson=_correlation(x, y, w, total, constant=constant, flat=flat),
        spearman=_correlation(_ranks(x, w), _ranks(y, w), w, total, constant=constant, flat=flat),
        rmse=rmse,
        explained_variance=explained,
    )


def _checked(
    truth: NDArray[np.floating], predicted: NDArray[np.floating], *, axis: int, weights: NDArray[np.floating] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
    """Return float64 arrays turned so that columns are scored."""
    x, y = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if x.ndim != 2 or x.shape != y.shape:
        message = f"truth is {x.shape}, the prediction {y.shape}; both must be (n_cells, n_features)"
        raise DataError(message)
    for name, values in (("truth", x), ("prediction", y)):
        if not np.isfinite(values).all():
            message = f"the {name} has {int((~np.isfinite(values)).sum()):,} values that are missing or infinite"
            raise DataError(message)
    if axis not in (0, 1):
        message = f"axis {axis!r} is not possible; 0 gives one number per column, 1 one per row"
        raise DataError(message)
    w = None if weights is None else np.asarray(weights, dtype=np.float64)
    if axis == 1:
        x, y, w = x.T, y.T, w if w is None or w.ndim == 1 else w.T
    if w is None:
        return x, y, None
    if w.shape not in ((len(x),), x.shape):
        given = w.shape if axis == 0 else w.T.shape
        message = f"weights are {given}; one per value that is averaged over ({len(x):,}), or one per entry"
        raise DataError(message)
    if not (np.isfinite(w) & (w >= 0)).all():
        message = "weights must be 0 or more, and finite"
        raise DataError(message)
    return x, y, np.broadcast_to(w[:, None], x.shape) if w.ndim == 1 else w


def _sum(values: NDArray[np.float64], w: NDArray[np.float64] | None) -> NDArray[np.float64]:
    weighted: NDArray[np.float64] = (values if w is None else values * w).sum(axis=0)
    return weighted


def _centred_sum(
    a: NDArray[np.float64], b: NDArray[np.float64], w: NDArray[np.float64] | None, total: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted sum of products of the distances from the weighted means."""
    return _sum((a - _sum(a, w) / total) * (b - _sum(b, w) / total), w)


def _correlation(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    w: NDArray[np.float64] | None,
    total: NDArray[np.float64],
    *,
    constant: NDArray[np.bool_],
    flat: NDArray[np.bool_],
) -> NDArray[np.float64]:
    scale = np.sqrt(_centred_sum(x, x, w, total) * _centred_sum(y, y, w, total))
    # Values so close together that their spread is lost in rounding are as good as constant.
    found = np.divide(_centred_sum(x, y, w, total), scale, out=np.zeros_like(scale), where=~flat & (scale > 0))
    return np.where(constant | np.isnan(total), np.nan, np.clip(found, -1.0, 1.0))


def _constant(values: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.bool_]:
    highest = np.where(w > 0, values, -np.inf).max(axis=0)
    lowest = np.where(w > 0, values, np.inf).min(axis=0)
    same: NDArray[np.bool_] = highest <= lowest
    return same


def _ranks(values: NDArray[np.float64], w: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return ranks by column: the weight of all smaller values, and half that of the equal ones."""
    if w is None:
        ranks: NDArray[np.float64] = rankdata(values, axis=0)
        return ranks
    out = np.empty_like(values)
    for column in range(values.shape[1]):
        _, group = np.unique(values[:, column], return_inverse=True)
        weight = np.bincount(group, weights=w[:, column])
        out[:, column] = (np.cumsum(weight) - weight / 2)[group]
    return out
