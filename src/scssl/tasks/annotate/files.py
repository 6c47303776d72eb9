"""What the folder of a saved annotator holds: settings, reference and model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import DataError, FormatError
from scssl.tasks.annotate.fitted import Fitted, Reference
from scssl.tasks.annotate.probe import LinearHead
from scssl.tasks.annotate.settings import AnnotatorSettings
from scssl.tasks.annotate.trust import Trust
from scssl.tasks.annotate.zero_shot import NearestCells
from scssl.tasks.saved import Kind, read_arrays, read_model, take

if TYPE_CHECKING:
    from pathlib import Path

    from scssl.ontology import LabelTree
    from scssl.tasks.annotate.classifier import Classifier

REFERENCE, CLASSIFIER, TRUST = "reference.safetensors", "classifier.safetensors", "trust.safetensors"
KIND: Final = Kind(
    named="an annotator", format="scssl-annotator", version=3, sealed=3, settings="annotator.json",
    holds={"classes": list, "k": int, "mode": str, "reference": str, "labels": str},
)  # fmt: skip


def write(path: Path, fitted: Fitted, *, settings: AnnotatorSettings, overwrite: bool, environment: Any = None) -> None:
    """Write a folder that appears only when complete; see `Kind.write`.

    Parameters
    ----------
    path, overwrite
        See `Kind.check_place`.
    fitted, settings
        The annotator.
    environment
        What to say that it ran on; by default versions, machine, command and folder of now.
    """
    reference, trust = fitted.reference, fitted.trust
    content = {
        **asdict(settings),
        "classes": reference.classes,
        "reference": reference.name,
        "labels": reference.labels,
        "training": fitted.training,
        "warnings": list(fitted.warnings),
        "trust": None if trust is None else trust.to_dict(),
        "tree": None if fitted.tree is None else fitted.tree.to_dict(),
        **({} if environment is None else {"environment": environment}),
    }
    arrays: dict[str, dict[str, Any]] = {
        REFERENCE: {"embedding": reference.embedding, "codes": reference.codes},
        CLASSIFIER: fitted.classifier.arrays() if isinstance(fitted.classifier, LinearHead) else {},
        TRUST: {} if trust is None else trust.arrays(),
    }
    KIND.write(path, content, model=fitted.model, arrays=arrays, overwrite=overwrite)


def read(path: Path) -> tuple[AnnotatorSettings, Fitted]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    content, file = KIND.read(path), path / KIND.settings
    classes, n_classes = content["classes"], len(content["classes"])
    with KIND.using(file):
        if len({str(name) for name in classes if isinstance(name, str)}) != n_classes:
            raise ValueError(classes)
        # An annotator of the first format has none of these.
        training, trust, tree = dict(content.get("training") or {}), content.get("trust"), content.get("tree")
        warnings = content.get("warnings") or []
        if not isinstance(warnings, list) or not all(isinstance(line, str) for line in warnings):
            raise ValueError(warnings)
    settings = KIND.own_settings(AnnotatorSettings, content, path)
    arrays = read_arrays(path / REFERENCE)
    with KIND.using(path / REFERENCE):
        embedding = take(arrays, "embedding", shape=(None, None))
        codes = take(arrays, "codes", shape=(len(embedding),), dtype=np.int64)
        if not 0 <= codes.min() <= codes.max() < n_classes or (
            settings.mode == "zero_shot" and settings.k > len(codes)
        ):
            raise ValueError(codes)
    model = read_model(path)
    classifier: Classifier
    if settings.mode == "zero_shot":
        classifier = NearestCells(embedding=embedding, codes=codes, n_classes=n_classes, k=settings.k)
    else:
        arrays = read_arrays(path / CLASSIFIER)
        with KIND.using(path / CLASSIFIER):
            weight = take(arrays, "weight", shape=(n_classes, embedding.shape[1]))
            classifier = LinearHead(weight=weight, bias=take(arrays, "bias", shape=(n_classes,)))
    fitted = Fitted(
        model=model,
        classifier=classifier,
        reference=Reference(
            embedding=embedding, codes=codes, classes=classes, name=content["reference"], labels=content["labels"]
        ),
        trust=None if trust is None else _read_trust(trust, path, n_classes=n_classes, n_latent=embedding.shape[1]),
        tree=None if tree is None else _read_tree(tree, file, classes=classes),
        training=training,
        warnings=tuple(warnings),
    )
    return settings, fitted


def _read_trust(values: Any, path: Path, *, n_classes: int, n_latent: int) -> Trust:
    novel = isinstance(values, dict) and values.get("novelty") is not None
    arrays = read_arrays(path / TRUST) if novel else {}
    try:
        return Trust.from_dict(values, arrays=arrays, n_classes=n_classes, n_latent=n_latent)
    except FormatError as error:
        message = f"{path / KIND.settings}: {error}"
        raise FormatError(message) from error


def _read_tree(values: Any, file: Path, *, classes: list[str]) -> LabelTree:
    from scssl.ontology import LabelTree

    try:
        tree = LabelTree.from_dict(values)
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{file}: the labels' places in the ontology are incomplete or malformed"
        raise FormatError(message) from error
    if tree.labels != classes:
        message = f"{file}: the ontology is of other labels than the annotator's"
        raise FormatError(message)
    return tree
