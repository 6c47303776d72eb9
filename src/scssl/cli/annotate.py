"""`scssl annotate`: name the cells of a file by a labelled reference, or by an annotator that was saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from scssl.cli._annotate_checks import check_apart, check_effect, check_saved
from scssl.cli._annotate_outcome import outcome
from scssl.cli._estimate import estimate, seconds_to_explain, seconds_to_learn
from scssl.cli._record import Record
from scssl.cli.common import Common, Device, Outcome, Whole
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scssl.ontology import LabelTree

MANY = 1 / 3
"""Share of the true names that the reference lacks, from which on this looks like another way to spell them."""


def annotate(
    file: Path,
    /,
    *,
    model: Path,
    reference: Path | None = None,
    labels: str | None = None,
    out: Path,
    mode: Literal["zero_shot", "probe", "finetune", "scratch"] | None = None,
    k: Whole | None = None,
    class_weight: Literal["balanced", "none"] | None = None,
    donor: str | None = None,
    calibrate: Literal["auto", "never"] | None = None,
    error_rate: float | None = None,
    error_budget: float | None = None,
    ontology: str | None = None,
    explain: Path | None = None,
    save: Path | None = None,
    label_map: Path | None = None,
    truth: str | None = None,
    layer: str | None = None,
    reference_layer: str | None = None,
    key_added: str | None = None,
    seed: Whole = 0,
    device: Device = "auto",
    devices: Whole = 1,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Name the cells of a file by a labelled reference and a pre-trained model, or by a saved annotator.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts. It is not changed.
    model
        Folder of the model; or of an annotator that --save wrote, which knows its reference. Or owner/name of either
        on the Hugging Face hub.
    reference
        File of labelled cells with raw counts.
    labels
        Column of the reference's obs with the names. "unknown", "unassigned" and missing names are left out.
    out
        .h5ad to write: the input with obs["scssl_label"], obs["scssl_confidence"], obs["scssl_label_set"],
        obs["scssl_unknown"] and obsm["X_scssl"].
    mode
        How names are found. zero_shot (by default): the k nearest reference cells vote, nothing is trained. probe:
        logistic regression on the embedding. finetune: encoder and a linear head are trained on the labels. scratch:
        the same from random weights, to compare with.
    k
        Neighbours that vote, in zero_shot; 5 by default.
    class_weight
        In the other modes. balanced (by default): all labels weigh the same in all; none: all cells do.
    donor
        Column of the reference's obs with the donors. Confidence, label sets and rejection are learned on donors that
        were held out. "donor" by default, if there is one; "cell" holds out cells.
    calibrate
        never: leave out what is learned on held-out donors.
    error_rate
        Share of cells whose label set may miss the true label; 0.1 by default, 0 for no label sets.
    error_budget
        Share of cells of known types that may be called "unknown"; 0.05 by default, 0 to call none so.
    ontology
        Cell Ontology (.obo file), or "bundled" for that of the extra `ontology`. Wide label sets become what their
        labels have in common, and with --truth a kind of the true type also counts as right.
    explain
        Folder to make, for tables of the genes that drove the labels: per label and per cell.
    save
        Folder to keep the annotator in, for --model of later runs.
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
        Of what is drawn at random: folds over cells, and the training of finetune and scratch.
    device
        Where to compute.
    devices
        CUDA devices of this machine that share the query, with one process each; with --device cpu, processes.
    overwrite
        Replace OUT, and the folder of --save.
    """
    from scssl.errors import SettingsError
    from scssl.log import logger
    from scssl.model.cell_model import find
    from scssl.tasks import Annotator
    from scssl.tasks.annotate.files import KIND
    from scssl.tasks.annotate.labels import read_label_map
    from scssl.tasks.annotate.learn import place_labels
    from scssl.tasks.output import prepare_output, write_results

    record = Record()
    also = [] if reference is None else [reference]
    prepare_output(out, file=file, overwrite=overwrite, key_added=key_added, also=also)
    if label_map is not None and truth is None:
        message = "--label-map renames true labels, so it needs --truth COLUMN"
        raise SettingsError(message)
    if explain is not None and explain.exists():
        message = f"{explain} exists already; choose another folder for --explain"
        raise SettingsError(message)
    check_apart(model, {"--out": out, "--explain": explain, "--save": save})
    names = read_label_map(label_map) if label_map is not None else None
    given: dict[str, Any] = {
        "mode": mode, "k": k, "class_weight": class_weight, "calibrate": calibrate, "error_rate": error_rate,
        "error_budget": error_budget,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    of_reference = {"donor": donor, "ontology": ontology, "save": save, "reference_layer": reference_layer}
    seconds = 0.0
    if reference is None or labels is None:
        model = find(model)
        check_saved(model, {"reference": reference, "labels": labels, **of_reference, **given})
        annotator = Annotator.load(model)
        assert annotator.fitted is not None
        tree, where = annotator.fitted.tree, str(model)
        known, n_reference = annotator.fitted.reference.classes, len(annotator.fitted.reference.codes)
    else:
        if save is not None:
            KIND.check_place(save, overwrite=overwrite, option="--save")
        check_effect(given, donor=donor, ontology=ontology, named=truth is not None or save is not None)
        cells = _read_known(reference, labels=labels, layer=reference_layer)
        known, n_reference, where = sorted(set(cells)), len(cells), f"obs[{labels!r}] of {reference}"
        tree = place_labels(known, ontology)
        seconds = seconds_to_learn(
            model, n_reference=n_reference, n_labels=len(known), mode=mode or "zero_shot", judged=calibrate != "never"
        )
    n_cells, n_features = _check_query(
        file, known=known, tree=tree, where=where, truth=truth, label_map=names, layer=layer
    )
    seconds += seconds_to_explain(model, n_cells=n_cells) if explain is not None else 0.0
    expected = estimate(file, n_cells=n_cells, n_features=n_features, n_reference=n_reference, also=seconds)
    logger.info(
        "%s: %s, by %s of %s; %s", file.name, count(n_cells, "cell"), count(n_reference, "labelled cell"), where,
        expected,
    )  # fmt: skip
    if reference is not None and labels is not None:
        annotator = Annotator(model, **given)
        annotator.fit(
            reference, labels=labels, donor=donor, layer=reference_layer, ontology=tree, seed=seed, device=device
        )
    record.lap("read, and learn from the reference")
    annotation = annotator.annotate(file, layer=layer, device=device, devices=devices)
    record.lap("name the cells")
    scores = annotation.score(truth, label_map=names) if truth is not None else None
    explanation = annotator.explain(file, layer=layer, device=device) if explain is not None else None
    record.lap("score and explain")
    record.read(file, role="cells to name", n_cells=n_cells)
    record.read(reference, role="labelled cells", n_cells=n_reference)
    results = record.into(
        annotation.results(key_added=key_added), model=annotator.model,
        scores=None if scores is None else scores.summary(), truth=truth, label_map=names,
    )  # fmt: skip
    write_results(file, out, results)
    if explain is not None and explanation is not None:
        explain.mkdir(parents=True)
        explanation.per_type.to_csv(explain / "genes_per_label.csv", index=False)
        explanation.per_cell.to_csv(explain / "genes_per_cell.csv", index=False)
        record.capsule(
            explain, what="explanation", settings=annotation.settings, panel=annotator.model.panel, seed=seed,
            metrics=None if scores is None else scores.summary(),
        )  # fmt: skip
    if save is not None:
        annotator.save(save, overwrite=overwrite)
    return outcome(
        annotation, scores, out=out, keys=[*results.obs, *results.obsm], truth=truth, save=save,
        explanation=explanation, explained=explain,
    )  # fmt: skip


def _read_known(reference: Path, *, labels: str, layer: str | None) -> Any:
    from scssl.corpus.sources.source import open_source
    from scssl.tasks.annotate.labels import read_labels

    with open_source(reference, layer=layer) as source:
        return read_labels(source.obs, labels, file=source.file).dropna()


def _check_query(
    file: Path,
    *,
    known: Sequence[str],
    tree: LabelTree | None,
    where: str,
    truth: str | None,
    label_map: dict[str, str | None] | None,
    layer: str | None,
) -> tuple[int, int]:
    """Find mistakes in columns and layers before the work starts; return the numbers of cells and features."""
    from scssl.corpus.sources.source import open_source
    from scssl.errors import DataError
    from scssl.tasks.annotate.labels import map_labels, read_labels

    with open_source(file, layer=layer) as source:
        size = source.n_cells, source.n_features
        true = None
        if truth is not None:
            true = map_labels(read_labels(source.obs, truth, file=source.file), label_map)
    if true is not None:
        names, has = set(true.dropna()), _has(set(true.dropna()), known, tree)
        if not has:
            message = (
                f"no name in obs[{truth!r}] of {file} is one in {where} "
                f"({_some(names)} against {_some(set(known))}); give --label-map"
            )
            raise DataError(message)
        _point_to_label_map(true, has, truth=str(truth), where=where)
    return size


def _has(names: set[str], known: Sequence[str], tree: LabelTree | None) -> set[str]:
    """Return the names that the reference has; with an ontology also those that it has a kind of, or is a kind of."""
    if tree is None:
        return names & set(known)
    from scssl.tasks.annotate.truth import related, with_truth

    placed = with_truth(tree, names)
    found = zip(placed.labels, related(placed, n_classes=len(tree)).tolist(), strict=True)
    return names & {name for name, has in found if has}


def _point_to_label_map(true: Any, known: set[str], *, truth: str, where: str) -> None:
    from scssl.log import logger

    names = set(true.dropna())
    strange = true[true.isin(names - known)]
    if strange.nunique() >= MANY * len(names):
        logger.warning(
            "%d of the %d names in obs[%r] (%s cells) are not in %s, and will count as wrong: "
            "%s. Where the reference only spells them otherwise, say so with --label-map",
            strange.nunique(), len(names), truth, f"{len(strange):,}", where, _some(set(strange.dropna())),
        )  # fmt: skip


def _some(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(map(repr, listed[:4])) + (", ..." if len(listed) > 4 else "")
