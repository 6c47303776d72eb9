"""Thresholds that a stated share of the cells of a new donor stays below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from scssl.errors import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

Unit = Literal["donors", "few donors", "cells"]
UNITS: tuple[Unit, ...] = ("donors", "few donors", "cells")
LEVELS = 101
"""Levels tried between the one asked for and the largest score."""
_EXACT = 1e-9
"""Sums of weights are compared up to this: 20 times 1/20 need not be 1."""


class Threshold(NamedTuple):
    """A threshold and what its error rate holds for."""

    value: float
    """Infinite where there are too few cells to promise anything."""
    unit: Unit
    """``donors``: holds for a cell of a new donor, if donors are exchangeable. ``few donors``: checked by leaving each
    donor out, without a guarantee. ``cells``: holds for a new cell of the donors seen, says nothing of others."""


def donors_for_guarantee(error_rate: float) -> int:
    """Return how many donors are needed before the threshold of `threshold` comes with a guarantee.

    A guarantee is possible from 1 / error_rate - 1 donors on, but there it takes the largest score of all, that of
    the worst mislabelled cell, and sets would hold nearly every label. With twice as many it takes the top half of the
    error rate.

    Parameters
    ----------
    error_rate
        Share of cells that may lie above the threshold.
    """
    return int(np.ceil(2 / error_rate - _EXACT))


def donor_weights(donors: NDArray[np.integer] | None, *, n_cells: int) -> NDArray[np.float64]:
    """Return weights with which each donor counts the same, whatever its number of cells; their sum is 1.

    Parameters
    ----------
    donors
        (n_cells,) codes; negative where the donor is not known. Such cells weigh nothing, unless no donor is known.
    n_cells
        Number of cells.
    """
    if donors is None or not (np.asarray(donors) >= 0).any():
        return np.full(n_cells, 1 / max(n_cells, 1))
    known = np.asarray(donors) >= 0
    _, place, count = np.unique(np.asarray(donors)[known], return_inverse=True, return_counts=True)
    weights = np.zeros(n_cells)
    weights[known] = 1 / (count[place] * len(count))
    return weights


def threshold(
    scores: NDArray[np.floating], *, error_rate: float, donors: NDArray[np.integer] | None = None
) -> Threshold:
    r"""Return the smallest threshold that scores of held-out cells give reason to trust.

    With many donors (`donors_for_guarantee`) this is hierarchical conformal prediction (Lee, Barber and Willett 2023,
    doi 10.48550/arXiv.2306.06342): the :math:`1 - \alpha` quantile of

    .. math:: \frac{1}{K + 1} \Big(\sum_{k=1}^{K} \frac{1}{n_k} \sum_{i=1}^{n_k} \delta_{s_{ki}} + \delta_\infty\Big)

    over K donors with :math:`n_k` cells. A cell of donor K + 1 lies above it with probability :math:`\alpha` at most.
    With fewer donors it is the quantile of the pooled distribution, in which each donor weighs the same ("pooling
    CDFs": Dunn, Wasserman and Ramdas 2022, doi 10.1080/01621459.2022.2060112), which holds in the limit of many donors
    only; the level is therefore raised until donors left out, each judged by the threshold of the others, are right at
    the rate asked for on average. With one donor or none it is the quantile of cells of split conformal prediction.

    Parameters
    ----------
    scores
        (n_cells,) the larger, the less a cell conforms.
    error_rate
        Share of cells that may lie above the threshold, :math:`\alpha`.
    donors
        (n_cells,) codes, negative where not known; such cells are left out, unless no donor is known.

    Raises
    ------
    SettingsError
        If `error_rate` is not between 0 and 1.
    """
    require("error_rate", error_rate, holds=0 < error_rate < 1, must="between 0 and 1")
    scores = np.asarray(scores, dtype=np.float64)
    if donors is not None and (np.asarray(donors) >= 0).any():
        known = np.asarray(donors) >= 0
        scores, donors = scores[known], np.asarray(donors)[known]
    order = np.argsort(scores, kind="stable")
    ordered = scores[order].astype(np.float64)
    codes = (
        np.zeros(len(scores), dtype=np.int64) if donors is None else np.unique(donors, return_inverse=True)[1][order]
    )
    n_donors = int(codes.max()) + 1 if len(codes) else 0
    if n_donors < 2:
        n = len(ordered)
        return Threshold(quantile(ordered, np.full(n, 1 / (n + 1)), level=1 - error_rate), "cells")
    each = 1 / np.bincount(codes)[codes]
    if n_donors >= donors_for_guarantee(error_rate):
        return Threshold(quantile(ordered, each / (n_donors + 1), level=1 - error_rate), "donors")
    level = _raised(ordered, codes, each, error_rate=error_rate)
    return Threshold(quantile(ordered, each / n_donors, level=level), "few donors")


def _raised(
    ordered: NDArray[np.float64], codes: NDArray[np.integer], each: NDArray[np.float64], *, error_rate: float
) -> float:
    """Return the lowest level at which donors left out are right often enough, on average."""
    n_donors = int(codes.max()) + 1
    levels = np.linspace(1 - error_rate, 1, LEVELS)
    right = np.zeros(LEVELS)
    for donor in range(n_donors):
        own = codes == donor
        mass = np.cumsum(each[~own]) / (n_donors - 1)
        position = np.minimum(np.searchsorted(mass, levels - _EXACT), len(mass) - 1)
        below = np.searchsorted(ordered[own], ordered[~own][position], side="right")
        right += below / own.sum() / n_donors
    good = np.flatnonzero(right >= 1 - error_rate - _EXACT)
    return float(levels[good[0]]) if len(good) else 1.0


def quantile(ordered: NDArray[np.float64], weights: NDArray[np.float64], *, level: float) -> float:
    """Return the smallest of some rising scores with at least this mass at or below it; infinite if there is none."""
    position = int(np.searchsorted(np.cumsum(weights), level - _EXACT))
    return float(ordered[position]) if position < len(ordered) else float("inf")
