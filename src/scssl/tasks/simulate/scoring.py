"""Simulated against measured cells: distances of populations, and the scores of cell-eval."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.metrics.perturbation import (
    differences,
    direction_match,
    discrimination_scores,
    overlap,
    pearson_delta,
    recall,
)
from scssl.metrics.populations import energy_distance, median_distance, mmd, population_distance
from scssl.tasks.simulate.baselines import BASELINES, NO_CHANGE
from scssl.tasks.simulate.space import log_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from scssl.tasks.simulate.space import Space

CEILING: Final = "half of the truth"
HEADLINE, DISTANCE = "explained", "distance"
KEYS: Final = ("case", "cell_type", "donor")
FEWEST: Final = 10
"""Cells of a group, simulated and measured, below which it is not scored."""
MOST: Final = 1000
"""Cells of a group that distances are taken over."""
COLUMNS: Final = (
    HEADLINE,
    DISTANCE,
    "energy_distance",
    "mmd",
    "mae",
    "pearson_delta",
    "discrimination",
    "de_overlap",
    "de_recall",
    "de_direction",
)


@dataclass(frozen=True, kw_only=True)
class SimulationScores:
    """How near simulated cells come to measured ones, beside baselines and a noise ceiling."""

    methods: pd.DataFrame
    """One row per method, means over groups. ``explained``, the headline: which part of the distance from the control
    cells to the truth (`population_distance`) the simulated cells make up for; 0 is no change, 1 is the truth, below 0
    is worse than nothing. ``mae`` is that of the mean log expression over all genes, unclipped. ``discrimination`` is
    there where two groups or more were scored."""
    groups: pd.DataFrame
    """One row per method and group, with ``case``, ``cell_type``, ``donor`` (or combination of covariates,
    where donors are not known), ``n_simulated``, ``n_measured``."""
    skipped: list[str] = field(default_factory=list)
    """Groups that had too few cells to be scored."""

    @property
    def best_baseline(self) -> str:
        """The baseline with the highest headline score."""
        rows = self.methods.loc[[name for name in self.methods.index if name in BASELINES], HEADLINE]
        return str(rows.idxmax())

    def summary(self) -> dict[str, Any]:
        """Return plain values."""
        rows = self.methods.astype(object).where(self.methods.notna(), None)
        return {
            "methods": {str(name): dict(row) for name, row in rows.iterrows()},
            "n_groups": len(self.groups.drop_duplicates([name for name in KEYS if name in self.groups])),
            "skipped": self.skipped,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """One group of measured cells, and what simulated ones are compared with."""

    key: tuple[str, str]
    truth: sp.csr_matrix
    control: sp.csr_matrix
    space: Space
    brief: bool = False
    """Only the headline distance."""

    def score(self, cells: sp.csr_matrix, *, seed: int) -> dict[str, Any]:
        """Score the counts of simulated cells; effects on mean log expression are under ``_effect`` and ``_truth``."""
        return self.score_values(log_values(_usable(cells), target_sum=self.space.target_sum), seed=seed)

    def score_values(self, values: sp.csr_matrix, *, seed: int) -> dict[str, Any]:
        """Score log values, as they are."""
        rng = np.random.default_rng(seed)
        measured = log_values(self.truth, target_sum=self.space.target_sum)
        points, truth = (self.space.project(some(part, rng)) for part in (values, measured))
        row: dict[str, Any] = {
            "n_simulated": values.shape[0],
            "n_measured": self.truth.shape[0],
            DISTANCE: population_distance(points, truth),
        }
        if self.brief:
            return row
        row["energy_distance"] = energy_distance(points, truth)
        # The bandwidth is that of the truth alone, so that no method sets its own.
        row["mmd"] = mmd(points, truth, bandwidth=median_distance(truth, truth))
        control = log_values(self.control, target_sum=self.space.target_sum)
        guess, true, before = (np.asarray(part.mean(axis=0)).ravel() for part in (values, measured, control))
        row["mae"] = float(np.abs(guess - true).mean())
        row["pearson_delta"] = pearson_delta(guess, true, before)
        predicted, found = (differences(part, control) for part in (values, measured))
        row |= {
            "de_overlap": overlap(predicted, found),
            "de_recall": recall(predicted, found),
            "de_direction": direction_match(predicted, found),
        }
        return row | {"_effect": guess - before, "_truth": true - before}

    def ceiling(self, *, seed: int) -> dict[str, Any]:
        """Score one half of the truth against the other: as near as anything can come with as many cells."""
        order = np.random.default_rng(seed).permutation(self.truth.shape[0])
        halves = np.array_split(order, 2)
        other = Judged(
            key=self.key, truth=self.truth[halves[1]], control=self.control, space=self.space, brief=self.brief
        )
        return other.score(self.truth[halves[0]], seed=seed)


def some(counts: sp.csr_matrix, rng: np.random.Generator) -> sp.csr_matrix:
    """Return at most `MOST` cells."""
    n = counts.shape[0]
    return counts if n <= MOST else counts[np.sort(rng.permutation(n)[:MOST])]


def _usable(counts: sp.csr_matrix) -> sp.csr_matrix:
    return counts[np.asarray(counts.sum(axis=1)).ravel() > 0]


def score_groups(
    judged: Sequence[Judged | None], populations: Mapping[str, Iterable[sp.csr_matrix]], *, seed: int
) -> list[dict[str, Any]]:
    """Score every method on every group, and the ceiling.

    Parameters
    ----------
    judged
        Groups; None for those that cannot be scored.
    populations
        By method, the simulated cells of each group.
    seed
        Of what is drawn.
    """
    rows = []
    for method, simulated in populations.items():
        for one, cells in zip(judged, simulated, strict=True):
            if one is not None and _usable(cells).shape[0] > 1:
                rows.append(_row(method, one, one.score(cells, seed=seed)))
    for one in judged:
        if one is not None and one.truth.shape[0] >= 2 * FEWEST:
            rows.append(_row(CEILING, one, one.ceiling(seed=seed)))
    return rows


def _row(method: str, one: Judged, scores: dict[str, Any]) -> dict[str, Any]:
    return {"method": method, "cell_type": one.key[0], "donor": one.key[1], **scores}


def gather(rows: list[dict[str, Any]], *, skipped: list[str]) -> SimulationScores:
    """Put rows of `score_groups` together."""
    table = pd.DataFrame(rows)
    methods = list(dict.fromkeys(table["method"]))
    found = {}
    keys = [name for name in KEYS if name in table]
    nothing = table[table["method"] == NO_CHANGE].set_index(keys)[DISTANCE]
    for method in methods:
        part = table[table["method"] == method].set_index(keys)
        row = {name: float(part[name].mean()) for name in COLUMNS if name in part}
        # Of sums, so that groups in which next to nothing changed do not decide.
        row[HEADLINE] = explained(part[DISTANCE].to_numpy(), nothing.reindex(part.index).to_numpy())
        if "_effect" in part and len(part) > 1:
            row["discrimination"] = float(
                discrimination_scores(np.stack([*part["_effect"]]), np.stack([*part["_truth"]])).mean()
            )
        found[method] = row
    frame = pd.DataFrame.from_dict(found, orient="index")
    frame.index.name = "method"
    columns = [name for name in COLUMNS if name in frame]
    kept = table.drop(columns=[name for name in ("_effect", "_truth") if name in table])
    return SimulationScores(methods=frame[columns], groups=kept, skipped=skipped)


def explained(distance: NDArray[Any], nothing: NDArray[Any]) -> float:
    """Return the part of the distance from control to truth that is made up for.

    Parameters
    ----------
    distance, nothing
        (n_groups,) distances to the truth, of simulated and of control cells.
    """
    whole = float(np.sum(nothing))
    return 1.0 - float(np.sum(distance)) / whole if whole > 0 else float("nan")
