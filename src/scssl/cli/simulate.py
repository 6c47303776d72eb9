"""`scssl simulate`: simulate cells under a condition in which they were not measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from scssl.cli._annotate_checks import check_apart
from scssl.cli._estimate import estimate
from scssl.cli._record import Record
from scssl.cli.common import Common, Device, Outcome, Whole, divided
from scssl.words import count

if TYPE_CHECKING:
    import pandas as pd

    from scssl.tasks.simulate import Simulation, SimulationScores, Simulator
    from scssl.tasks.simulate.beside import Beside

JUDGING, CALIBRATING = 4e-3, 4e-3
"""Seconds per cell and thousand genes to leave out cell types and donors in turn, on two cores: to compare the model
with baselines, and to find how wide intervals have to be."""
PER_GROUP = 1.5
"""Seconds more for each group of a type and a donor, over all that is left out, where genes are many."""


def simulate(
    file: Path,
    /,
    *,
    model: Path,
    out: Path,
    condition: str | None = None,
    control: str | None = None,
    case: list[str] | None = None,
    hold_out: str | None = None,
    cell_type: str | None = None,
    donor: str | None = None,
    covariates: str | None = None,
    where: str | None = None,
    method: str | None = None,
    figures: Path | None = None,
    save: Path | None = None,
    layer: str | None = None,
    seed: Whole = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Simulate cells under a condition: counts of control cells as they would be under the case.

    What the condition does is learned from the cell types and donors that were measured under control and case. Whether
    that is worth more than simple baselines is found out by leaving types or donors out; the answer is printed. What is
    simulated is a prediction: it is not to be tested, nor to be counted as donors.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts. It is not changed.
    model
        Folder of the model; or of a simulator that --save wrote, which knows its conditions: then FILE are control
        cells that it has not seen.
    out
        .h5ad to write: one simulated cell per control cell and case, with counts; predicted changes and their
        uncertainty in varm, scores in uns.
    condition
        Column of obs with the conditions.
    control
        Its value for control cells.
    case
        Its value for the cells that are predicted. Repeat for several. A sum of two cases, as A+B, adds what they do.
    hold_out
        COL=VALUE, such as cell_type=B: case cells of that value are not looked at; its control cells are simulated,
        and compared with them.
    cell_type
        Column with the cell types; cell_type if there is one. "none" takes all cells for one type.
    donor
        Column with the donors; donor if there are several. "none" for none.
    covariates
        Columns with what a change may depend on, separated by commas: numbers (age) as such, others (sex, tissue) as
        levels. What differs within donors divides their cells.
    where
        COL=VALUE: only these control cells are simulated. All by default, or those held out.
    method
        auto (by default): the model if it beats every baseline on what was left out, else the baseline that did best
        there. model, or the name of a baseline, such as "cell-type mean shift".
    figures
        With --hold-out: folder to make, for figures and tables of the scores.
    save
        Folder to keep the simulator in, for --model of later runs.
    layer
        Where the raw counts are: a layer, or "raw"; X without it.
    seed
        Of everything random.
    device
        Where to compute.
    overwrite
        Replace OUT, and the folder of --save.
    """
    from scssl.corpus.sources.source import open_source
    from scssl.errors import SettingsError, import_extra
    from scssl.log import logger
    from scssl.tasks.output import prepare_output
    from scssl.tasks.simulate import Simulator
    from scssl.tasks.simulate.beside import MOST_CASES
    from scssl.tasks.simulate.settings import AUTO, SimulatorSettings

    record = Record()
    prepare_output(out, file=file, overwrite=overwrite)
    check_apart(model, {"--out": out, "--figures": figures, "--save": save})
    if figures is not None:
        if figures.exists() or hold_out is None:
            message = f"{figures} exists already; choose another folder for --figures"
            if hold_out is None:
                message = "--figures are of scores against what was measured, so it needs --hold-out COL=VALUE"
            raise SettingsError(message)
        import_extra("matplotlib", extra="report")
    if covariates is not None and not divided(covariates):
        message = "--covariates is empty; give columns of obs, or leave it out"
        raise SettingsError(message)
    given = {"condition": condition, "control": control, "hold_out": hold_out, "cell_type": cell_type, "donor": donor,
             "covariates": covariates, "method": method}  # fmt: skip
    saved = _check(model, given, case=case, save=save, overwrite=overwrite)
    _check_where(file, where, layer=layer)
    chosen = AUTO if method is None else method
    SimulatorSettings(method=chosen)
    with open_source(file, layer=layer) as source:
        n_cells, n_features = source.n_cells, source.n_features
        groups = _groups(source.obs, [cell_type or "cell_type", donor or "donor"], covariates=divided(covariates))
    also = 0.0
    if not saved:
        also = (CALIBRATING + (JUDGING if method is None else 0.0)) * n_cells * n_features / 1000
        also += PER_GROUP * groups * min(1.0, n_features / 1500)
    expected = estimate(file, n_cells=n_cells, n_features=n_features, also=also)
    logger.info("%s: %s; %s", file.name, count(n_cells, "cell"), expected)
    if saved:
        simulator = Simulator.load(model)
    else:
        simulator = Simulator(model, method=chosen)
        simulator.fit(
            file, condition=str(condition), control=str(control), case=_learned(file, case or [], condition=condition),
            cell_type=cell_type, donor=donor, covariates=divided(covariates), hold_out=hold_out, layer=layer, seed=seed,
            device=device,
        )  # fmt: skip
    record.lap("read, learn and judge")
    here = where or hold_out
    simulation = simulator.simulate(file, case=case, where=here, layer=layer, seed=seed, device=device)
    record.lap("simulate")
    found = None
    if hold_out is not None:
        found = _evaluated(simulator, file, hold_out, cases=case, layer=layer, seed=seed, device=device)
    besides = {}
    if found is not None:
        shown = [name for name in simulator.verdicts if (simulation.cases == name).any()]
        shown = shown if figures is not None else shown[:MOST_CASES]
        besides = {
            name: simulator.beside(simulation, query=file, case=name, where=hold_out, layer=layer, device=device)
            for name in shown
        }
    record.lap("score")
    record.read(file, role="cells", n_cells=n_cells)
    summary = None if found is None else found.summary()
    noted = record.settings(model=simulator.model, scores=summary)
    simulation.settings.update(noted)
    simulation.write(out, scores=found, beside=besides)
    if save is not None:
        simulator.save(save, overwrite=overwrite)
    if figures is not None and found is not None:
        plain = {name: value for name, value in simulation.settings.items() if name not in noted}
        _write_scores(figures, found, besides, made=_made(simulation))
        record.capsule(
            figures, what="simulation", settings=plain, panel=simulator.model.panel, seed=seed, metrics=summary
        )
    return _outcome(simulation, found, out=out, save=save, folder=figures)


