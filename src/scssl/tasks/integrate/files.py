"""The folder of a saved integrator: settings, the study's cells and the model."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from scssl.errors import FormatError, SettingsError
from scssl.files import usual_permissions
from scssl.tasks.integrate.correct import arrays_of, from_arrays
from scssl.tasks.integrate.fitted import Fitted
from scssl.tasks.integrate.settings import IntegratorSettings
from scssl.tasks.seal import check, seal
from scssl.training.config import from_dict

FORMAT: Final = "scssl-integrator"
FORMAT_VERSION: Final = 1
SETTINGS: Final = "integrator.json"
STUDY: Final = "study.safetensors"
MODEL: Final = "model"
MAX_SETTINGS_BYTES: Final = 2**20


def write(path: Path, fitted: Fitted, *, settings: IntegratorSettings, overwrite: bool) -> None:
    """Write a folder that appears only when complete.

    Raises
    ------
    SettingsError
        If there is something at `path` that is not an integrator to overwrite.
    """
    from safetensors.numpy import save_file

    check_place(path, overwrite=overwrite)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        "codes": fitted.codes,
        "embedding": fitted.embedding,
        "batch": fitted.batch,
        # A file of arrays has no texts; names have no zero bytes.
        "cells": np.frombuffer("\0".join(fitted.cells).encode(), dtype=np.uint8),
    }
    arrays |= {f"correction.{name}": array for name, array in arrays_of(fitted.correction).items()}
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        fitted.model.save(folder / MODEL)
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / STUDY)
        usual_permissions(folder / STUDY)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scssl_version": version("scssl"),
            **asdict(settings),
            "column": fitted.column,
            "batches": fitted.batches,
            "name": fitted.name,
            "training": fitted.training,
        }
        (folder / SETTINGS).write_text(seal(folder, content), encoding="utf-8", newline="\n")
        if path.exists():
            shutil.move(path, Path(scratch) / "old")
        os.replace(folder, path)  # noqa: PTH105


def check_place(path: Path, *, overwrite: bool) -> None:
    """Nothing but an integrator is replaced by another.

    Raises
    ------
    SettingsError
        If there is something else at `path`, or `overwrite` was not asked for.
    """
    if path.exists() and not (overwrite and (path / SETTINGS).is_file()):
        fix = "it is not an integrator, choose another folder" if overwrite else "choose another folder, or overwrite"
        message = f"{path} exists already; {fix}"
        raise SettingsError(message)


def read(path: Path) -> tuple[IntegratorSettings, Fitted]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    from scssl.model import load

    file = path / SETTINGS
    if not file.is_file():
        message = f"{path} is not an integrator: it has no {SETTINGS}"
        raise FormatError(message)
    content = _read_settings(file)
    try:
        given = {f.name: content[f.name] for f in fields(IntegratorSettings) if f.name in content}
        settings = from_dict(IntegratorSettings, given, where=str(file))
    except SettingsError as error:
        message = f"{file} is incomplete or malformed: {error}"
        raise FormatError(message) from error
    arrays = _read_arrays(path / STUDY)
    model = load(path / MODEL)
    codes, embedding, batch, names = (arrays.get(name) for name in ("codes", "embedding", "batch", "cells"))
    cells = [] if names is None else bytes(names).decode().split("\0")
    fits = (
        codes is not None
        and embedding is not None
        and batch is not None
        and codes.shape == embedding.shape == (len(cells), model.n_latent)
        and codes.dtype == embedding.dtype == np.float32
        and batch.shape == (len(cells),)
        and batch.dtype == np.int64
        and bool(np.isfinite(codes).all() and np.isfinite(embedding).all())
        and batch.min() >= 0
        and batch.max() < len(content["batches"])
    )
    if not fits or codes is None or embedding is None or batch is None:
        message = f"{path / STUDY} does not fit {file}: altered, or of another integrator"
        raise FormatError(message)
    own = {name.removeprefix("correction."): a for name, a in arrays.items() if name.startswith("correction.")}
    try:
        correction = from_arrays(own, correct=settings.correct, n_latent=model.n_latent)
    except FormatError as error:
        message = f"{path / STUDY}: {error}"
        raise FormatError(message) from error
    fitted = Fitted(
        model=model, correction=correction, codes=codes, embedding=embedding, batch=batch, cells=cells,
        batches=content["batches"], column=content["column"], name=content["name"], training=content["training"],
    )  # fmt: skip
    return settings, fitted


def _read_arrays(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        message = f"{file} cannot be read, it is missing, truncated or altered: {error}"
        raise FormatError(message) from error


def _read_settings(file: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_SETTINGS_BYTES:
        message = f"{file} is larger than any integrator's settings ({file.stat().st_size:,} bytes)"
        raise FormatError(message)
    try:
        text = file.read_bytes().decode()
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{file} is not JSON: {error}"
        raise FormatError(message) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        message = f"{file} does not describe an integrator of scssl"
        raise FormatError(message)
    number = content.get("format_version")
    if not isinstance(number, int) or number > FORMAT_VERSION:
        message = (
            f"{file} has format version {number!r}; this scssl reads up to {FORMAT_VERSION}. Run: pip install -U scssl"
        )
        raise FormatError(message)
    check(file, text=text, content=content, what="integrator")
    batches = content.get("batches")
    good = (
        isinstance(batches, list)
        and len(batches) > 1
        and all(isinstance(name, str) for name in batches)
        and all(isinstance(content.get(name), str) for name in ("column", "name"))
        and isinstance(content.get("training"), dict)
    )
    if not good:
        message = f"{file} is incomplete or malformed"
        raise FormatError(message)
    return content
