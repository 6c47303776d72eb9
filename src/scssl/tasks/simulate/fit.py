"""The verbs of a simulator: learn conditions, simulate cells, compare them with measured ones."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.errors import DataError, SettingsError, require
from scssl.log import logger
from scssl.tasks.simulate import cells as reading
from scssl.tasks.simulate.baselines import BASELINES, CONTROL_MEAN, LATENT, MATCHED, NO_CHANGE, SHIFTS
from scssl.tasks.simulate.calibrate import Calibration, calibrate
from scssl.tasks.simulate.cells import Cells, check_condition, parse_where, settle
from scssl.tasks.simulate.covariates import unseen, warn_of_unknown
from scssl.tasks.simulate.fitted import Fitted, Recipe, doses_of, recipe, same_genes
from scssl.tasks.simulate.judge import FALLBACK, LEAST_FOLDS, Verdict, compare, judge
from scssl.tasks.simulate.learn import Learned, learn
from scssl.tasks.simulate.predict import MODEL, Moved, Targets, by_baselines, by_model, populate
from scssl.tasks.simulate.scoring import gather
from scssl.tasks.simulate.settings import AUTO, SimulatorSettings
from scssl.tasks.simulate.simulation import WARNING, Simulation, describe_cells, versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.model.cell_model import CellModel
    from scssl.tasks.simulate.scoring import SimulationScores
    from scssl.training.devices import Device


def fit(
    model: CellModel,
    reference: AnnData | Path | str,
    *,
    settings: SimulatorSettings,
    condition: str,
    control: str,
    cases: Sequence[str],
    cell_type: str | None,
    donor: str | None,
    covariates: Sequence[str],
    hold_out: str | None,
    layer: str | None,
    seed: int,
    device: Device,
) -> tuple[Fitted, Cells]:
    """Learn what conditions do; see `Simulator.fit`."""
    require("seed", seed, holds=seed >= 0, must="0 or more")
    if control in cases or not cases or len(set(cases)) < len(cases):
        message = f"control {control!r} and case {', '.join(map(repr, cases))} must be different conditions"
        raise SettingsError(message)
    if settings.method == MATCHED and not covariates:
        message = f"method {MATCHED!r} is of cells with the same covariates, and none are given"
        raise SettingsError(message)
    held = parse_where(hold_out) if hold_out else None
    if held is not None and held[0] == condition:
        message = (
            f"{hold_out!r} cannot be held out: {condition!r} is what is simulated. Hold out values of another column, "
            "such as a cell type or a donor"
        )
        raise SettingsError(message)
    columns = settle(
        reference, condition=condition, cell_type=cell_type, donor=donor, layer=layer, covariates=covariates
    )
    reading.check_asked(reference, columns=columns, conditions=[control, *cases], held=held, layer=layer)
    cells = reading.read(reference, model, columns=columns, layer=layer, device=device)
    for name in (control, *cases):
        check_condition(cells, name, column=condition)
    reading.check_covariates(cells)
    if held is not None:
        chosen = cells.where(*held)
        is_control = cells.condition == control
        if not (chosen & is_control).any():
            message = (
                f"{cells.file}: no cell of obs[{held[0]!r}] = {held[1]!r} is under {control!r}, so there is nothing to "
                "simulate from; hold out what was measured under the control"
            )
            raise DataError(message)
        if not (chosen & ~is_control).any():
            logger.info(
                "%s: no cell of %s was measured under a case, so nothing had to be held out", cells.file, hold_out
            )
        cells = cells.at(~chosen | is_control)
        if gone := [name for name in cases if not (cells.condition == name).any()]:
            message = (
                f"{cells.file}: all cells under {gone[0]!r} are of obs[{held[0]!r}] = {held[1]!r}, so without them "
                "nothing says what the condition does; hold out something else"
            )
            raise DataError(message)
    learned, verdicts, calibrations = {}, {}, {}
    for name in cases:
        both = cells.at(np.isin(cells.condition, [control, name]))
        learned[name] = learn(both, control=control, case=name)
        folds, by = _folds(both, control=control, held=held, columns=columns)
        if settings.method == AUTO:
            verdicts[name] = judge(
                both, control=control, case=name, folds=folds, by=by, confidence=settings.confidence, seed=seed
            )
            # The verdict in full is the caller's to say, and the command says it with what was made.
            logger.info("%s: judged; cells will be made by the %s", name, verdicts[name].method)
        else:
            text = f"not judged, because the method was given: {settings.method}"
            verdicts[name] = Verdict(beats=False, text=text, best=FALLBACK, method=settings.method, by="")
        methods = [MODEL, verdicts[name].method] if verdicts[name].method in (*SHIFTS, LATENT) else [MODEL]
        calibrations[name] = calibrate(both, control=control, case=name, methods=methods, seed=seed)
    fitted = Fitted(
        model=model, genes=[str(name) for name in cells.var.index], columns=columns, control=control, learned=learned,
        verdicts=verdicts, reference=cells.file, hold_out=hold_out or "", doses=doses_of([control, *cases]),
        calibrations=calibrations,
    )  # fmt: skip
    return fitted, cells


def _folds(
    cells: Cells, *, control: str, held: tuple[str, str] | None, columns: reading.Columns
) -> tuple[NDArray[np.object_], str]:
    """Return what is left out together when the model is judged: what cells to be simulated have that none seen had."""
    if held is not None and held[0] not in (columns.cell_type, columns.donor):
        return np.asarray(cells.obs[held[0]].astype(str).to_numpy(dtype=object)), f"values of {held[0]!r}"
    by_type = (cells.types, "cell types")
    units, words = (cells.strata, cells.strata_words) if cells.donors is None else (cells.donors, "donors")
    if units is None:
        return by_type
    by_unit = (units, words)
    if held is not None:
        return by_type if held[0] == columns.cell_type else by_unit
    is_control = cells.condition == control
    for names, words in (by_type, by_unit):
        if set(names[is_control]) - set(names[~is_control]):
            return names, words
    return by_type if len(set(cells.types)) >= LEAST_FOLDS else by_unit


def simulate(
    fitted: Fitted,
    query: AnnData | Path | str,
    *,
    train: Cells | None,
    settings: SimulatorSettings,
    model_name: str,
    cases: Sequence[str] | None,
    where: str | None,
    layer: str | None,
    seed: int,
    device: Device,
) -> Simulation:
    """Simulate control cells; see `Simulator.simulate`."""
    require("seed", seed, holds=seed >= 0, must="0 or more")
    recipes = [recipe(fitted, case) for case in dict.fromkeys(cases or fitted.learned)]
    cells = _control_cells(fitted, query, where=where, layer=layer, device=device)
    targets = Targets.of(cells)
    order = np.argsort(np.concatenate([rows for _, rows in targets.groups]), kind="stable")
    counts, obs, change, sd, methods = [], [], {}, {}, {}
    for one in recipes:
        method = _method(fitted, one, settings)
        moved = _moved(fitted, one, targets, train=train, seed=seed, needed=method)
        learned = fitted.learned[one.parts[0][1]]
        populations = populate(method, moved, targets, learned=learned, seed=seed)
        counts.append(sp.vstack(populations, format="csr")[order])
        known = set(learned.keys)
        obs.append(
            describe_cells(
                cells.obs,
                case=one.case,
                condition=fitted.columns.condition,
                types=cells.types,
                donors=cells.donors,
                method=method,
                measured=np.array([key in known for key in _keys(cells, learned)]),
            )
        )
        shown = MODEL if method in (NO_CHANGE, CONTROL_MEAN) else method
        widths, certain = _widened(fitted, one, targets, shown, moved[shown].sd)
        for number, (key, _) in enumerate(targets.groups):
            name = " | ".join(part for part in ([one.case] if len(recipes) > 1 else []) + list(key) if part)
            change[name], sd[name] = moved[shown].change[number], widths[number]
        methods[one.case] = {
            "method": method,
            "uncertainty": certain,
            "verdict": fitted.verdicts[one.case].text if one.case in fitted.verdicts else one.note,
            "judged": fitted.verdicts[one.case].to_dict() if one.case in fitted.verdicts else {},
        }
    return Simulation(
        counts=sp.vstack(counts, format="csr"),
        obs=pd.concat(obs),
        var=cells.var,
        change=pd.DataFrame(change),
        sd=pd.DataFrame(sd),
        settings={
            "cases": methods,
            "control": fitted.control,
            "where": where or "",
            "query": cells.file,
            "reference": fitted.reference,
            "hold_out": fitted.hold_out,
            "model": model_name,
            "seed": seed,
            "columns": _plain(asdict(fitted.columns)),
            "warning": WARNING,
            "versions": versions(),
        },
    )


def _plain(columns: dict[str, Any]) -> dict[str, str]:
    """Return columns as files hold them."""
    return {name: ", ".join(value) if isinstance(value, tuple) else value or "" for name, value in columns.items()}


def evaluate(
    fitted: Fitted,
    query: AnnData | Path | str,
    *,
    train: Cells | None,
    cases: Sequence[str] | None,
    where: str | None,
    layer: str | None,
    seed: int,
    device: Device,
) -> SimulationScores:
    """Compare simulated with measured cells; see `Simulator.evaluate`."""
    require("seed", seed, holds=seed >= 0, must="0 or more")
    cells = same_genes(fitted, reading.read(query, fitted.model, columns=fitted.columns, layer=layer, device=device))
    if where is not None:
        cells = cells.at(cells.where(*parse_where(where)))
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []
    for name in dict.fromkeys(cases or fitted.learned):
        one = recipe(fitted, name)
        if one.parts != [(1.0, name)]:
            message = f"{name!r} was not learned itself, so cannot be scored; there is: {', '.join(fitted.learned)}"
            raise SettingsError(message)
        for condition in (fitted.control, name):
            check_condition(cells, condition, column=fitted.columns.condition)
        learned = fitted.learned[name]
        known = None if train is None else train.at(np.isin(train.condition, [fitted.control, name]))
        found, few = compare(
            learned, train=known, control_cells=cells.at(cells.condition == fitted.control),
            truth=cells.at(cells.condition == name), control=fitted.control, seed=seed,
        )  # fmt: skip
        rows += [{"case": name, **row} for row in found]
        skipped += few
    return gather(rows, skipped=skipped)


def _control_cells(
    fitted: Fitted, query: AnnData | Path | str, *, where: str | None, layer: str | None, device: Device
) -> Cells:
    from dataclasses import replace

    from scssl.corpus.sources.source import open_source

    columns = fitted.columns
    with open_source(query, layer=layer) as source:
        there = columns.condition in source.obs.columns
    if not there:
        # Every cell is taken for a control cell then.
        columns = replace(columns, condition="")
    cells = reading.read(query, fitted.model, columns=columns, layer=layer, device=device)
    if cells.covariates is not None:
        warn_of_unknown(cells.covariates, _seen_values(fitted), file=cells.file)
    if there:
        check_condition(cells, fitted.control, column=columns.condition)
        cells = cells.at(cells.condition == fitted.control)
    if where is not None:
        cells = cells.at(cells.where(*parse_where(where)))
    return same_genes(fitted, cells)


def _seen_values(fitted: Fitted) -> pd.DataFrame:
    return pd.concat([one.covariates for one in fitted.learned.values() if one.covariates is not None])


def _method(fitted: Fitted, one: Recipe, settings: SimulatorSettings) -> str:
    if one.case not in fitted.verdicts:
        return MODEL
    return fitted.verdicts[one.case].method if settings.method == AUTO else settings.method


def _moved(
    fitted: Fitted, one: Recipe, targets: Targets, *, train: Cells | None, seed: int, needed: str
) -> dict[str, Moved]:
    learned = [(weight, fitted.learned[name]) for weight, name in one.parts]
    moved = {MODEL: by_model(learned, targets, seed=seed)}
    if needed in BASELINES:
        name = one.parts[0][1]
        known = None
        if needed == LATENT:
            if train is None:
                message = (
                    f"{needed!r} reads from the cells that were learned from, which a saved simulator has not; fit anew"
                )
                raise SettingsError(message)
            known = train.at(np.isin(train.condition, [fitted.control, name]))
        moved |= by_baselines(learned[0][1], targets, train=known, control=fitted.control, model=moved[MODEL])
    return moved


def _widened(
    fitted: Fitted, one: Recipe, targets: Targets, method: str, sd: NDArray[np.float64]
) -> tuple[NDArray[np.float64], str]:
    """Return standard deviations as wide as they had to be on groups left out, and how far they are to be believed."""
    widths, said, keys = sd.copy(), [], list(zip(targets.types, targets.donors, strict=True))
    for _, name in one.parts:
        known = fitted.calibrations.get(name, Calibration())
        axes = [known.axis(key, fitted.learned[name]) for key in keys]
        for number, axis in enumerate(axes):
            if (found := known.widening(method, axis)) is not None:
                widths[number] = np.maximum(widths[number], found.widen(sd[number]))
        said.append(known.describe(method, axes, new_values=_new_values(fitted, fitted.learned[name], targets)))
    if one.case not in fitted.learned:
        return widths, "not calibrated for what was not measured itself, likely too small; widened as its parts"
    return widths, said[0]


def _new_values(fitted: Fitted, learned: Learned, targets: Targets) -> list[str]:
    """Say which values of covariates were not measured under both conditions, nor are like what was left out."""
    if learned.covariates is None or (fitted.columns.donor is None and len(learned.covariates.columns) == 1):
        return []
    return unseen(targets.covariates, learned.covariates)


def _keys(cells: Cells, learned: Learned) -> list[tuple[str, str]]:
    units = cells.strata if learned.donors is None else cells.units
    names = [""] * len(cells) if units is None else map(str, units)
    return list(zip(map(str, cells.types), names, strict=True))
