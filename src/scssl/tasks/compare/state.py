"""State: whether the cells of a type lie elsewhere under the other condition, beyond what donors differ anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.metrics.populations import energy_distance
from scssl.tasks.compare.distances import adjusted_distances, coordinates, resampled, sample_distances, shift_of
from scssl.tasks.compare.layout import Layout, NotTestable
from scssl.tasks.compare.linear import LEVEL, permuted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scssl.tasks.compare.design import Design
    from scssl.tasks.compare.settings import ComparerSettings

COLUMNS: Final = [
    "cell_type", "relative_shift", "low", "high", "shift", "donor_spread", "condition_share", "auc", "n_control",
    "n_case", "n_cells", "smallest_p", "p_value", "unit",
]  # fmt: skip
MIN_DONORS: Final = 3
"""On each side, for an interval: of two donors a bootstrap knows next to nothing."""
MOST_CELLS: Final = 15_000
"""Cells of a type that are compared with each other; with more than fifty samples each gives fewer of its cells."""
FOLDS: Final = 10
FEWEST: Final = 2
"""Cells among which there is a distance."""


def compare_states(
    codes: NDArray[np.floating],
    design: Design,
    settings: ComparerSettings,
    *,
    empty: NDArray[np.bool_],
    seed: int,
    advance: Callable[[int], None],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Compare where the cells of each type lie.

    Parameters
    ----------
    codes
        (n_cells, n_dimensions) embedding of all cells.
    design
        What is compared.
    settings
        How.
    empty
        (n_cells,) cells without counts, whose place means nothing.
    seed
        Of cells, donors and permutations that are drawn.
    advance
        Told of each type that is done.

    Returns
    -------
    table : pandas.DataFrame
        One row per type that could be looked at.
    reasons : dict
        Type to why it was not tested.
    """
    rows, reasons = [], {}
    scale = type_distance(codes, design, settings, empty=empty, seed=seed)
    for code, name in enumerate(design.types):
        try:
            rows.append(_one_type(codes, design, settings, code=code, empty=empty, scale=scale, seed=seed))
        except NotTestable as reason:
            reasons[name] = str(reason)
            alone = _cells_alone(codes, design, settings, code=code, empty=empty, scale=scale, seed=seed)
            rows += [alone] if alone is not None else []
        advance(1)
    return pd.DataFrame(rows, columns=COLUMNS), reasons


def type_distance(
    codes: NDArray[np.floating], design: Design, settings: ComparerSettings, *, empty: NDArray[np.bool_], seed: int
) -> float:
    """Return the usual energy distance between two types under the control, by which shifts are measured.

    Parameters
    ----------
    codes, design, settings, empty, seed
        See `compare_states`.

    Returns
    -------
    float
        Median over pairs of types; 1 where there is no pair, so that shifts are plain energy distances.
    """
    control = ~design.samples["case"].to_numpy(dtype=bool)
    taken = (design.sample >= 0) & ~empty
    taken[taken] &= control[design.sample[taken]]
    kind = np.where(taken, design.type, -1)
    size = np.bincount(kind[kind >= 0], minlength=len(design.types))
    there = np.flatnonzero(size >= settings.min_cells)
    if len(there) < 2:
        return 1.0
    points, place = draw_cells(codes, kind, samples=there, most=settings.max_cells, seed=seed)
    distances = sample_distances(points, sample=place, n_samples=len(there))
    usual = float(np.median(distances[np.triu_indices(len(there), k=1)]))
    return usual if usual > 0 else 1.0


