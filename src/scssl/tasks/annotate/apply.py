"""Labels for new cells, by what an annotator has learned."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.tasks.annotate.annotation import Annotation
from scssl.tasks.annotate.calibrate import probabilities
from scssl.tasks.annotate.classifier import Scores
from scssl.tasks.annotate.conformal import back_off
from scssl.tasks.annotate.quality import read_quality
from scssl.tasks.annotate.shift import settle_shift

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

    from scssl.tasks.annotate.annotator import Device
    from scssl.tasks.annotate.fitted import Fitted
    from scssl.tasks.annotate.settings import AnnotatorSettings


def score_labels(
    fitted: Fitted, query: AnnData | Path | str, *, layer: str | None, device: Device, devices: int = 1
) -> Scores:
    """Embed cells and score all labels; see `Annotator.scores`."""
    # Baselines in place of a model know of one process only.
    several = {} if devices == 1 else {"devices": devices}
    embedding = fitted.model.embed(query, layer=layer, device=device, **several)
    return Scores(fitted.classifier.log_scores(embedding), embedding)


def apply(
    fitted: Fitted, query: AnnData | Path | str, *, layer: str | None, device: Device, devices: int = 1
) -> Annotation:
    """Label cells; see `Annotator.annotate`."""
    log_scores, embedding = score_labels(fitted, query, layer=layer, device=device, devices=devices)
    quality, trust = read_quality(query, fitted.model.panel, layer=layer), fitted.trust
    classes = fitted.reference.classes
    best = log_scores.argmax(axis=1)
    # Scaling leaves the order of the labels as it is: the best guess stays the one that scores highest.
    chances = probabilities(log_scores, temperature=1.0 if trust is None else trust.temperature)
    confidence = np.take_along_axis(chances, best[:, None], axis=1)[:, 0]
    sets = None if trust is None or trust.sets is None else trust.sets.sets(chances)
    names = None if sets is None else back_off(sets, classes=classes, tree=fitted.tree)
    if names is not None:
        names[quality.empty] = ""
    unknown = None
    settings = {"query": quality.file, "layer": layer or "X"}
    if trust is not None and trust.novelty is not None:
        measured = quality.known_variance(fitted.model)
        found = trust.novelty.judge(embedding, n_counts=quality.scaled_counts(fitted.model), measured=measured)
        unknown, settings["rejection"] = settle_shift(
            np.asarray(found.astype(object), dtype=object),
            confidence,
            held_out=trust.held_out["confidence"],
            trained=fitted.trained,
            file=quality.file,
        )
    codes = np.where(quality.empty, -1, best).tolist()
    return Annotation(
        labels=pd.Categorical.from_codes(codes, categories=pd.Index(classes, dtype=object)),
        confidence=np.where(quality.empty, np.float32(0), confidence),
        probabilities=chances,
        embedding=embedding,
        obs=quality.obs,
        file=quality.file,
        settings=settings,
        calibrated=trust is not None,
        sets=sets,
        set_names=names,
        unknown=unknown,
        tree=fitted.tree,
    )


def without_folder(lines: Iterable[str], *, file: str) -> tuple[str, ...]:
    """Return lines in which a file is called by its name: what is kept may be handed on, and tells of no disk."""
    name = Path(file).name
    return tuple(line.replace(file, name) if name else line for line in lines)


def describe(fitted: Fitted, settings: AnnotatorSettings, model_name: str) -> dict[str, Any]:
    """Return how labels come about, as plain values for ``uns``."""
    trust, reference = fitted.trust, fitted.reference
    meaning = "probability, not calibrated"
    if trust is not None:
        meaning = f"probability, calibrated on held-out {trust.held_out['unit']} of the reference"
    learned = {"k": settings.k} if settings.mode == "zero_shot" else {"class_weight": settings.class_weight}
    return {
        "mode": settings.mode,
        **learned,
        "model": model_name,
        "genes": fitted.model.panel.name,
        "reference": reference.name,
        "labels": reference.labels,
        "n_reference_cells": len(reference.codes),
        "n_classes": len(reference.classes),
        "confidence": meaning,
        **({} if trust is None else {"temperature": round(trust.temperature, 4), "held_out": trust.held_out}),
        **({} if trust is None or trust.sets is None else {"error_rate": trust.sets.error_rate}),
        **({} if trust is None or trust.novelty is None else {"error_budget": trust.novelty.error_budget}),
        **({"training": fitted.training} if fitted.training else {}),
        "versions": {name: version(name) for name in ("scssl", "torch", "scikit-learn", "anndata", "numpy")},
    }
