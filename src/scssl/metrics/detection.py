"""How well scores tell the cells in which something is there from the others: one number per column."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import rankdata

from scssl.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Detection(NamedTuple):
    """Scores, (n_features,) float64 each; NaN for a feature that is there in all cells or in none."""

    auroc: NDArray[np.float64]
    """Area under the ROC curve: how often a cell that has the feature scores above one that has not; 0.5 is chance."""
    average_precision: NDArray[np.float64]
    """Mean over the cells that have it of the share of such cells among all that score as high or higher; chance is
    the share of cells that have it."""


def detection(truth: NDArray[np.bool_], predicted: NDArray[np.floating]) -> Detection:
    """Score how well columns of scores find the cells that have a feature.

    Parameters
    ----------
    truth
        (n_cells, n_features), whether a cell has a feature.
    predicted
        (n_cells, n_features), higher where it is thought likelier.

    Raises
    ------
    DataError
        If the shapes differ, or a score is not finite.

    Example
    -------
    >>> detection(np.array([[True], [False], [True]]), np.array([[0.9], [0.5], [0.1]])).auroc
    array([0.5])
    """
    has, scores = np.asarray(truth, dtype=bool), np.asarray(predicted, dtype=np.float64)
    if has.ndim != 2 or has.shape != scores.shape:
        message = f"truth is {has.shape}, the prediction {scores.shape}; both must be (n_cells, n_features)"
        raise DataError(message)
    if not np.isfinite(scores).all():
        message = f"the prediction has {int((~np.isfinite(scores)).sum()):,} values that are missing or infinite"
        raise DataError(message)
    n_with = has.sum(axis=0)
    n_without = len(has) - n_with
    both = (n_with > 0) & (n_without > 0)
    auroc, precision = np.full(has.shape[1], np.nan), np.full(has.shape[1], np.nan)
    if both.any():
        ranks = np.where(has, rankdata(scores, axis=0), 0).sum(axis=0)
        auroc[both] = ((ranks - n_with * (n_with + 1) / 2)[both]) / (n_with * n_without)[both]
    for column in np.flatnonzero(both):
        order = np.argsort(-scores[:, column], kind="stable")
        found, level = np.cumsum(has[order, column]), scores[order, column]
        # Cells of one score come together: precision is that at the last of them.
        last = np.append(level[1:] != level[:-1], True)
        hits, taken = found[last], np.flatnonzero(last) + 1
        precision[column] = np.sum(np.diff(hits, prepend=0) / n_with[column] * hits / taken)
    return Detection(auroc, precision)
