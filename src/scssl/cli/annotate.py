"""`scssl annotate`: name the cells of a file by a labelled reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from scssl.cli._estimate import estimate
from scssl.cli.common import Common, Device, Outcome, Whole

if TYPE_CHECKING:
    from scssl.metrics import ClassificationScores
    from scssl.tasks import Annotation

MANY = 1 / 3
"""Share of the true names that the reference lacks, from which on this looks like another way to spell them."""
SHOWN = 30
"""Labels shown in the table for people; all of them are in the JSON."""


def annotate(
    file: Path,
    /,
    *,
    model: Path,
    reference: Path,
    labels: str,
    out: Path,
    mode: Literal["zero_shot"] = "zero_shot",
    k: Whole = 5,
    label_map: Path | None = None,
    truth: str | None = None,
    layer: str | None = None,
    reference_layer: str | None = None,
    key_added: str | None = None,
    seed: Whole = 0,  # noqa: ARG001 (every command takes one)
    device: Device = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Name the cells of a file by a labelled reference and a pre-trained model.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts. It is not changed.
    model
        Folder of the model.
    reference
        File of labelled cells with raw counts.
    labels
        Column of the reference's obs with the names. "unknown", "unassigned" and missing names are left out.
    out
        .h5ad to write: the input with obs["scssl_label"], obs["scssl_confidence"] and obsm["X_scssl"].
    mode
        How names are found. zero_shot: the k nearest reference cells vote, nothing is trained.
    k
        Neighbours that vote.
    label_map
        With --truth: .csv, .tsv, .json or .yaml from names in the query to names in the reference.
    truth
        Column of the file's obs with the true names, to score the result against.
    layer
        Where the file's raw counts are: a layer, or "raw"; X without it.
    reference_layer
        The same for the reference.
    key_added
        Word to put in place of "scssl" in the names of the results.
    seed
        Taken by every command; nothing here is drawn at random.
    device
        Where to compute.
    overwrite
        Replace OUT.
    """
    from scssl.errors import SettingsError
    from scssl.tasks.annotate.labels import read_label_map
    from scssl.tasks.output import prepare_output, write_results

    prepare_output(out, file=file, overwrite=overwrite, key_added=key_added, also=[reference])
    if label_map is not None and truth is None:
        message = "--label-map renames true labels, so it needs --truth COLUMN"
        raise SettingsError(message)
    names = read_label_map(label_map) if label_map is not None else None
    _check_and_estimate(
        file, reference, labels=labels, truth=truth, label_map=names, layer=layer, reference_layer=reference_layer
    )

    from scssl.tasks import Annotator

    annotator = Annotator(model, mode=mode, k=k)
    annotator.fit(reference, labels=labels, layer=reference_layer, device=device)
    annotation = annotator.annotate(file, layer=layer, device=device)
    scores = annotation.score(truth, label_map=names) if truth is not None else None
    results = annotation.results(key_added=key_added)
    write_results(file, out, results)
    return _outcome(annotation, scores, out=out, keys=[*results.obs, *results.obsm], truth=truth)


def _check_and_estimate(
    file: Path,
    reference: Path,
    *,
    labels: str,
    truth: str | None,
    label_map: dict[str, str | None] | None,
    layer: str | None,
    reference_layer: str | None,
) -> None:
    """Find mistakes in columns and layers before the model is loaded, and say what is to be expected."""
    from scssl.corpus.sources.source import open_source
    from scssl.errors import DataError
    from scssl.log import logger
    from scssl.tasks.annotate.labels import map_labels, read_labels

    with open_source(reference, layer=reference_layer) as source:
        known = read_labels(source.obs, labels, file=source.file)
        n_reference = source.n_cells
    with open_source(file, layer=layer) as source:
        n_query, n_features = source.n_cells, source.n_features
        if truth is not None:
            true = map_labels(read_labels(source.obs, truth, file=source.file), label_map)
            if not set(true.dropna()) & set(known.dropna()):
                message = (
                    f"no name in obs[{truth!r}] of {file} is one in obs[{labels!r}] of {reference} "
                    f"({_some(true)} against {_some(known)}); give --label-map"
                )
                raise DataError(message)
            _point_to_label_map(true, known, truth=truth, labels=labels)
    expected = estimate(file, n_cells=n_query, n_features=n_features, n_reference=n_reference)
    n_known = int(known.notna().sum())
    logger.info(
        "%s: %s cells, by %s labelled cells of %s; %s",
        file.name,
        f"{n_query:,}",
        f"{n_known:,}",
        reference.name,
        expected,
    )


