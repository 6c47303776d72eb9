"""The folder of a saved annotator: settings, reference and model."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.errors import DataError, FormatError, SettingsError
from scssl.files import usual_permissions
from scssl.tasks.annotate.fitted import Fitted, Reference
from scssl.tasks.annotate.probe import LinearHead
from scssl.tasks.annotate.seal import KEYS, check, seal
from scssl.tasks.annotate.settings import AnnotatorSettings
from scssl.tasks.annotate.trust import Trust
from scssl.tasks.annotate.zero_shot import NearestCells
from scssl.training.config import from_dict

if TYPE_CHECKING:
    from scssl.ontology import LabelTree
    from scssl.tasks.annotate.classifier import Classifier

FORMAT, FORMAT_VERSION = "scssl-annotator", 3
SEALED = 3
"""Format version from which on there are checksums."""
SETTINGS, REFERENCE, CLASSIFIER = "annotator.json", "reference.safetensors", "classifier.safetensors"
TRUST, MODEL = "trust.safetensors", "model"
MAX_SETTINGS_BYTES = 64 * 2**20


def write(path: Path, fitted: Fitted, *, settings: AnnotatorSettings, overwrite: bool) -> None:
    """Write a folder that appears only when complete.

    Raises
    ------
    SettingsError
        If there is something at `path` that is not an annotator to overwrite.
    """
    from safetensors.numpy import save_file

    if not hasattr(fitted.model, "save"):
        message = f"an annotator on a {type(fitted.model).__name__} cannot be saved, only one on a scssl.CellModel"
        raise SettingsError(message)
    if path.exists() and not (overwrite and (path / SETTINGS).is_file()):
        fix = "it is not an annotator, choose another folder" if overwrite else "choose another folder, or overwrite it"
        message = f"{path} exists already; {fix}"
        raise SettingsError(message)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    reference = fitted.reference
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        fitted.model.save(folder / MODEL)
        arrays: dict[str, dict[str, Any]] = {REFERENCE: {"embedding": reference.embedding, "codes": reference.codes}}
        if isinstance(fitted.classifier, LinearHead):
            arrays[CLASSIFIER] = fitted.classifier.arrays()
        if fitted.trust is not None and (kept := fitted.trust.arrays()):
            arrays[TRUST] = kept
        for name, group in arrays.items():
            save_file({key: np.ascontiguousarray(array) for key, array in group.items()}, folder / name)
            usual_permissions(folder / name)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scssl_version": version("scssl"),
            **asdict(settings),
            "classes": reference.classes,
            "reference": reference.name,
            "labels": reference.labels,
            "training": fitted.training,
            "trust": None if fitted.trust is None else fitted.trust.to_dict(),
            "tree": None if fitted.tree is None else fitted.tree.to_dict(),
        }
        (folder / SETTINGS).write_text(seal(folder, content), encoding="utf-8", newline="\n")
        if path.exists():
            shutil.move(path, Path(scratch) / "old")
        os.replace(folder, path)  # noqa: PTH105


def read(path: Path) -> tuple[AnnotatorSettings, Fitted]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    from scssl.model import load

    file = path / SETTINGS
    if not file.is_file():
        message = f"{path} is not an annotator: it has no {SETTINGS}"
        raise FormatError(message)
    content = _read_settings(file)
    try:
        given = {f.name: content[f.name] for f in fields(AnnotatorSettings) if f.name in content}
        settings = from_dict(AnnotatorSettings, given, where=str(file))
    except SettingsError as error:
        message = f"{file} is incomplete or malformed: {error}"
        raise FormatError(message) from error
    arrays = _read_arrays(path / REFERENCE)
    embedding, codes = arrays.get("embedding"), arrays.get("codes")
    n_classes = len(content["classes"])
    fits = (
        embedding is not None
        and codes is not None
        and embedding.dtype == np.float32
        and embedding.ndim == 2
        and codes.dtype == np.int64
        and codes.shape == embedding.shape[:1]
        and len(codes) > 0
        and codes.min() >= 0
        and codes.max() < n_classes
        and np.isfinite(embedding).all()
        and (settings.mode != "zero_shot" or settings.k <= len(codes))
    )
    if not fits or embedding is None or codes is None:
        message = f"{path / REFERENCE} does not fit {file}: altered, or of another annotator"
        raise FormatError(message)
    model = load(path / MODEL)
    trust, tree = content.get("trust"), content.get("tree")
    classifier: Classifier
    if settings.mode == "zero_shot":
        classifier = NearestCells(embedding=embedding, codes=codes, n_classes=n_classes, k=settings.k)
    else:
        classifier = _read_head(path / CLASSIFIER, shape=(n_classes, embedding.shape[1]))
    fitted = Fitted(
        model=model,
        classifier=classifier,
        reference=Reference(
            embedding=embedding,
            codes=codes,
            classes=content["classes"],
            name=content["reference"],
            labels=content["labels"],
        ),
        # An annotator of the first format has neither.
        trust=None if trust is None else _read_trust(trust, path, n_classes=n_classes, n_latent=embedding.shape[1]),
        tree=None if tree is None else _read_tree(tree, file, classes=content["classes"]),
        training=content.get("training") or {},
    )
    return settings, fitted


def _read_arrays(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        message = f"{file} cannot be read, it is missing, truncated or altered: {error}"
        raise FormatError(message) from error


def _read_head(file: Path, *, shape: tuple[int, int]) -> LinearHead:
    arrays = _read_arrays(file)
    weight, bias = arrays.get("weight"), arrays.get("bias")
    fits = (
        weight is not None
        and bias is not None
        and weight.dtype == bias.dtype == np.float32
        and weight.shape == shape
        and bias.shape == shape[:1]
        and np.isfinite(weight).all()
        and np.isfinite(bias).all()
    )
    if not fits or weight is None or bias is None:
        message = f"{file} does not fit the annotator's labels: altered, or of another annotator"
        raise FormatError(message)
    return LinearHead(weight=weight, bias=bias)


def _read_trust(values: Any, path: Path, *, n_classes: int, n_latent: int) -> Trust:
    novel = isinstance(values, dict) and values.get("novelty") is not None
    arrays = _read_arrays(path / TRUST) if novel else {}
    try:
        return Trust.from_dict(values, arrays=arrays, n_classes=n_classes, n_latent=n_latent)
    except FormatError as error:
        message = f"{path / SETTINGS}: {error}"
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


def _read_settings(file: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_SETTINGS_BYTES:
        message = f"{file} is larger than any annotator's settings ({file.stat().st_size:,} bytes)"
        raise FormatError(message)
    try:
        text = file.read_bytes().decode()
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{file} is not JSON: {error}"
        raise FormatError(message) from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        message = f"{file} does not describe an annotator of scssl"
        raise FormatError(message)
    number = settings.get("format_version")
    if not isinstance(number, int) or number > FORMAT_VERSION:
        message = (
            f"{file} has format version {number!r}; this scssl reads up to {FORMAT_VERSION}. Run: pip install -U scssl"
        )
        raise FormatError(message)
    # One that lost its version is still known by its checksums.
    if number >= SEALED or any(key in settings for key in KEYS):
        check(file, text=text, content=settings)
    classes = settings.get("classes")
    good = (
        isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
        and len(set(classes)) == len(classes)
        and isinstance(settings.get("k"), int)
        and isinstance(settings.get("mode"), str)
        and isinstance(settings.get("reference"), str)
        and isinstance(settings.get("labels"), str)
        and isinstance(settings.get("training", {}), dict)
    )
    if not good:
        message = f"{file} is incomplete or malformed"
        raise FormatError(message)
    return settings
