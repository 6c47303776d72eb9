"""`scssl compare`: what differs between two conditions, in which cells, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from scssl.cli._annotate_checks import check_apart
from scssl.cli._estimate import estimate
from scssl.cli._record import Record
from scssl.cli.common import Common, Device, Outcome, Whole, divided

if TYPE_CHECKING:
    from scssl.tasks.compare import Comparison

PER_GENE = 2.5e-3
"""Seconds to test a gene in a type."""
EXPRESSED = 0.4
"""Share of the genes of a file that a type expresses enough to be tested."""
PER_TYPE = 2.0
"""Seconds to compare the states of a type."""


def compare(
    file: Path,
    /,
    *,
    condition: str,
    control: str,
    case: str,
    donor: str,
    out: Path,
    model: Path | None = None,
    cell_type: str | None = None,
    covariates: str | None = None,
    programmes: str = "modules:20",
    test: Literal["moderated", "permutation"] = "moderated",
    paired: Literal["auto", "yes", "no"] = "auto",
    skip: str | None = None,
    min_cells: Whole = 10,
    fdr: float = 0.05,
    layer: str | None = None,
    seed: Whole = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Say what differs between two conditions, in which cells, and how sure that is; donors are the units.

    Asked of each cell type: does its share change, do its cells lie elsewhere in the model's space, which genes and
    which programmes are expressed differently. With fewer than two donors on a side nothing is tested, which is said.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts. It is not changed.
    condition
        Column of obs with the conditions.
    control, case
        The two values of it that are compared; differences are case minus control.
    donor
        Column of obs with the donors. Those seen under both conditions are compared with themselves.
    out
        Folder to make: tables (.csv), figures, summary.txt, summary.json, report.html.
    model
        Folder of the model whose space the states are compared in. Without it states are left out.
    cell_type
        Column of obs with the types. Without it: scssl_label, which scssl annotate writes.
    covariates
        Columns of obs to adjust for, separated by commas, one value per donor: numbers (age) as such, others (sex,
        study) as levels.
    programmes
        GMT file, collection (msigdb:H), or modules:N: learned from the cells, without their conditions.
    test
        Whose p-value counts for shares and programmes. moderated: a t test whose variances lend each other strength;
        permutation: supposes nothing, but needs more donors.
    paired
        auto: donors under both conditions are compared with themselves if there are two or more; yes; no.
    skip
        What is not to be asked, separated by commas: composition, state, genes, programmes.
    min_cells
        Cells that a donor must have of a type.
    fdr
        False discovery rate across everything that is asked.
    layer
        Where the raw counts are: a layer, or "raw"; X without it.
    seed
        Of everything random.
    device
        Where to compute the embedding.
    overwrite
        Replace a comparison at OUT.
    common
        Options that every command takes.
    """
    import time

    from scssl.corpus.sources.source import open_source
    from scssl.environment import command_line
    from scssl.errors import import_extra
    from scssl.log import logger
    from scssl.tasks.compare import Comparer
    from scssl.tasks.compare.design import Question, choose_types, read_design
    from scssl.tasks.compare.files import KIND

    KIND.check_place(out, overwrite=overwrite, option="--out")
    _check_apart(file, out)
    if model is not None:
        check_apart(model, {"--out": out})
    kinds = _kinds(skip, has_model=model is not None)
    # Before minutes of work rather than after them.
    for name in ("matplotlib", "jinja2"):
        import_extra(name, extra="report")
    if "genes" in kinds:
        import_extra("pydeseq2", extra="compare")
    started, record = time.perf_counter(), Record()
    comparer = Comparer(
        model, kinds=kinds, test=test, paired=paired, programmes=programmes, min_cells=min_cells, fdr=fdr
    )
    adjusted = divided(covariates)
    question = Question(
        condition=condition, control=control, case=case, donor=donor, cell_type=choose_types(file, cell_type),
        covariates=tuple(adjusted),
    )  # fmt: skip
    design = read_design(file, question, layer=layer, paired=paired)
    with open_source(file, layer=layer) as source:
        n_cells, n_features = source.n_cells, source.n_features
    n_types = len(design.types)
    also = n_types * (PER_GENE * EXPRESSED * n_features * ("genes" in kinds) + PER_TYPE * ("state" in kinds))
    n_control, n_case = design.n_donors
    expected = estimate(file, n_cells=n_cells, n_features=n_features, also=also if design.testable else 0.0)
    logger.info(
        "%s: %s cells of %d types; donors: %d of %s, %d of %s%s; %s", file.name,
        f"{(design.sample >= 0).sum():,}", n_types, n_control, control, n_case, case,
        ", paired" if design.paired else "", expected,
    )  # fmt: skip
    comparer.fit(
        file, condition=condition, control=control, case=case, donor=donor, cell_type=cell_type, covariates=adjusted,
        layer=layer, seed=seed, device=device,
    )  # fmt: skip
    found = comparer.comparison
    record.read(file, role="compared", n_cells=int((design.sample >= 0).sum()))
    record.read(model, role="model")
    seconds = time.perf_counter() - started
    _write(out, found, command=command_line(), seconds=seconds, overwrite=overwrite, record=record)
    return _outcome(found, out=out)