def _point_to_label_map(true: Any, known: Any, *, truth: str, labels: str) -> None:
    from scssl.log import logger

    names = set(true.dropna())
    strange = true[true.isin(names - set(known.dropna()))]
    if strange.nunique() >= MANY * len(names):
        logger.warning(
            "%d of the %d names in obs[%r] (%s cells) are not in obs[%r] of the reference, and will count as wrong: "
            "%s. Where the reference only spells them otherwise, say so with --label-map",
            strange.nunique(),
            len(names),
            truth,
            f"{len(strange):,}",
            labels,
            _some(strange),
        )


def _some(names: Any) -> str:
    listed = sorted(set(names.dropna()))
    return ", ".join(map(repr, listed[:4])) + (", ..." if len(listed) > 4 else "")


def _outcome(
    annotation: Annotation, scores: ClassificationScores | None, *, out: Path, keys: list[str], truth: str | None
) -> Outcome:
    import numpy as np
    from rich.markup import escape

    names = [str(name) for name in annotation.labels.categories]
    codes = annotation.labels.codes
    labelled = codes >= 0
    cells = np.bincount(codes[labelled], minlength=len(names))
    total = np.bincount(codes[labelled], weights=annotation.confidence[labelled], minlength=len(names))
    order = [int(i) for i in np.argsort(-cells, kind="stable") if cells[i]]
    found = [(names[i], int(cells[i]), round(float(total[i] / cells[i]), 4)) for i in order]
    width = max([len(name) for name, _, _ in found] + [5])
    lines = [f"{'label':<{width}}  {'cells':>8}  mean confidence"]
    lines += [escape(f"{name:<{width}}  {n:>8,}  {mean:.2f}") for name, n, mean in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"... and {len(found) - SHOWN} more labels")
    n_empty = int((~labelled).sum())
    if n_empty:
        lines.append(f"{n_empty:,} cells have no counts on the model's genes and got no label")
    result: dict[str, Any] = {
        "out": str(out),
        "n_cells": len(annotation.labels),
        "n_without_counts": n_empty,
        "mean_confidence": round(float(annotation.confidence.mean()), 4),
        "labels": [{"label": name, "n_cells": n, "mean_confidence": mean} for name, n, mean in found],
        "keys": keys,
        "settings": annotation.settings,
    }
    if scores is not None:
        result["scores"] = scores.summary()
        lines += ["", *_score_lines(scores, truth=str(truth))]
    lines.append(f"\nWritten: {escape(str(out))} ({', '.join(keys)})")
    return Outcome(result=result, text="\n".join(lines))


def _score_lines(scores: ClassificationScores, *, truth: str) -> list[str]:
    from rich.markup import escape

    lines = [
        f"against obs\\[{escape(repr(truth))}], {scores.n_cells:,} cells of {len(scores.per_class)} types: "
        f"accuracy {scores.accuracy:.3f}, macro F1 {scores.macro_f1:.3f}, "
        f"balanced accuracy {scores.balanced_accuracy:.3f}"
    ]
    if scores.missing_classes:
        lines.append(
            "not in the reference, so counted as wrong: "
            + ", ".join(escape(name) for name in scores.missing_classes)
            + " (give --label-map if the reference has other names for them)"
        )
    if scores.unused_cells:
        lines.append(f"{scores.unused_cells:,} cells without a true label were not scored")
    return lines
