"""Whether confidence means what it says: reliability, calibration error, likelihood, Brier score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from scssl.errors import DataError, SettingsError, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bins = Literal["equal_mass", "equal_width"]
LEAST = 1e-12
"""Probabilities are taken as at least this in logarithms: one impossible cell does not make a score infinite."""


@dataclass(frozen=True, kw_only=True)
class CalibrationScores:
    """How far probabilities can be taken at their word."""

    n_cells: int
    """Cells scored."""
    accuracy: float
    """Share of cells whose most probable label is the true one."""
    confidence: float
    """Mean probability of the most probable label; above `accuracy`: too sure."""
    ece: float
    """Expected calibration error: mean distance of confidence and accuracy over bins of equally many cells."""
    brier: float
    """Mean squared distance of the probabilities from the truth; from 0 to 2, lower is better."""
    nll: float
    """Mean negative log-probability of the true label in nats, over cells whose type is one of the classes."""
    curve: pd.DataFrame
    """What the diagram shows, see `reliability_curve`."""

    def summary(self) -> dict[str, Any]:
        """Return the scores without the curve, as plain values for JSON; None for what cannot be said."""
        plain = {name: value for name, value in vars(self).items() if name != "curve"}
        return {name: None if value != value else value for name, value in plain.items()}


def calibration_scores(
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    *,
    n_bins: int = 15,
    bins: Bins = "equal_mass",
    weights: NDArray[np.floating] | None = None,
    right: NDArray[np.bool_] | None = None,
) -> CalibrationScores:
    """Score probabilities against the truth.

    Parameters
    ----------
    truth
        (n_cells,) true classes; negative where the true type is not among the classes, which counts as wrong.
    probabilities
        (n_cells, n_classes).
    n_bins, bins
        See `reliability_curve`.
    weights
        (n_cells,) how much each cell counts, e.g. so that each donor counts the same.
    right
        (n_cells, n_classes) bool, the classes that count as right for each cell, in place of its true class: with a
        hierarchy, those that are a kind of it. Likelihood and Brier score take them as one class.

    Examples
    --------
    >>> scores = calibration_scores(np.array([0, 1]), np.array([[0.8, 0.2], [0.6, 0.4]]))
    >>> round(scores.confidence, 2), scores.accuracy, round(scores.brier, 2)
    (0.7, 0.5, 0.4)
    """
    y, p, w = _checked(truth, probabilities, weights)
    best = p.argmax(axis=1)
    confidence, correct = p.max(axis=1), best == y
    if right is not None:
        if right.shape != p.shape:
            message = (
                f"right has shape {right.shape}, the probabilities {p.shape}: one value for each of them is needed"
            )
            raise DataError(message)
        correct = right[np.arange(len(p)), best]
        y, p = _as_one(p, right)
    curve = reliability_curve(correct, confidence=confidence, n_bins=n_bins, bins=bins, weights=w)
    return CalibrationScores(
        n_cells=len(y),
        accuracy=float(w @ correct),
        confidence=float(w @ confidence),
        ece=_error(curve),
        brier=brier_score(y, p, weights=w),
        nll=negative_log_likelihood(y, p, weights=w),
        curve=curve,
    )


def reliability_curve(
    correct: NDArray[np.bool_],
    *,
    confidence: NDArray[np.floating],
    n_bins: int = 15,
    bins: Bins = "equal_mass",
    weights: NDArray[np.floating] | None = None,
) -> pd.DataFrame:
    """Set the share of right labels beside the confidence, bin by bin.

    Parameters
    ----------
    correct
        (n_cells,) whether the label is right.
    confidence
        (n_cells,) probability that was given to it, from 0 to 1.
    n_bins
        Number of bins. Empty ones are left out; cells of equal confidence are never in different bins.
    bins
        ``equal_mass``: equally many cells in each, so that none is judged by a handful; ``equal_width``: equal parts of
        0 to 1, as in Guo et al. 2017.
    weights
        (n_cells,) how much each cell counts.

    Returns
    -------
    pandas.DataFrame
        One row per bin that has cells: ``low`` and ``high`` (confidences found in it, or its bounds for
        ``equal_width``), ``n_cells``, ``weight`` (share of all weight), ``confidence`` and ``accuracy`` (means).

    Raises
    ------
    DataError
        If lengths differ, there are no cells, or a confidence is not between 0 and 1.
    SettingsError
        If `bins` or `n_bins` is not possible.
    """
    require("n_bins", n_bins, holds=n_bins >= 1, must="at least 1")
    if bins not in get_args(Bins):
        message = f"bins {bins!r} is not known; choose one of: {', '.join(get_args(Bins))}"
        raise SettingsError(message)
    right, sure = np.asarray(correct, dtype=np.float64), np.asarray(confidence, dtype=np.float64)
    # What is a probability in float32 may be above 1 by its rounding.
    if right.shape != sure.shape or right.ndim != 1 or not len(right) or not ((sure >= 0) & (sure <= 1 + 1e-6)).all():
        message = f"correct {right.shape} and confidence {sure.shape}: one value per cell, confidence from 0 to 1"
        raise DataError(message)
    w = _weights(weights, n_cells=len(right))
    if bins == "equal_width":
        place = np.minimum((sure * n_bins).astype(np.int64), n_bins - 1)
    else:
        # A cell's bin is that of the first cell with its confidence, in order of confidence.
        values, back, count = np.unique(sure, return_inverse=True, return_counts=True)
        first = np.cumsum(count) - count
        place = (first * n_bins // len(sure))[back] if len(values) else back
    codes, place = np.unique(place, return_inverse=True)
    n, mass = np.bincount(place), np.bincount(place, weights=w)
    low, high = codes / n_bins, (codes + 1) / n_bins
    if bins == "equal_mass":
        low, high = np.full(len(codes), np.inf), np.full(len(codes), -np.inf)
        np.minimum.at(low, place, sure)
        np.maximum.at(high, place, sure)
    # A bin whose cells weigh nothing has no mean; it counts nothing either.
    over = np.where(mass > 0, mass, 1)
    return pd.DataFrame(
        {
            "low": low,
            "high": high,
            "n_cells": n,
            "weight": mass,
            "confidence": np.bincount(place, weights=w * sure) / over,
            "accuracy": np.bincount(place, weights=w * right) / over,
        }
    )


def expected_calibration_error(
    correct: NDArray[np.bool_],
    *,
    confidence: NDArray[np.floating],
    n_bins: int = 15,
    bins: Bins = "equal_mass",
    weights: NDArray[np.floating] | None = None,
) -> float:
    r"""Return the mean distance between confidence and accuracy over bins (Naeini et al. 2015, Guo et al. 2017).

    .. math:: \sum_b w_b \, |\mathrm{accuracy}_b - \mathrm{confidence}_b|

    It cannot be below zero, so that chance alone makes it positive: with n cells in each bin by up to about
    :math:`0.4 / \sqrt{n}`.

    Parameters
    ----------
    correct, confidence, n_bins, bins, weights
        See `reliability_curve`.

    Examples
    --------
    >>> expected_calibration_error(np.array([True, True, False, False]), confidence=np.full(4, 0.75))
    0.25
    """
    return _error(reliability_curve(correct, confidence=confidence, n_bins=n_bins, bins=bins, weights=weights))


def negative_log_likelihood(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], *, weights: NDArray[np.floating] | None = None
) -> float:
    """Return the mean negative log-probability of the true label, in nats.

    Parameters
    ----------
    truth
        (n_cells,) true classes; cells with a negative one, a type that is not among the classes, are left out.
    probabilities
        (n_cells, n_classes).
    weights
        (n_cells,) how much each cell counts.

    Returns
    -------
    float
        NaN if no cell is left.
    """
    y, p, w = _checked(truth, probabilities, weights)
    known = (y >= 0) & (w > 0)
    if not known.any():
        return float("nan")
    logs = np.log(np.maximum(p[known, y[known]], LEAST))
    return float(-(w[known] @ logs) / w[known].sum())


def brier_score(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], *, weights: NDArray[np.floating] | None = None
) -> float:
    """Return the mean squared distance between probabilities and truth, summed over classes (Brier 1950).

    Parameters
    ----------
    truth
        (n_cells,) true classes; a negative one is a type that is not among the classes: a class of its own, to which
        no probability was given.
    probabilities
        (n_cells, n_classes).
    weights
        (n_cells,) how much each cell counts.

    Returns
    -------
    float
        From 0 (certain and right) to 2 (certain and wrong).
    """
    y, p, w = _checked(truth, probabilities, weights)
    given = np.where(y >= 0, p[np.arange(len(y)), np.maximum(y, 0)], 0.0)
    return float(w @ ((p**2).sum(axis=1) - 2 * given + 1))


def _as_one(p: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Put the classes that count as right together as a first class; a cell without any is of no class."""
    together = np.where(right, p, 0).sum(axis=1, keepdims=True)
    merged = np.concatenate([np.minimum(together, 1), np.where(right, 0, p)], axis=1)
    return np.where(right.any(axis=1), 0, -1), merged


def _error(curve: pd.DataFrame) -> float:
    return float((curve["weight"] * (curve["accuracy"] - curve["confidence"]).abs()).sum())


def _weights(weights: NDArray[np.floating] | None, *, n_cells: int) -> NDArray[np.float64]:
    """Return weights that add up to 1."""
    if weights is None:
        return np.full(n_cells, 1 / n_cells)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (n_cells,) or not (w >= 0).all() or not 0 < w.sum() < np.inf:
        message = f"weights have shape {w.shape}; one number of 0 or more is needed for each of {n_cells:,} cells"
        raise DataError(message)
    shares: NDArray[np.float64] = w / w.sum()
    return shares


def _checked(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], weights: NDArray[np.floating] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    y, p = np.asarray(truth, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if y.ndim != 1 or p.ndim != 2 or len(y) != len(p) or not len(y) or y.max() >= p.shape[1]:
        message = f"truth {y.shape} and probabilities {p.shape}: one class per cell, and a column for each class"
        raise DataError(message)
    if not np.isfinite(p).all() or p.min() < 0:
        message = "probabilities must be finite and not negative"
        raise DataError(message)
    return y, p, _weights(weights, n_cells=len(y))
