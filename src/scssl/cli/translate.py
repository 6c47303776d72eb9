"""`scssl translate`: predict proteins or peaks of the cells of a file from their RNA."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from scssl.cli._annotate_checks import check_apart
from scssl.cli._estimate import estimate
from scssl.cli._record import Record
from scssl.cli.common import Common, Device, Outcome, Whole
from scssl.words import count

if TYPE_CHECKING:
    from scssl.tasks.translate import Translation, TranslationScores, Translator

LEARNED = {"zero_shot": 0.0, "probe": 10.0, "finetune": 60.0, "in_data": 90.0, "scratch": 60.0}
"""Seconds that learning from a reference takes beside reading it, on two cores."""


def translate(
    file: Path,
    /,
    *,
    model: Path,
    out: Path,
    reference: Path | None = None,
    to: Literal["protein", "atac"] | None = None,
    target: str | None = None,
    mode: Literal["zero_shot", "probe", "finetune", "in_data", "scratch"] | None = None,
    likelihood: Literal["auto", "nb_mixture", "nb", "gaussian", "bernoulli", "poisson"] | None = None,
    k: Whole | None = None,
    max_features: Whole | None = None,
    write: Literal["scaled", "expected", "foreground"] = "scaled",
    truth: str | None = None,
    donor: str | None = None,
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
    """Predict proteins or accessible peaks of cells from their RNA, by a reference in which both were measured.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts of RNA. It is not changed.
    model
        Folder of the model; or of a translator that --save wrote, which knows its reference.
    out
        .h5ad to write: the input with obsm["scssl_protein"] or obsm["scssl_atac"], names in uns. Or .h5mu: the RNA,
        and the prediction as a modality of that name.
    reference
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts of RNA, and the other modality of the same cells.
    to
        protein or atac.
    target
        Where the other modality is in the reference: obsm:KEY, mod:NAME, mod:NAME/LAYER, or features:TYPE (10x). Usual
        names (protein, adt, atac, Antibody Capture, ...) are found without it.
    mode
        probe (by default): a linear head on the frozen encoder. zero_shot: the mean of the k nearest reference cells.
        finetune: the encoder is trained, too. in_data: the same after pre-training on the reference's RNA alone.
        scratch: the same network from random weights, to compare with.
    likelihood
        What the values are taken for; auto (by default): proteins are nb_mixture if they are counts, else gaussian;
        peaks are bernoulli.
    k
        Neighbours that are averaged over, in zero_shot; 20 by default.
    max_features
        Of more features than this, those found in most cells are predicted; 20,000 by default.
    write
        scaled: mean on the scale of the scores, log1p for counts. expected: expected counts. foreground: the same
        without background, for counts of proteins.
    truth
        Where the file has the modality that is predicted, as in --target, to score the result against, beside
        baselines.
    donor
        Column of obs with donors or batches. In the reference whole ones are held out to say when training stops; with
        --truth there are scores by each one of the file. "donor" by default, if there is one; "cell" for none.
    figures
        With --truth: folder to make, for figures and tables of the scores.
    save
        Folder to keep the translator in, for --model of later runs.
    layer
        Where the file's raw counts are: a layer, or "raw"; X without it.
    reference_layer
        The same for the reference.
    key_added
        Word to put in place of "scssl" in the names of the results.
    seed
        Of everything random.
    device
        Where to compute.
    overwrite
        Replace OUT, and the folder of --save.
    """
    from scssl.corpus.sources.source import open_source
    from scssl.errors import SettingsError, import_extra, require_column
    from scssl.log import logger
    from scssl.tasks.output import prepare_output, write_results
    from scssl.tasks.translate import Translator
    from scssl.tasks.translate.output import write_mudata
    from scssl.tasks.translate.targets import read_target

    record = Record()
    also = [] if reference is None else [reference]
    prepare_output(out, file=file, overwrite=overwrite, key_added=key_added, also=also, kinds=(".h5ad", ".h5mu"))
    check_apart(model, {"--out": out, "--figures": figures, "--save": save})
    if figures is not None and (truth is None or figures.exists()):
        message = f"{figures} exists already; choose another folder for --figures"
        if truth is None:
            message = "--figures are of scores against what was measured, so it needs --truth obsm:KEY, mod:NAME, ..."
        raise SettingsError(message)
    if truth is not None and reference is not None and reference.exists() and file.exists():
        _check_other(file, reference)
    if figures is not None:
        import_extra("matplotlib", extra="report")
    if out.suffix == ".h5mu":
        import_extra("mudata", extra="mudata")
    given: dict[str, Any] = {"to": to, "mode": mode, "likelihood": likelihood, "k": k, "max_features": max_features}
    given = {name: value for name, value in given.items() if value is not None}
    _check(model, given, reference=reference, target=target, save=save, overwrite=overwrite,
           reference_layer=reference_layer)  # fmt: skip
    with open_source(file, layer=layer) as source:
        n_cells, n_features = source.n_cells, source.n_features
        if truth is not None and donor is not None and donor != "cell":
            require_column(source.obs.columns, donor, file=source.file, role="with the donors")
    translator, n_reference = None, 0
    if reference is None:
        translator = Translator.load(model)
        translator.check_written(write)
        kind = translator.settings.to
    else:
        kind = given["to"]
        n_reference = len(read_target(reference, target, to=kind).rows)
    if truth is not None:
        read_target(file, truth, to=kind)
    seconds = LEARNED[mode or "probe"] if reference is not None else 0.0
    expected = estimate(file, n_cells=n_cells, n_features=n_features, n_reference=n_reference, also=seconds)
    logger.info("%s: %s cells; %s", file.name, f"{n_cells:,}", expected)
    if translator is None:
        translator = Translator(model, **given)
        translator.fit(reference, target=target, donor=donor, layer=reference_layer, seed=seed, device=device)
        translator.check_written(write)
    record.lap("read, and learn from the reference")
    translation = translator.translate(file, layer=layer, device=device)
    record.lap("predict")
    found = None
    if truth is not None:
        found = translator.evaluate(file, target=truth, donor=donor, layer=layer, device=device)
    record.lap("score")
    record.read(file, role="cells to translate", n_cells=n_cells)
    record.read(reference, role="cells with both measured", n_cells=n_reference)
    results = record.into(
        translation.results(written=write, key_added=key_added), model=translator.model,
        scores=None if found is None else found.summary(),
    )  # fmt: skip
    if out.suffix == ".h5mu":
        write_mudata(file, out, results, names=translation.scale.names)
    else:
        write_results(file, out, results)
    if save is not None:
        translator.save(save, overwrite=overwrite)
    if figures is not None and found is not None:
        _write_scores(figures, found)
        record.capsule(
            figures, what="translation", settings=translation.settings, panel=translator.model.panel, seed=seed,
            metrics=found.summary(),
        )  # fmt: skip
    return _outcome(translator, translation, found, out=out, written=write, save=save, figures=figures,
                    keys=list(results.obsm))  # fmt: skip


def _check_other(file: Path, reference: Path) -> None:
    from scssl.errors import SettingsError

    if reference.samefile(file):
        message = (
            "--truth scores predictions for cells that the translator has not learned from, but --reference is the "
            "same file; give a reference of other cells, such as other donors"
        )
        raise SettingsError(message)


def _check(
    model: Path,
    given: dict[str, Any],
    *,
    reference: Path | None,
    target: str | None,
    save: Path | None,
    overwrite: bool,
    reference_layer: str | None,
) -> None:
    """Refuse what has no effect, and what cannot be told from what was given, before any work."""
    from scssl.errors import SettingsError
    from scssl.tasks.translate.files import KIND

    message = ""
    if save is not None:
        KIND.check_place(save, overwrite=overwrite, option="--save")
    is_saved = KIND.is_at(model)
    if reference is None and not is_saved:
        message = (
            f"{model} is not a saved translator, so give --reference: cells in which both modalities were measured"
        )
    elif reference is None:
        settled = {**given, "target": target, "save": save, "reference_layer": reference_layer}
        chosen = [f"--{name.replace('_', '-')}" for name, value in settled.items() if value is not None]
        if chosen:
            message = (
                f"{', '.join(chosen)} cannot be chosen for the translator {model}: it was settled when it was made. "
                "Give a model with --model, and --reference, to make another one"
            )
    elif is_saved:
        message = f"{model} is a saved translator, which has its reference; leave out --reference, or give a model"
    elif "to" not in given:
        message = "give --to protein or --to atac: what is predicted"
    elif "k" in given and given.get("mode", "probe") != "zero_shot":
        message = f"--k has no effect in --mode {given.get('mode', 'probe')}: it is for zero_shot. Leave it out"
    if message:
        raise SettingsError(message)


def _write_scores(folder: Path, scores: TranslationScores) -> None:
    from scssl.report.translate import translation_bars, translation_scatter

    folder.mkdir(parents=True)
    for name in ("overall", "features", "donors"):
        getattr(scores, name).to_csv(folder / f"{name}.csv", index=False)
    translation_scatter(scores).savefig(folder / "scatter.png", dpi=150)
    translation_bars(scores).savefig(folder / "correlations.png", dpi=150)


def _outcome(
    translator: Translator,
    translation: Translation,
    scores: TranslationScores | None,
    *,
    out: Path,
    keys: list[str],
    written: str,
    save: Path | None,
    figures: Path | None = None,
) -> Outcome:
    from rich.markup import escape

    assert translator.fitted is not None
    training, scale = translator.fitted.training, translation.scale
    n_cells, n_features = len(translation.obs), len(scale.names)
    what = "proteins" if scale.to == "protein" else "peaks"
    meaning = scale.text if written == "scaled" else f"{written} counts, at {scale.typical:,.0f} in all"
    place = "modality" if out.suffix == ".h5mu" else "obsm"
    lines = [f"{n_features:,} {what} predicted for {count(n_cells, 'cell')}: {out}, {place} {keys[0]!r} ({meaning})."]
    if "held_out_pearson" in training:
        by = training["held_out_by"]
        lines.append(
            f"On held-out {by} of the reference the median correlation was {training['held_out_pearson']:.2f}."
        )
    if scores is not None:
        lines += ["", f"Against {scores.n_cells:,} measured cells (RMSE: {scores.scale}):"]
        lines.append(f"  {'method':<14}{'per feature':>12}{'per cell':>10}{'overall':>9}{'RMSE':>8}   (Pearson)")
        lines += [
            f"  {row['method']:<14}{row['pearson']:>12.3f}{row['pearson_per_cell']:>10.3f}"
            f"{row['pearson_overall']:>9.3f}{row['rmse']:>8.3f}"
            for row in scores.overall.to_dict("records")
        ]
        lines.append(f"The translator {scores.verdict}.")
    if save is not None:
        lines.append(f"Translator kept: {save}. Next: scssl translate OTHER --model {shlex.quote(str(save))} --out O")
    if figures is not None:
        lines.append(f"Figures and tables: {figures}")
    result = {
        "out": str(out),
        "keys": keys,
        "to": scale.to,
        "likelihood": scale.likelihood,
        "scale": scale.text,
        "written": written,
        "n_cells": n_cells,
        "n_features": n_features,
        "training": {name: value for name, value in training.items() if name != "history"},
        "scores": None if scores is None else scores.summary(),
        "saved": None if save is None else str(save),
        "figures": None if figures is None else str(figures),
    }
    return Outcome(result=result, text="\n".join(escape(line) for line in lines))