def _groups(obs: pd.DataFrame, columns: list[str], *, covariates: list[str]) -> int:
    """Return about how many groups will be learned from, times the ways in which they may be alike."""
    from scssl.tasks.simulate.learn import MOST_GROUPS

    there = [name for name in [*columns, *covariates] if name in obs.columns]
    n = len(obs[there].drop_duplicates()) if there else 1
    return min(n, MOST_GROUPS) * (1 + len(covariates))


def _check(
    model: Path, given: dict[str, str | None], *, case: list[str] | None, save: Path | None, overwrite: bool
) -> bool:
    """Refuse what has no effect or is missing, before any work; return whether the model is a saved simulator."""
    from scssl.errors import SettingsError
    from scssl.tasks.simulate.cells import parse_where
    from scssl.tasks.simulate.files import KIND

    saved = KIND.is_at(model)
    needed = [name for name in ("condition", "control") if given[name] is None] + ([] if case else ["case"])
    chosen = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    message = ""
    if saved and chosen:
        message = (
            f"{', '.join(chosen)} cannot be chosen for the simulator {model}: it was settled when it was made. Give a "
            "model with --model to make another one"
        )
    elif saved and save is not None:
        message = f"--save has no effect: {model} is a saved simulator already. Copy its folder"
    elif not saved and needed:
        words = " and ".join(f"--{name}" for name in needed)
        message = f"{model} is not a saved simulator, so give {words}: what is compared in obs"
    if message:
        raise SettingsError(message)
    if save is not None:
        KIND.check_place(save, overwrite=overwrite, option="--save")
    if given["hold_out"] is not None:
        parse_where(given["hold_out"])
    return saved


def _check_where(file: Path, where: str | None, *, layer: str | None) -> None:
    """Refuse cells that are not there before minutes of learning rather than after them."""
    from scssl.tasks.simulate.cells import Columns, check_asked, parse_where

    if where is not None:
        nothing = Columns(condition="", cell_type=None, donor=None)
        check_asked(file, columns=nothing, conditions=[], held=parse_where(where), layer=layer)


