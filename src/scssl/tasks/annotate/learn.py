"""Fitting an annotator: read the labels, learn in the chosen mode, learn from held-out donors how far to trust it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.errors import DataError, SettingsError
from scssl.log import logger
from scssl.tasks.annotate.classifier import hold_out
from scssl.tasks.annotate.fitted import Fitted, Reference
from scssl.tasks.annotate.folds import read_donors
from scssl.tasks.annotate.labels import encode, read_labels
from scssl.tasks.annotate.probe import learn_probe
from scssl.tasks.annotate.quality import read_quality
from scssl.tasks.annotate.trust import Trust
from scssl.tasks.annotate.unknown import Novelty
from scssl.tasks.annotate.zero_shot import NearestCells

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.ontology import LabelTree
    from scssl.tasks.annotate.annotator import Device, Embedder
    from scssl.tasks.annotate.classifier import Classifier, HeldOut
    from scssl.tasks.annotate.settings import AnnotatorSettings

BUNDLED = "bundled"
"""Stands for the Cell Ontology of the extra `ontology`."""
SHOWN = 10


def learn(
    model: Embedder,
    reference: AnnData | Path | str,
    *,
    settings: AnnotatorSettings,
    labels: str,
    donor: str | None,
    layer: str | None,
    unlabelled: Collection[str],
    ontology: Path | str | LabelTree | None,
    seed: int,
    device: Device,
) -> Fitted:
    """Learn from the labelled cells of a reference; see `Annotator.fit`."""
    trains = settings.mode in ("finetune", "scratch")
    if trains and not hasattr(model, "encoder"):
        message = f"mode {settings.mode!r} trains the encoder of a scssl.CellModel; {type(model).__name__} has none"
        raise SettingsError(message)
    quality = read_quality(reference, model.panel, layer=layer)
    file = quality.file
    names = read_labels(quality.obs, labels, file=file, unlabelled=unlabelled)
    names = names.where(~quality.empty, None)
    kept = names.notna().to_numpy()
    codes, classes = encode(names[kept])
    _check(codes, classes, settings=settings, file=file, labels=labels)
    tree = place_labels(classes, ontology)
    judged = settings.calibrate == "auto"
    donors = None
    if judged or trains:
        donors = read_donors(quality.obs, donor, kept=kept, file=file, unlabelled=unlabelled)
    held_out: HeldOut | None = None
    by_donor = donors is not None
    training: dict[str, Any] = {}
    classifier: Classifier
    used: Any = model
    encoder_trained = False
    if trains:
        from scssl.tasks.annotate.finetune import tune

        tuned = tune(
            used, reference, layer=layer, kept=kept, codes=codes, classes=classes, donors=donors, name=file,
            settings=settings.finetuning, class_weight=settings.class_weight,
            from_scratch=settings.mode == "scratch", judged=judged, seed=seed, device=device,
        )  # fmt: skip
        used, classifier, held_out, by_donor, training = tuned
        encoder_trained = training.get("share") != 0
        embedding = used.embed(reference, layer=layer, device=device)[kept].astype(np.float32, copy=False)
    else:
        embedding = used.embed(reference, layer=layer, device=device)[kept].astype(np.float32, copy=False)
        learner = _learner(settings, n_classes=len(classes))
        classifier = learner(embedding, codes)
        if judged:
            held_out = hold_out(learner, embedding, codes, donors=donors, seed=seed)
    trust = None
    if judged and held_out is None:
        why, fix = "each label has a single cell", ""
        if donors is not None:
            why = "without its donors no label has cells left to learn from"
            fix = "; name another unit with donor (--donor), such as the batch, or 'cell' to hold out cells"
        logger.warning(
            "%s: %s, so probabilities are not calibrated, and there are neither label sets nor rejection%s",
            file, why, fix,
        )  # fmt: skip
    elif judged and held_out is not None:
        novelty = None
        if settings.error_budget > 0:
            novelty = _novelty(
                embedding, codes, classes, donors=donors if by_donor else None,
                # A trained encoder draws together the cells that it learned from: only others can be judged by.
                held_out=held_out if encoder_trained else None, counts=quality.scaled_counts(model)[kept],
                budget=settings.error_budget, seed=seed, file=file,
            )  # fmt: skip
        if novelty is not None and encoder_trained:
            # The encoder has learned to tell apart the very types that were taken out.
            novelty = replace(novelty, power={})
            logger.info("in mode %r no type is new to the encoder: how many it would find is not known", settings.mode)
        trust = Trust.learn(held_out, by_donor=by_donor, error_rate=settings.error_rate, novelty=novelty)
    return Fitted(
        model=used,
        classifier=classifier,
        reference=Reference(embedding=embedding, codes=codes, classes=classes, name=file, labels=labels),
        trust=trust,
        tree=tree,
        training=training,
    )


def _novelty(
    embedding: NDArray[np.float32],
    codes: NDArray[np.int64],
    classes: list[str],
    *,
    donors: NDArray[np.int64] | None,
    held_out: HeldOut | None,
    counts: NDArray[np.float64],
    budget: float,
    seed: int,
    file: str,
) -> Novelty | None:
    rows, judged = (None, None) if held_out is None else (held_out.rows, held_out.embedding)
    try:
        return Novelty.fit(
            embedding, codes=codes, classes=classes, donors=donors, rows=rows, judged=judged, error_budget=budget,
            n_counts=counts, seed=seed,
        )  # fmt: skip
    except DataError as error:
        logger.warning("%s: no cell will be rejected as unknown: %s", file, error)
        return None


def _learner(
    settings: AnnotatorSettings, *, n_classes: int
) -> Callable[[NDArray[np.float32], NDArray[np.int64]], Classifier]:
    if settings.mode == "probe":
        return partial(learn_probe, n_classes=n_classes, class_weight=settings.class_weight)

    def remember(embedding: NDArray[np.float32], codes: NDArray[np.int64]) -> Classifier:
        return NearestCells(embedding=embedding, codes=codes, n_classes=n_classes, k=settings.k)

    return remember


def _check(
    codes: NDArray[np.int64], classes: list[str], *, settings: AnnotatorSettings, file: str, labels: str
) -> None:
    """Refuse what cannot be learned from, and name labels of which little can be learned."""
    if settings.mode == "zero_shot" and len(codes) < settings.k:
        message = (
            f"{file}: has {len(codes)} labelled cells with counts in obs[{labels!r}], fewer than k = {settings.k}"
            + ("; lower k" if len(codes) else "")
        )
        raise DataError(message)
    if settings.mode != "zero_shot" and len(classes) < 2:
        found = repr(classes[0]) if classes else "none"
        message = (
            f"{file}: obs[{labels!r}] has one label only ({found}); mode {settings.mode!r} learns to tell labels apart"
        )
        raise DataError(message)
    size = np.bincount(codes, minlength=len(classes))
    few = settings.k // 2 if settings.mode == "zero_shot" else 1
    rare = [name for name, n in zip(classes, size, strict=True) if n <= few]
    if rare:
        why = (
            f"too few cells to win a vote of {settings.k} neighbours outright"
            if settings.mode == "zero_shot"
            else "a single cell, from which little can be learned and nothing judged"
        )
        listed = ", ".join(rare[:SHOWN]) + (", ..." if len(rare) > SHOWN else "")
        logger.warning("%s: %d of %d labels have %s: %s", file, len(rare), len(classes), why, listed)


def place_labels(classes: list[str], ontology: Path | str | LabelTree | None) -> LabelTree | None:
    """Look labels up in the Cell Ontology; those whose term is not certain stand alone, and are named.

    Parameters
    ----------
    classes
        The labels.
    ontology
        See `Annotator.fit`.
    """
    if ontology is None:
        return None
    from scssl.ontology import CellOntology, LabelTree, match_labels, terms_of

    if isinstance(ontology, LabelTree):
        terms = dict(zip(ontology.labels, ontology.terms, strict=True))
        return LabelTree(classes, terms=terms, ontology=ontology.ontology)
    opened = CellOntology.open(None if ontology == BUNDLED else Path(ontology))
    table = match_labels(classes, ontology=opened)
    tree = LabelTree(classes, terms=terms_of(table), ontology=opened)
    if tree.alone:
        listed = ", ".join(tree.alone[:SHOWN]) + (", ..." if len(tree.alone) > SHOWN else "")
        logger.warning(
            "%d of %d labels have no certain term in the Cell Ontology, and stand alone: %s. See: scssl labels",
            len(tree.alone), len(classes), listed,
        )  # fmt: skip
    return tree