def _kinds(skip: str | None, *, has_model: bool) -> tuple[Any, ...]:
    """Return what is asked."""
    from scssl.errors import SettingsError
    from scssl.log import logger
    from scssl.tasks.compare.settings import KINDS

    skipped = divided(skip)
    unknown = [name for name in skipped if name not in KINDS]
    if unknown:
        message = f"--skip {unknown[0]!r} is not known; choose some of: {', '.join(KINDS)}"
        raise SettingsError(message)
    if not has_model and "state" not in skipped:
        logger.warning("no --model is given: states (where cells lie in its space) are not compared")
        skipped = [*skipped, "state"]
    kinds = tuple(kind for kind in KINDS if kind not in skipped)
    if not kinds:
        message = "nothing is left to ask: leave out --skip" + ("" if has_model else ", or give a --model")
        raise SettingsError(message)
    return kinds


def _check_apart(file: Path, out: Path) -> None:
    from scssl.errors import SettingsError

    if file.is_dir() and out.resolve().is_relative_to(file.resolve()):
        message = f"--out {out} lies in the input, {file}, which is never changed; choose another folder"
        raise SettingsError(message)


def _write(out: Path, found: Comparison, *, command: str, seconds: float, overwrite: bool, record: Record) -> None:
    """Write everything into a folder that appears only when complete."""
    import json

    from scssl.report.compare_run import draw_all, run_of_comparison
    from scssl.report.page import write_page
    from scssl.tasks.compare import files

    with files.KIND.new(out, overwrite=overwrite) as folder:
        # What is read again gets checksums; what people look at, and may make anew, gets none.
        files.write_tables(folder, found)
        files.close(folder, found)
        (folder / "summary.txt").write_text("\n".join(_lines(found)) + "\n", encoding="utf-8")
        summary = json.dumps(found.summary(), indent=2, allow_nan=False)
        (folder / "summary.json").write_text(summary + "\n", encoding="utf-8")
        draw_all(found, folder / "figures")
        run = run_of_comparison(found, command=command, timings={"read, compare and correct": round(seconds, 2)})
        run.save(folder)
        metrics = {"n_answers": len(found.answers), "n_found": len(found.found)}
        genes = {"n": int(found.genes["gene"].nunique()), "tested": "genes.csv"}
        record.capsule_of(folder, what="comparison", settings=found.settings, genes=genes, metrics=metrics)
        write_page(run, folder=folder)


def _lines(found: Comparison) -> list[str]:
    return [*found.sentences, *(f"Note: {note}." for note in found.notes)]


def _outcome(found: Comparison, *, out: Path) -> Outcome:
    from rich.markup import escape

    result = {"out": str(out), "report": str(out / "report.html"), **found.summary()}
    lines = [escape(line) for line in _lines(found)]
    lines += ["", f"Tables, figures and report: {escape(str(out))} (open report.html in a browser)"]
    return Outcome(result=result, text="\n".join(lines))