def _learned(file: Path, cases: list[str], *, condition: str | None) -> list[str]:
    """Return the conditions to learn: of a sum that the file does not have, its parts."""
    from scssl.corpus.sources.source import open_source
    from scssl.tasks.simulate.fitted import parts_of

    with open_source(file) as source:
        names = set(map(str, source.obs[condition].dropna())) if condition in source.obs.columns else set()
    found: list[str] = []
    for case in cases:
        parts = [case] if case in names else parts_of(case)
        found += parts if case not in names and len(parts) > 1 and set(parts) <= names else [case]
    return list(dict.fromkeys(found))


def _evaluated(
    simulator: Simulator,
    file: Path,
    hold_out: str,
    *,
    cases: list[str] | None,
    layer: str | None,
    seed: int,
    device: Any,
) -> SimulationScores | None:
    from scssl.errors import DataError
    from scssl.log import logger

    learned = [name for name in cases or [] if name in simulator.verdicts]
    if not learned:
        return None
    try:
        return simulator.evaluate(file, case=learned, where=hold_out, layer=layer, seed=seed, device=device)
    except DataError as error:
        logger.info("not scored: %s", error)
        return None


def _write_scores(folder: Path, scores: SimulationScores, besides: dict[str, Beside], *, made: list[str]) -> None:
    from scssl.report.simulate import simulation_cells, simulation_means, simulation_table

    folder.mkdir(parents=True)
    scores.methods.to_csv(folder / "methods.csv")
    scores.groups.to_csv(folder / "groups.csv", index=False)
    simulation_table(scores, made=made).savefig(folder / "scores.png")
    names: list[str] = []
    for case, shown in besides.items():
        name = "".join(letter if letter.isalnum() else "_" for letter in case)
        # "A/1" and "A 1" are two cases; file systems that ignore case take "a" and "A" for one name.
        names.append(name.casefold())
        name += f"_{names.count(name.casefold())}" if names.count(name.casefold()) > 1 else ""
        simulation_means(shown).savefig(folder / f"means_{name}.png")
        simulation_cells(shown).savefig(folder / f"cells_{name}.png")


def _made(simulation: Simulation) -> list[str]:
    """Return the methods that the cells are of."""
    return list(dict.fromkeys(str(one["method"]) for one in simulation.settings["cases"].values()))


def _outcome(
    simulation: Simulation,
    scores: SimulationScores | None,
    *,
    out: Path,
    save: Path | None,
    folder: Path | None,
) -> Outcome:
    from rich.markup import escape

    settings = simulation.settings
    lines = [f"{simulation.counts.shape[0]:,} simulated cells: {out}"]
    for case, one in settings["cases"].items():
        lines.append(f"{case}: made by the {one['method']}." if one["method"] == "model" else
                     f"{case}: made by a baseline, {one['method']}.")  # fmt: skip
        lines.append(f"  {one['verdict'][:1].upper()}{one['verdict'][1:]}.")
        lines.append(f"  Uncertainty: {one['uncertainty']}.")
        if one["method"] != "model" and one["judged"].get("explained"):
            lines.append("  For the model's own cells, to try them: --method model.")
    if scores is not None:
        shown = scores.methods.drop(columns=["mmd"], errors="ignore")
        shown = shown.rename(index={name: f"{name} (made the cells)" for name in _made(simulation)})
        lines += [
            "",
            f"Against the measured cells of {settings['hold_out']}:",
            shown.to_string(float_format="{:z.3f}".format),
        ]
        lines.append("explained: 0 is no change, 1 the truth. Chosen without these cells; the table does not choose.")
        lines.append("Means over cell types; explained and discrimination are of all types together.")
    lines += ["", str(settings["warning"])]
    for name, path in (("simulator", save), ("figures and tables", folder)):
        if path is not None:
            lines.append(f"{name.capitalize()}: {path}")
    result = {
        "out": str(out),
        "n_cells": int(simulation.counts.shape[0]),
        "n_genes": int(simulation.counts.shape[1]),
        "cases": settings["cases"],
        "hold_out": settings["hold_out"],
        "scores": None if scores is None else scores.summary(),
        "saved": None if save is None else str(save),
        "figures": None if folder is None else str(folder),
    }
    return Outcome(result=result, text="\n".join(escape(line) for line in lines))
