"""Paired bootstrap over donors: how sure a score, and the difference of two, is. Arrays in, numbers out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Metric = Literal["macro_f1", "balanced_accuracy", "accuracy"]

MIN_DONORS: Final = 5
"""With fewer donors cells are resampled instead, which is said wherever the interval is shown."""
_AT_ONCE: Final = 2**22
"""Numbers held at a time while resampling."""


class Units(NamedTuple):
    """What is drawn with replacement: donors, or cells with the same truth and the same predictions."""

    code: NDArray[np.int64]
    """(n_cells,) unit of each cell."""
    weight: NDArray[np.float64]
    """(n_units,) how often a unit is there: 1 for a donor, the number of its cells for a kind of cell."""
    kind: Literal["donor", "cell"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its bootstrap interval."""

    estimate: float
    low: float
    high: float
    level: float
    """Nominal coverage."""
    unit: Literal["donor", "cell"]
    """What was resampled. An interval over cells says nothing about new donors."""
    n_units: int
    """Donors, or cells."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def choose_units(donors: NDArray[np.integer], truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> Units:
    """Choose what to resample: donors where there are at least `MIN_DONORS`, or else cells.

    Cells that cannot be told apart (same truth, same predictions) are one unit, drawn as often as there are such cells:
    the same distribution as drawing cells one by one, at a fraction of the work.

    Parameters
    ----------
    donors
        (n_cells,) codes of the donors.
    truth
        (n_cells,) codes of the true labels.
    predicted
        (n_predictions, n_cells) all predictions that will be looked at, of all methods and seeds.
    """
    names, code = np.unique(donors, return_inverse=True)
    if len(names) >= MIN_DONORS:
        return Units(code.astype(np.int64), np.ones(len(names)), "donor")
    _, code, n = np.unique(np.vstack([truth, predicted]).T, axis=0, return_inverse=True, return_counts=True)
    return Units(code.reshape(-1).astype(np.int64), n.astype(np.float64), "cell")


def count(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], units: Units, *, n_classes: int
) -> NDArray[np.float64]:
    """Count per unit and class what scores are made of.

    Parameters
    ----------
    truth
        (n_cells,) codes from 0.
    predicted
        (n_cells,) codes; any number outside 0 to `n_classes` - 1 is a label that no cell truly has.
    units
        See `choose_units`.
    n_classes
        Labels.

    Returns
    -------
    numpy.ndarray
        (n_units, 3, n_classes): cells rightly given the label, cells that have it, cells that were given it; of one
        member of the unit.
    """
    shape = (len(units.weight), n_classes)
    right = truth == predicted
    given = (predicted >= 0) & (predicted < n_classes)

    def tally(cells: NDArray[np.bool_], codes: NDArray[np.integer]) -> NDArray[np.float64]:
        place = np.ravel_multi_index((units.code[cells], codes[cells].astype(np.int64)), shape)
        return np.asarray(np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape), dtype=np.float64)

    counts: NDArray[np.float64] = np.stack(
        [tally(right, truth), tally(np.ones_like(right), truth), tally(given, predicted)], axis=1
    )
    if units.kind == "cell":
        counts /= units.weight[:, None, None]
    return counts


def total(truth: NDArray[np.integer], predicted: NDArray[np.integer], *, n_classes: int) -> NDArray[np.float64]:
    """Count over all cells, as `count` does per unit: (3, n_classes).

    Parameters
    ----------
    truth, predicted
        (n_cells,) codes.
    n_classes
        Labels.
    """
    whole = Units(np.zeros(len(truth), dtype=np.int64), np.ones(1), "donor")
    counts: NDArray[np.float64] = count(truth, predicted, whole, n_classes=n_classes)[0]
    return counts


def score(counts: NDArray[np.float64], *, metric: Metric = "macro_f1") -> NDArray[np.float64]:
    """Score summed counts; averages are over the classes that some cell truly has.

    Parameters
    ----------
    counts
        (..., 3, n_classes) from `count`, summed over units.
    metric
        ``"macro_f1"``: mean F1 of the classes; ``"balanced_accuracy"``: their mean recall; ``"accuracy"``: share of
        cells with the right label, which is also the micro-averaged F1.

    Returns
    -------
    numpy.ndarray
        (...,) scores; NaN where there is no cell.
    """
    hits, support, given = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
    there = support > 0
    with np.errstate(invalid="ignore"):
        if metric == "accuracy":
            shares: NDArray[np.float64] = hits.sum(-1) / support.sum(-1)
            return shares
        below = support + given if metric == "macro_f1" else support
        each = np.divide((2.0 if metric == "macro_f1" else 1.0) * hits, below, out=np.zeros_like(hits), where=there)
        means: NDArray[np.float64] = each.sum(-1) / there.sum(-1)
        return means


def interval(
    counts: NDArray[np.float64],
    units: Units,
    *,
    against: NDArray[np.float64] | None = None,
    metric: Metric = "macro_f1",
    level: float = 0.95,
    n_resamples: int = 4000,
    seed: int = 0,
) -> Interval:
    """Bootstrap the mean score over seeds of one method, or its difference from another on the same cells.

    Each resample draws units with replacement, the same for both methods, and seeds with replacement, the same for
    both; so what differs between donors or seeds alike for both methods cancels. With few donors plain percentile
    intervals are too narrow: the percentiles are moved out as far as Student's t does it for a mean (Hesterberg 2015,
    doi 10.1080/00031305.2015.1089789, "expanded percentile").

    Parameters
    ----------
    counts
        (n_seeds, n_units, 3, n_classes), see `count`.
    units
        What is drawn, see `choose_units`.
    against
        The same of the method to compare with, as many seeds; None for the score of one method.
    metric
        See `score`.
    level
        Nominal coverage.
    n_resamples
        Resamples.
    seed
        Of the draws.

    Returns
    -------
    Interval
        Identical methods have a difference of exactly 0.
    """
    sides = [[counts]] if against is None else [[counts], [against]]
    return best_interval(sides, units, metric=metric, level=level, n_resamples=n_resamples, seed=seed)


def best_interval(
    sides: Sequence[Sequence[NDArray[np.float64]]],
    units: Units,
    *,
    metric: Metric = "macro_f1",
    level: float = 0.95,
    n_resamples: int = 4000,
    seed: int = 0,
) -> Interval:
    """Bootstrap the best score of some methods, or its difference from the best of others, on the same cells.

    What is best is found anew in each resample, so that the interval knows of the choice.

    Parameters
    ----------
    sides
        One list of methods, or two to compare, each method as `interval` takes it.
    units, metric, level, n_resamples, seed
        As for `interval`.

    Returns
    -------
    Interval
        Of the score of the best, or of the first side's best minus the second's.
    """
    n_seeds, n_units, _, n_classes = sides[0][0].shape
    rng = np.random.default_rng([seed, 0xB007])
    n_draws = round(units.weight.sum())
    rows = max(1, min(n_resamples, _AT_ONCE // max(n_units, 3 * n_classes)))

    def best_of_each(drawn: NDArray[np.float64], of_seeds: NDArray[np.float64]) -> NDArray[np.float64]:
        best = [
            np.max([(of_seeds * _resampled(part, drawn, metric=metric)).sum(axis=1) for part in side], axis=0)
            for side in sides
        ]
        return np.asarray(best[0] if len(best) == 1 else best[0] - best[1])

    estimate = best_of_each(units.weight[None], np.full((1, n_seeds), 1 / n_seeds))[0]
    values = []
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        drawn = rng.multinomial(n_draws, units.weight / units.weight.sum(), size=size).astype(np.float64)
        of_seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=size) / n_seeds
        values.append(best_of_each(drawn, of_seeds))
    found = np.concatenate(values)
    found = found[np.isfinite(found)]
    tail = expanded_tail(level, n_draws)
    low, high = np.quantile(found, [tail, 1 - tail]) if found.size else (np.nan, np.nan)
    return Interval(
        estimate=float(estimate), low=float(low), high=float(high), level=level, unit=units.kind, n_units=n_draws
    )


def _resampled(counts: NDArray[np.float64], drawn: NDArray[np.float64], *, metric: Metric) -> NDArray[np.float64]:
    """(n_resamples, n_seeds) scores of resampled units."""
    n_seeds, n_units = counts.shape[:2]
    by_seed = [(drawn @ part.reshape(n_units, -1)).reshape(-1, *counts.shape[2:]) for part in counts]
    return np.stack([score(by_seed[i], metric=metric) for i in range(n_seeds)], axis=1)


def expanded_tail(level: float, n: int) -> float:
    """Return the share cut off at each end, smaller than half of ``1 - level`` where units are few.

    Parameters
    ----------
    level
        Nominal coverage.
    n
        Units.

    Examples
    --------
    >>> round(expanded_tail(0.95, 8), 4), round(expanded_tail(0.95, 100_000), 4)
    (0.0057, 0.025)
    """
    from scipy.stats import norm, t

    if n < 2:
        return (1 - level) / 2
    return float(norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf((1 + level) / 2, n - 1)))
