"""The folder of a saved annotator: settings, reference and model."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.errors import FormatError, SettingsError
from scssl.files import usual_permissions

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

FORMAT, FORMAT_VERSION = "scssl-annotator", 1
SETTINGS, REFERENCE, MODEL = "annotator.json", "reference.safetensors", "model"
MAX_SETTINGS_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Labelled cells in the space of a model."""

    embedding: NDArray[np.float32]
    """(n_cells, n_latent)."""
    codes: NDArray[np.int64]
    """(n_cells,) position of the label in `classes`."""
    classes: list[str]
    name: str
    """Where the cells came from."""
    labels: str
    """Column of ``obs`` that the labels were in."""


def write(path: Path, reference: Reference, *, model: Any, mode: str, k: int, overwrite: bool) -> None:
    """Write a folder that appears only when complete.

    Raises
    ------
    SettingsError
        If there is something at `path` that is not an annotator to overwrite.
    """
    from safetensors.numpy import save_file

    if path.exists() and not (overwrite and (path / SETTINGS).is_file()):
        fix = "it is not an annotator, choose another folder" if overwrite else "choose another folder, or overwrite it"
        message = f"{path} exists already; {fix}"
        raise SettingsError(message)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        model.save(folder / MODEL)
        save_file({"embedding": reference.embedding, "codes": reference.codes}, folder / REFERENCE)
        usual_permissions(folder / REFERENCE)
        settings = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scssl_version": version("scssl"),
            "mode": mode,
            "k": k,
            "classes": reference.classes,
            "reference": reference.name,
            "labels": reference.labels,
        }
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2), encoding="utf-8")
        if path.exists():
            shutil.move(path, Path(scratch) / "old")
        os.replace(folder, path)  # noqa: PTH105


def read(path: Path, *, modes: Collection[str]) -> tuple[dict[str, Any], Reference]:
    """Read and check settings and reference of a folder.

    Raises
    ------
    FormatError
        If anything is missing, malformed, of a later version, or does not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = path / SETTINGS
    if not file.is_file():
        message = f"{path} is not an annotator: it has no {SETTINGS}"
        raise FormatError(message)
    settings = _read_settings(file, modes=modes)
    try:
        arrays = load_file(path / REFERENCE)
    except (OSError, SafetensorError) as error:
        message = f"{path / REFERENCE} cannot be read, it is missing, truncated or altered: {error}"
        raise FormatError(message) from error
    embedding, codes = arrays.get("embedding"), arrays.get("codes")
    fits = (
        embedding is not None
        and codes is not None
        and embedding.dtype == np.float32
        and embedding.ndim == 2
        and codes.dtype == np.int64
        and codes.shape == embedding.shape[:1]
        and len(codes) >= settings["k"]
        and codes.min() >= 0
        and codes.max() < len(settings["classes"])
    )
    if not fits or embedding is None or codes is None:
        message = f"{path / REFERENCE} does not fit {file}: altered, or of another annotator"
        raise FormatError(message)
    reference = Reference(
        embedding=embedding,
        codes=codes,
        classes=settings["classes"],
        name=settings["reference"],
        labels=settings["labels"],
    )
    return settings, reference


def _read_settings(file: Path, *, modes: Collection[str]) -> dict[str, Any]:
    if file.stat().st_size > MAX_SETTINGS_BYTES:
        message = f"{file} is larger than any annotator's settings ({file.stat().st_size:,} bytes)"
        raise FormatError(message)
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
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
    classes, k = settings.get("classes"), settings.get("k")
    good = (
        isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
        and isinstance(k, int)
        and k >= 1
        and settings.get("mode") in modes
        and isinstance(settings.get("reference"), str)
        and isinstance(settings.get("labels"), str)
    )
    if not good:
        message = f"{file} is incomplete or malformed"
        raise FormatError(message)
    return settings
