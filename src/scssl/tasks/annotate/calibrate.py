"""Probabilities that mean what they say: temperature scaling on held-out donors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import DataError, require
from scssl.tasks.annotate.quantile import donor_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWEST, HIGHEST = 0.05, 20.0
MAX_VALUES = 20_000_000
"""At most so many scores are fitted to; a single number needs no more cells than that."""


def fit_temperature(
    log_scores: NDArray[np.floating],
    *,
    codes: NDArray[np.integer],
    donors: NDArray[np.integer] | None = None,
    seed: int = 0,
) -> float:
    r"""Find the temperature at which held-out cells are most likely (Guo et al. 2017, doi 10.48550/arXiv.1706.04599).

    .. math:: \min_T \; -\sum_i w_i \log \mathrm{softmax}(z_i / T)_{y_i} + \frac{(\log T)^2}{2 n}

    with weights :math:`w` by which each donor counts the same. The last term has the weight of one of the n cells: it
    matters only where there is nothing else to go by, as when every held-out cell is right and ever lower temperatures
    would be ever more likely. The search is bounded to 0.05 and 20.

    Parameters
    ----------
    log_scores
        (n_cells, n_classes) unnormalised log-probabilities of cells whose donors the classifier did not learn from;
        ``-inf`` for a class that it did not know.
    codes
        (n_cells,) true classes. Cells with a negative code, or of a class that was not known, are left out.
    donors
        (n_cells,) codes; negative where not known (left out, unless no donor is known). None: cells count the same.
    seed
        Draws the cells fitted to, where there are very many.

    Returns
    -------
    float
        Above 1 where the classifier was too sure of itself; 1 where no cell is left to fit to.

    Raises
    ------
    DataError
        If there are scores that are NaN or +inf, or lengths differ.
    """
    z, y = _checked(log_scores, codes)
    weights = donor_weights(donors, n_cells=len(z))
    used = np.flatnonzero((y >= 0) & (weights > 0))
    used = used[np.isfinite(z[used, y[used]])]
    most = max(MAX_VALUES // z.shape[1], 1000)
    if len(used) > most:
        used = np.sort(np.random.default_rng(seed).choice(used, most, replace=False))
    if not len(used):
        return 1.0
    z = z[used].astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    truth = z[np.arange(len(used)), y[used]]
    weights = donor_weights(None if donors is None else np.asarray(donors)[used], n_cells=len(used))

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        likelihood = truth * scale - np.log(np.exp(z * scale).sum(axis=1))
        return float(-weights @ likelihood + log_temperature**2 / (2 * len(used)))

    # The likelihood alone has one minimum; with the second term a coarse look first makes sure of the lowest.
    from scipy.optimize import minimize_scalar

    grid = np.linspace(np.log(LOWEST), np.log(HIGHEST), 25)
    best = int(np.argmin([loss(value) for value in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x))


def probabilities(log_scores: NDArray[np.floating], *, temperature: float = 1.0) -> NDArray[np.float32]:
    """Turn log-scores into probabilities; the most probable class is always the one with the highest score.

    Parameters
    ----------
    log_scores
        (n_cells, n_classes) unnormalised log-probabilities.
    temperature
        From `fit_temperature`.

    Returns
    -------
    numpy.ndarray
        (n_cells, n_classes) float32, each row sums to 1.

    Raises
    ------
    DataError
        If there are scores that are NaN or +inf, or a row of ``-inf`` only.
    SettingsError
        If the temperature is not positive.
    """
    require("temperature", temperature, holds=0 < temperature < float("inf"), must="a positive number")
    z, _ = _checked(log_scores, None)
    top = z.max(axis=1, keepdims=True)
    if not np.isfinite(top).all():
        message = "log_scores: a cell has -inf for every class; at least one has to be possible"
        raise DataError(message)
    # The differences first: large scores over a small temperature would lose the small differences between them.
    odds = np.exp((z - top).astype(np.float64) / temperature)
    share: NDArray[np.float32] = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    winner = z.argmax(axis=1)
    for row in np.flatnonzero(share.argmax(axis=1) != winner):
        # Rounding made two classes equal, and the other one comes first.
        share[row, winner[row]] = np.nextafter(share[row].max(), np.float32(2))
    return share


def _checked(
    log_scores: NDArray[np.floating], codes: NDArray[np.integer] | None
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    z = np.asarray(log_scores)
    if z.ndim != 2 or z.shape[1] == 0:
        message = f"log_scores have shape {z.shape}; they must be (n_cells, n_classes)"
        raise DataError(message)
    if np.isnan(z).any() or np.isposinf(z).any():
        message = "log_scores contain NaN or +inf: the classifier has diverged, or its input was not finite"
        raise DataError(message)
    y = np.full(len(z), -1, dtype=np.int64) if codes is None else np.asarray(codes, dtype=np.int64)
    if y.shape != z.shape[:1] or (len(y) and y.max() >= z.shape[1]):
        message = f"codes have shape {y.shape}, log_scores {z.shape}: one code below {z.shape[1]} per cell is needed"
        raise DataError(message)
    return z, y
