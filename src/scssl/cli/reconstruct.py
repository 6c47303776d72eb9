"""`scssl reconstruct`: put the expression of all genes of a model beside the cells of a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from scssl.cli._annotate_checks import check_apart
from scssl.cli._estimate import estimate, seconds_to_reconstruct
from scssl.cli._reconstruct_outcome import outcome
from scssl.cli._record import Record
from scssl.cli.common import Common, Device, Outcome, Whole, divided

if TYPE_CHECKING:
    from scssl.genes import GenePanel


def reconstruct(
    file: Path,
    /,
    *,
    model: Path,
    out: Path,
    mode: Literal["zero_shot", "finetune", "scratch"] | None = None,
    reference: Path | None = None,
    loss: Literal["model", "nb", "zinb", "poisson", "mse"] | None = None,
    epochs: Whole | None = None,
    source: str | None = None,
    genes: str = "all",
    write: str = "expression,sd",
    evaluate: Literal["thinned", "hidden"] | None = None,
    labels: str | None = None,
    figures: Path | None = None,
    save: Path | None = None,
    layer: str | None = None,
    reference_layer: str | None = None,
    key_added: str | None = None,
    seed: Whole = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Reconstruct the expression of the cells of a file: denoised, also of genes that were not measured.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts. It is not changed.
    model
        Folder of the model; or of a reconstructor that --save wrote.
    out
        .h5ad to write: the input with layers["scssl_expression"] (log1p of counts per 10,000),
        layers["scssl_expression_sd"], var["scssl_reconstructed"], and all genes of the model in
        obsm["X_scssl_expression"], their names in uns["scssl"]["reconstruct"]["genes"].
    mode
        zero_shot (by default): the model as it is. finetune: its pre-training goes on with the reference first.
        scratch: the same network, from random weights, to compare with.
    reference
        File with raw counts to learn from, without labels; the file itself by default.
    loss
        What is predicted, in finetune and scratch: counts (nb, zinb, poisson), log values (mse), or what the model
        predicts (model, by default).
    epochs
        Passes over the reference; by default as many as make 1,000 steps, 2,000 in scratch.
    source
        Source of the model's corpus that the cells are of; a new one by default.
    genes
        all; measured (those of the file alone, and nothing in obsm); a text file of one gene per line; or names with
        commas between them.
    write
        Which layers: any of expression, sd (standard deviation of a measurement on that scale), counts (expected),
        counts_sd, with commas between them.
    evaluate
        Also score the model and baselines on held-out counts: thinned (half of each cell's counts) or hidden (20 % of
        the genes of each cell).
    labels
        With --evaluate: column of obs with cell types, for their means as a baseline.
    figures
        With --evaluate: folder to make, for figures and tables of the scores.
    save
        Folder to keep the reconstructor in, for --model of later runs.
    layer
        Where the file's raw counts are: a layer, or "raw"; X without it.
    reference_layer
        The same for the reference.
    key_added
        Word to put in place of "scssl" in the names of the results.
    seed
        Of what is drawn at random: training, and what is held out.
    device
        Where to compute.
    overwrite
        Replace OUT, and the folder of --save.
    """
    from scssl.corpus.sources.source import open_source
    from scssl.errors import import_extra
    from scssl.log import logger
    from scssl.tasks import Reconstructor
    from scssl.tasks.output import prepare_output
    from scssl.tasks.reconstruct.files import KIND

    record = Record()
    also = [] if reference is None else [reference]
    prepare_output(out, file=file, overwrite=overwrite, key_added=key_added, also=also)
    check_apart(model, {"--out": out, "--figures": figures, "--save": save})
    if figures is not None:
        import_extra("matplotlib", extra="report")
    given: dict[str, Any] = {"mode": mode, "loss": loss, "epochs": epochs, "source": source}
    given = {name: value for name, value in given.items() if value is not None}
    saved = KIND.is_at(model)
    _check(
        {**given, "reference": reference, "reference_layer": reference_layer, "save": save} if saved else {},
        model=model, mode=mode or "zero_shot", file=file, reference=reference, evaluate=evaluate, labels=labels,
        figures=figures,
    )  # fmt: skip
    if save is not None:
        KIND.check_place(save, overwrite=overwrite, option="--save")
    wanted = divided(write)
    with open_source(file, layer=layer) as opened:
        n_cells, n_features, columns = opened.n_cells, opened.n_features, list(opened.obs.columns)
    _check_labels(labels, columns, file=file)
    reconstructor = Reconstructor.load(model) if saved else Reconstructor(model, **given)
    panel = reconstructor.model.panel
    names = _genes(genes, panel=panel, file=file, layer=layer)
    n_genes = len(panel) if names is None else len(names)
    learning = 0 if saved else {"finetune": 1000, "scratch": 2000}.get(reconstructor.mode, 0)
    seconds = seconds_to_reconstruct(model, n_cells=n_cells, n_genes=n_genes, steps=learning)
    expected = estimate(file, n_cells=n_cells, n_features=n_features, also=seconds)
    n_bytes = 4 * n_cells * (len(wanted) * n_features + (n_genes if genes != "measured" else 0))
    logger.info(
        "%s: %s cells, %s genes; %s, and %.1f GB of disk, twice that while it is written", file.name, f"{n_cells:,}",
        f"{n_genes:,}", expected, n_bytes / 1e9,
    )  # fmt: skip
    _check_disk(out, needed=2 * n_bytes + (file.stat().st_size if file.is_file() else 0))
    if not saved:
        where = reference_layer if reference is not None else layer
        reconstructor.fit(reference or file, layer=where, seed=seed, device=device)
    options: dict[str, Any] = {"layer": layer, "device": device}
    record.lap("read and learn")
    reading = reconstructor.read(file, genes=names, wanted=wanted, **options)
    scores = None
    if evaluate is not None:
        scores = reconstructor.evaluate(file, hold_out=evaluate, labels=labels, seed=seed, **options)
        record.lap("score")
    record.read(file, role="cells to reconstruct", n_cells=n_cells)
    record.read(reference, role="cells to learn from")
    noted = record.settings(model=reconstructor.model, scores=None if scores is None else scores.summary())
    described = replace(reading, settings={**reading.settings, **noted})
    results = described.write(file, out, key_added=key_added, panel=genes != "measured")
    if figures is not None and scores is not None:
        from scssl.report.reconstruct import write_figures

        write_figures(scores, figures)
        record.capsule(
            figures, what="reconstruction", settings=reading.settings, panel=reconstructor.model.panel, seed=seed,
            metrics=scores.summary(),
        )  # fmt: skip
    if save is not None:
        reconstructor.save(save, overwrite=overwrite)
    return outcome(reading, results, scores, out=out, save=save, figures=figures)