def _one_type(
    codes: NDArray[np.floating],
    design: Design,
    settings: ComparerSettings,
    *,
    code: int,
    empty: NDArray[np.bool_],
    scale: float,
    seed: int,
) -> dict[str, Any]:
    samples, _ = design.rows_of(code, min_cells=settings.min_cells)
    layout = Layout.of(design.samples.iloc[samples], covariates=design.question.covariates, paired=design.paired)
    points, sample = draw_cells(
        codes, np.where(empty | (design.type != code), -1, design.sample), samples=samples,
        most=min(settings.max_cells, max(MOST_CELLS // len(samples), settings.min_cells)), seed=seed,
    )  # fmt: skip
    if np.bincount(sample, minlength=len(samples)).min() < FEWEST:
        message = "a donor's cells have hardly any count on the model's genes"
        raise NotTestable(message)
    distances = sample_distances(points, sample=sample, n_samples=len(samples))
    ways = layout.assignments(most=settings.max_permutations, seed=seed)
    places, signs = coordinates(distances)
    p = float(permuted(places, layout, ways, signs=signs, seed=seed)[0])
    adjusted = adjusted_distances(distances, layout)
    found = shift_of(adjusted, layout)
    low, high = interval(adjusted, layout, resamples=settings.resamples, seed=seed)
    case = layout.case
    return {
        "cell_type": design.types[code], "relative_shift": found.shift / scale, "low": low / scale,
        "high": high / scale, "shift": found.shift, "donor_spread": found.donor_spread,
        "condition_share": found.share,
        "auc": held_out_auc(points, sample=sample, layout=layout), "n_control": int((~case).sum()),
        "n_case": int(case.sum()), "n_cells": len(points), "smallest_p": ways.smallest, "p_value": p, "unit": "donor",
    }  # fmt: skip


def draw_cells(
    codes: NDArray[np.floating],
    sample: NDArray[np.integer],
    *,
    samples: NDArray[np.integer],
    most: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw cells so that no donor counts by the number of its cells.

    Parameters
    ----------
    codes
        (n_cells, n_dimensions).
    sample
        (n_cells,) sample of each, -1 for none.
    samples
        Those to take.
    most
        Cells of each at most.
    seed
        Of the draw.

    Returns
    -------
    points : numpy.ndarray
        (n_drawn, n_dimensions).
    sample : numpy.ndarray
        (n_drawn,) place in `samples`.
    """
    rng = np.random.default_rng([seed, 0x5A])
    rows, place = [], []
    for number, code in enumerate(samples):
        cells = np.flatnonzero(sample == code)
        if len(cells) > most:
            cells = np.sort(rng.choice(cells, most, replace=False))
        rows.append(cells)
        place.append(np.full(len(cells), number))
    chosen = np.concatenate(rows)
    return np.asarray(codes[chosen], dtype=np.float64), np.concatenate(place).astype(np.int64)


def interval(distances: NDArray[np.floating], layout: Layout, *, resamples: int, seed: int) -> tuple[float, float]:
    """Bootstrap the shift over donors, those of each condition (or pairs) drawn with replacement.

    Plain percentiles are too narrow with few donors and are moved out as Student's t does it for a mean (Hesterberg
    2015, doi 10.1080/00031305.2015.1089789).

    Parameters
    ----------
    distances
        (n_samples, n_samples) energy distances.
    layout
        The samples.
    resamples
        How many.
    seed
        Of the draws.

    Returns
    -------
    tuple
        Low and high end; NaN with fewer than three donors on a side.
    """
    from scipy.stats import norm, t

    groups = [np.unique(layout.donor[layout.case]), np.unique(layout.donor[~layout.case])]
    n = min(map(len, groups))
    if n < MIN_DONORS:
        return float("nan"), float("nan")
    rng = np.random.default_rng([seed, 0xB0])
    weights = np.zeros((resamples, layout.donor.max() + 1))
    for donors in groups[:1] if layout.paired else groups:
        weights[:, donors] = rng.multinomial(len(donors), np.full(len(donors), 1 / len(donors)), size=resamples)
    values = resampled(distances, layout, weights=weights)[0]
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    tail = float(norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf((1 + LEVEL) / 2, n - 1)))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def held_out_auc(points: NDArray[np.floating], *, sample: NDArray[np.integer], layout: Layout) -> float:
    """Return how well a classifier tells the condition of cells of donors that it has not seen (area under the curve).

    Each fold leaves out one donor of each condition, or one pair (a tenth of them, where there are more than ten), and
    every donor counts the same however many cells it has. 0.5 is chance.

    Parameters
    ----------
    points
        (n_cells, n_dimensions).
    sample
        (n_cells,) codes.
    layout
        The samples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    scale = points.std(axis=0)
    x = (points - points.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    truth = layout.case[sample]
    weight = 1.0 / np.bincount(sample)[sample]
    fold = _folds(layout)[sample]
    scores = []
    for number in range(fold.max() + 1):
        held = fold == number
        model = LogisticRegression(max_iter=200, tol=1e-3).fit(
            x[~held], truth[~held], sample_weight=weight[~held] / weight[~held].mean()
        )
        scores.append(roc_auc_score(truth[held], model.decision_function(x[held]), sample_weight=weight[held]))
    return float(np.mean(scores))


def _folds(layout: Layout) -> NDArray[np.int64]:
    """Return the fold of each sample; each has donors of both conditions, and leaves some of both."""
    sides = [np.unique(layout.donor[layout.case]), np.unique(layout.donor[~layout.case])]
    n_folds = min(FOLDS, *map(len, sides))
    of_donor = np.zeros(layout.donor.max() + 1, dtype=np.int64)
    for donors in sides:
        of_donor[donors] = np.arange(len(donors)) % n_folds
    return of_donor[layout.donor]


def _cells_alone(
    codes: NDArray[np.floating],
    design: Design,
    settings: ComparerSettings,
    *,
    code: int,
    empty: NDArray[np.bool_],
    scale: float,
    seed: int,
) -> dict[str, Any] | None:
    """Say how far these cells lie apart, and nothing about other donors."""
    case = design.samples["case"].to_numpy(dtype=bool)
    side = np.where(design.sample >= 0, case[design.sample].astype(np.int64), -1)
    points, place = draw_cells(
        codes, np.where(empty | (design.type != code), -1, side), samples=np.array([0, 1]),
        most=10 * settings.max_cells, seed=seed,
    )  # fmt: skip
    size = np.bincount(place, minlength=2)
    if size.min() < settings.min_cells:
        return None
    try:
        shift = energy_distance(points[place == 0], points[place == 1])
    except DataError:
        return None
    return {
        "cell_type": design.types[code], "relative_shift": shift / scale, "shift": shift, "n_cells": len(points),
        "unit": "cell",
    }  # fmt: skip
