"""What a simulator knows once it was fitted."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import DataError, SettingsError

if TYPE_CHECKING:
    from scssl.model.cell_model import CellModel
    from scssl.tasks.simulate.calibrate import Calibration
    from scssl.tasks.simulate.cells import Cells, Columns
    from scssl.tasks.simulate.judge import Verdict
    from scssl.tasks.simulate.learn import Learned


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """What each condition does to cells, and how far that is to be believed."""

    model: CellModel
    genes: list[str]
    """Features of the reference, in order."""
    columns: Columns
    control: str
    learned: dict[str, Learned]
    """By case."""
    verdicts: dict[str, Verdict]
    """By case."""
    reference: str
    hold_out: str
    """``COL=VALUE`` whose case cells were not looked at; "" for none."""
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    """By case: how wide uncertainties have to be."""
    doses: dict[str, float] = field(default_factory=dict)
    """Of control and cases, where all their names are numbers."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the change of a case is made of those that were learned."""

    case: str
    parts: list[tuple[float, str]]
    """Weights and cases."""
    note: str = ""
    """What there is to know; "" for a case that was learned itself."""


def parts_of(case: str) -> list[str]:
    """Return the cases that a sum (``"A+B"``) is of; one, for a case that is no sum.

    Raises
    ------
    SettingsError
        If it has one twice.
    """
    parts = [part.strip() for part in case.split("+")]
    if len(set(parts)) < len(parts) and all(parts):
        message = f"case {case!r} has a condition twice; a sum is of different ones, such as A+B"
        raise SettingsError(message)
    return parts


def recipe(fitted: Fitted, case: str) -> Recipe:
    """Say how a case can be predicted: learned itself, as a sum (``"A+B"``), or between two doses.

    Raises
    ------
    SettingsError
        If it cannot.
    """
    if case in fitted.learned:
        return Recipe(case=case, parts=[(1.0, case)])
    parts = parts_of(case)
    if len(parts) > 1 and all(part in fitted.learned for part in parts):
        return Recipe(
            case=case,
            parts=[(1.0, part) for part in parts],
            note=f"the changes of {' and '.join(parts)} are added: that they do not interact is assumed, not known",
        )
    if fitted.doses:
        try:
            dose = float(case)
        except ValueError:
            dose = float("nan")
        if (between := _between(fitted, dose)) is not None:
            return Recipe(case=case, parts=between, note="between measured doses, evenly in the logarithm of 1 + dose")
    hint = ", or a sum such as " + "+".join([*fitted.learned][:2]) if len(fitted.learned) > 1 else ""
    if fitted.doses:
        hint += f", or a dose between {min(fitted.doses.values()):g} and {max(fitted.doses.values()):g}"
    message = f"case {case!r} was not learned; choose one of: {', '.join(fitted.learned)}{hint}"
    raise SettingsError(message)


def _between(fitted: Fitted, dose: float) -> list[tuple[float, str]] | None:
    known = sorted((value, name) for name, value in fitted.doses.items())
    for (low, first), (high, second) in pairwise(known):
        if low <= dose <= high and low > -1:
            share = (np.log1p(dose) - np.log1p(low)) / (np.log1p(high) - np.log1p(low))
            weights = [(1 - float(share), first), (float(share), second)]
            return [(weight, name) for weight, name in weights if name != fitted.control]
    return None


def doses_of(names: list[str]) -> dict[str, float]:
    """Return conditions as numbers, where all are; else nothing."""
    try:
        found = {name: float(name) for name in names}
    except ValueError:
        return {}
    return found if len(names) > 1 and all(np.isfinite(value) and value >= 0 for value in found.values()) else {}


def same_genes(fitted: Fitted, cells: Cells) -> Cells:
    """Bring the genes of a query into the order of the reference.

    Raises
    ------
    DataError
        If some are missing.
    """
    names = [str(name) for name in cells.var.index]
    if names == fitted.genes:
        return cells
    place = {name: i for i, name in enumerate(names)}
    missing = [name for name in fitted.genes if name not in place]
    if missing:
        message = (
            f"{cells.file}: {len(missing):,} of the {len(fitted.genes):,} genes that the simulator learned from are "
            f"missing, such as {', '.join(missing[:3])}; give cells with the genes of {fitted.reference}"
        )
        raise DataError(message)
    from dataclasses import replace

    order = np.array([place[name] for name in fitted.genes])
    counts = cells.counts[:, order]
    # Random numbers are drawn in the order in which counts are stored.
    counts.sort_indices()
    kept = replace(cells, counts=counts, var=cells.var.iloc[order])
    return kept.at(np.asarray(counts.sum(axis=1)).ravel() > 0)
