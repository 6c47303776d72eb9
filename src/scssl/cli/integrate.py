"""`scssl integrate`: bring the batches of a study together, or map new cells into the space of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from scssl.cli._annotate_checks import check_apart
from scssl.cli._estimate import estimate
from scssl.cli._record import Record
from scssl.cli.common import Common, Device, Outcome, Whole, typed
from scssl.words import count

if TYPE_CHECKING:
    from scssl.tasks.integrate.evaluate import IntegrationReport
    from scssl.tasks.integrate.fitted import Integration

SCORING = 0.02
"""Seconds per cell to score it in six embeddings."""


def integrate(
    file: Path,
    /,
    *,
    model: Path,
    out: Path,
    batch: str | None = None,
    labels: str | None = None,
    mode: Literal["zero_shot", "finetune"] | None = None,
    correct: Literal["clusters", "centre", "none"] | None = None,
    evaluate: Annotated[bool, Parameter(negative="")] = False,
    figures: Path | None = None,
    save: Path | None = None,
    layer: str | None = None,
    key_added: str | None = None,
    seed: Whole = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Bring the batches of a study together, in the space of a pre-trained model.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts of all batches. It is not changed.
    model
        Folder of the model; or of an integrator that --save wrote: the file's cells are then mapped into the space of
        its study, with nothing trained and no cell of the study moved.
    out
        .h5ad to write: the input with obsm["X_scssl_integrated"].
    batch
        Column of obs with the batches (donors, samples, studies).
    labels
        Column of obs with the types. They guide nothing: with them, it is scored how well types were kept.
    mode
        zero_shot (by default): the encoder stays as it is. finetune: it first goes on with its training on these cells,
        without labels, the decoder told their batch: it pays where the model has hardly seen such cells.
    correct
        What is done to the codes. clusters (by default): batches are moved together in each of many overlapping
        clusters (Harmony's model); centre: each batch is moved as a whole onto the mean of all; none: nothing.
    evaluate
        Score how well batches are mixed, beside PCA and Harmony. Takes the extra integrate. --labels does, too.
    figures
        Folder to make, for UMAPs before and after, and the table of scores.
    save
        Folder to keep the integrator in, for --model of later runs on new cells.
    layer
        Where the raw counts are: a layer, or "raw"; X without it.
    key_added
        Name in obsm instead of X_scssl_integrated.
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
    from scssl.tasks.integrate import Integrator
    from scssl.tasks.integrate.evaluate import evaluate as score
    from scssl.tasks.integrate.files import KIND
    from scssl.tasks.integrate.fitted import read_batches
    from scssl.tasks.output import prepare_output, write_results

    record = Record()
    prepare_output(out, file=file, overwrite=overwrite, key_added=key_added)
    check_apart(model, {"--out": out, "--figures": figures, "--save": save})
    if figures is not None and figures.exists():
        message = f"{figures} exists already; choose another folder for --figures"
        raise SettingsError(message)
    if save is not None:
        KIND.check_place(save, overwrite=overwrite, option="--save")
    scored = evaluate or labels is not None
    # Before an hour's work rather than after it.
    for name in ("scib_metrics", "harmonypy") if scored else ():
        import_extra(name, extra="integrate")
    for name in ("matplotlib", "umap") if figures is not None else ():
        import_extra(name, extra="report")
    maps = KIND.is_at(model)
    given = {"mode": mode, "correct": correct}
    chosen = {name: value for name, value in given.items() if value is not None}
    settings = _check(model, maps=maps, batch=batch, chosen=chosen, save=save, scored=scored)
    integrator = Integrator.load(model) if maps else None
    column = integrator.batch if integrator is not None else str(batch)
    if integrator is not None and batch is not None:
        # A new study may call its batches otherwise.
        column = batch
    cells = read_batches(file, column, layer=layer, several=not maps)
    _check_labels(cells.obs, labels, file=cells.file)
    with open_source(file, layer=layer) as source:
        n_features = source.n_features
    n_cells = len(cells.obs)
    also = SCORING * n_cells * scored + (60.0 if settings.get("mode") == "finetune" else 0.0)
    expected = estimate(file, n_cells=n_cells, n_features=n_features, also=also)
    logger.info("%s: %s of %d batches; %s", file.name, count(n_cells, "cell"), len(cells.names), expected)
    if integrator is None:
        integrator = Integrator(model, batch=column, **settings).fit(file, layer=layer, seed=seed, device=device)
    record.lap("read, embed and learn the study")
    found = integrator.integrate(file, batch=column, layer=layer, device=device)
    record.lap("bring batches together")
    report = None
    if scored:
        report = score(found, file, panel=integrator.model.panel, labels=labels, layer=layer, seed=seed)
    record.lap("score")
    record.read(file, role="cells to integrate", n_cells=n_cells)
    results = record.into(
        found.results(key_added=key_added), model=integrator.model, scores=None if report is None else report.summary(),
        batch=column, labels=labels,
    )  # fmt: skip
    write_results(file, out, results)
    if save is not None:
        integrator.save(save, overwrite=overwrite)
    if figures is not None:
        _draw(figures, found, report, labels=labels, seed=seed)
        record.capsule(
            figures, what="integration", settings=found.settings, panel=integrator.model.panel, seed=seed,
            metrics=None if report is None else report.summary(),
        )  # fmt: skip
    return _outcome(found, report, out=out, key=next(iter(results.obsm)), save=save, figures=figures)


def _check(
    model: Path, *, maps: bool, batch: str | None, chosen: dict[str, Any], save: Path | None, scored: bool
) -> dict[str, Any]:
    """Return the settings; what has no effect is refused."""
    from scssl.errors import SettingsError

    message = ""
    if maps:
        options = [f"--{name}" for name in chosen] + ["--save"] * (save is not None)
        if options:
            message = (
                f"{', '.join(options)} cannot be chosen for the integrator {model}: it was settled when it was made. "
                "Give a model with --model to make another one"
            )
        elif scored:
            message = (
                f"--labels and --evaluate score a study, and {model} is an integrator that new cells are mapped with. "
                "Leave them out; in Python, evaluate study and new cells together: Integrator.load(...).evaluate(...)"
            )
    elif batch is None:
        message = f"{model} is not a saved integrator, so give --batch: the column of obs with the batches"
    if message:
        raise SettingsError(message)
    return chosen


def _check_labels(obs: Any, labels: str | None, *, file: str) -> None:
    from scssl.tasks.annotate.labels import read_labels

    if labels is not None:
        read_labels(obs, labels, file=file)


def _draw(folder: Path, found: Integration, report: IntegrationReport | None, *, labels: str | None, seed: int) -> None:
    from scssl.report.integrate import before_and_after, integration_table

    folder.mkdir(parents=True)
    colours = found.batches.obs[[found.batches.column]]
    if labels is not None:
        colours = found.batches.obs[[found.batches.column, labels]]
    figure = before_and_after(found.codes, after=found.embedding, colours=colours, seed=seed)
    figure.savefig(folder / "umap.png")
    if report is not None:
        integration_table(report.table).savefig(folder / "scores.png")
        report.table.to_csv(folder / "scores.csv")


def _outcome(
    found: Integration,
    report: IntegrationReport | None,
    *,
    out: Path,
    key: str,
    save: Path | None,
    figures: Path | None,
) -> Outcome:
    from rich.markup import escape

    n_new, n_cells = int((~found.known).sum()), len(found.known)
    result: dict[str, Any] = {
        "out": str(out), "key": key, "n_cells": n_cells, "n_latent": found.embedding.shape[1],
        "n_batches": len(found.batches.names), "n_mapped": n_new, "settings": found.settings,
    }  # fmt: skip
    what = f"{count(n_cells, 'cell')} of {count(len(found.batches.names), 'batch')}"
    lines = [f"{what}: {escape(str(out))}, obsm[{key!r}]."]
    if n_new:
        lines.append(f"{n_new:,} of them were mapped into the space of {escape(found.settings['study'])}.")
    if report is not None:
        result["evaluation"] = report.summary()
        shown = report.table[["type_score", "mixing_score"]].round(3)
        lines += ["", escape(shown.to_string(na_rep="-")), "", escape(report.verdict), *map(escape, report.notes)]
    lines.append(f"In scanpy: sc.pp.neighbors(adata, use_rep={key!r}); sc.tl.umap(adata)")
    for name, path in (("figures", figures), ("integrator", save)):
        if path is not None:
            result[name] = str(path)
            lines.append(f"{name.capitalize()}: {escape(str(path))}")
    if save is not None:
        lines.append(f"Next: scssl integrate NEW --model {typed(save)} --out O.h5ad")
    return Outcome(result=result, text="\n".join(lines))