def _check(
    settled: dict[str, Any],
    *,
    model: Path,
    mode: str,
    file: Path,
    reference: Path | None,
    evaluate: str | None,
    labels: str | None,
    figures: Path | None,
) -> None:
    """Every option that is given has to do something, and scores have to mean something."""
    from scssl.errors import SettingsError

    chosen = [f"--{name.replace('_', '-')}" for name, value in settled.items() if value is not None]
    message = ""
    if chosen:
        message = (
            f"{', '.join(chosen)} cannot be chosen for the reconstructor {model}: they were settled when it was made. "
            "Give a model with --model to make another one"
        )
    elif evaluate is None and (labels is not None or figures is not None):
        what = "--labels" if labels is not None else "--figures"
        message = f"{what} has no effect without --evaluate thinned or --evaluate hidden"
    elif figures is not None and figures.exists():
        message = f"{figures} exists already; choose another folder for --figures"
    elif evaluate is not None and mode != "zero_shot" and not settled:
        same = reference is None or (reference.exists() and file.exists() and reference.samefile(file))
        if same:
            message = (
                f"--evaluate scores counts that the network must not have seen, but --mode {mode} trains on these very "
                "cells; give --reference with other cells, such as other donors"
            )
    if message:
        raise SettingsError(message)


def _check_labels(labels: str | None, columns: list[str], *, file: Path) -> None:
    from scssl.errors import require_column

    if labels is not None:
        require_column(columns, labels, file=file)


def _genes(text: str, *, panel: GenePanel, file: Path, layer: str | None) -> list[str] | None:
    """Return the genes asked for; None for all."""
    if text == "all":
        return None
    if text == "measured":
        from scssl.corpus.sources.source import open_source
        from scssl.genes import harmonise

        with open_source(file, layer=layer) as opened:
            measured = harmonise(opened.var, panel, file=opened.file).measured
        return [str(gene) for gene in panel.ids[measured]]
    path = Path(text)
    if path.is_file():
        return _listed(path)
    if path.suffix in (".txt", ".csv", ".tsv") or len(path.parts) > 1:
        from scssl.errors import DataError

        message = (
            f"--genes {text}: no such file; give a text file of one gene per line, or names with commas between them"
        )
        raise DataError(message)
    return divided(text)


def _listed(path: Path) -> list[str]:
    """Return the lines of a text file."""
    from scssl.errors import DataError

    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: is no text file; --genes takes one gene per line"
        raise DataError(message) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _check_disk(out: Path, *, needed: int) -> None:
    import shutil

    from scssl.errors import DataError

    folder = next(parent for parent in out.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        message = (
            f"{out}: {needed / 1e9:,.1f} GB are needed there, {free / 1e9:,.1f} GB are free. Ask for fewer values "
            "(--genes measured or a list of genes, --write expression), or choose an --out on another disk"
        )
        raise DataError(message)
