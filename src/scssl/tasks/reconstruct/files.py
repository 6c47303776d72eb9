"""The folder of a saved reconstructor: settings, how far its values stray, and the model."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import FormatError, SettingsError
from scssl.files import usual_permissions
from scssl.tasks.reconstruct.learn import Fitted
from scssl.tasks.reconstruct.settings import ReconstructorSettings
from scssl.tasks.seal import check, seal
from scssl.training.config import from_dict

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = "scssl-reconstructor"
FORMAT_VERSION: Final = 1
SETTINGS: Final = "reconstructor.json"
SPREAD: Final = "spread.safetensors"
MODEL: Final = "model"
MAX_SETTINGS_BYTES: Final = 2**20


def check_place(path: Path, *, overwrite: bool) -> None:
    """Nothing but a reconstructor is replaced by another.

    Raises
    ------
    SettingsError
        If there is something else at `path`, or `overwrite` was not asked for.
    """
    if path.exists() and not (overwrite and (path / SETTINGS).is_file()):
        fix = "it is no reconstructor, choose another folder" if overwrite else "choose another folder, or overwrite it"
        message = f"{path} exists already; {fix}"
        raise SettingsError(message)


def write(path: Path, fitted: Fitted, *, settings: ReconstructorSettings, overwrite: bool) -> None:
    """Write a folder that appears only when complete.

    Raises
    ------
    SettingsError
        If there is something at `path` that is not a reconstructor to overwrite.
    """
    from safetensors.numpy import save_file

    check_place(path, overwrite=overwrite)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as scratch:
        folder = path.absolute().parent / scratch / "new"
        folder.mkdir()
        fitted.model.save(folder / MODEL)
        if fitted.spread is not None:
            save_file({"spread": np.ascontiguousarray(fitted.spread)}, folder / SPREAD)
            usual_permissions(folder / SPREAD)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scssl_version": version("scssl"),
            **asdict(settings),
            "reference": fitted.reference,
            "n_reference": fitted.n_reference,
            "fingerprint": fitted.fingerprint,
            "training": fitted.training,
        }
        (folder / SETTINGS).write_text(seal(folder, content), encoding="utf-8", newline="\n")
        if path.exists():
            shutil.move(path, folder.parent / "old")
        os.replace(folder, path)  # noqa: PTH105


def read(path: Path) -> tuple[ReconstructorSettings, Fitted]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    from safetensors.numpy import load_file

    from scssl.model import load

    file = path / SETTINGS
    if not file.is_file():
        message = f"{path} is not a reconstructor: it has no {SETTINGS}"
        raise FormatError(message)
    content = _read_settings(file)
    try:
        given = {f.name: content[f.name] for f in fields(ReconstructorSettings) if f.name in content}
        settings = from_dict(ReconstructorSettings, given, where=str(file))
    except SettingsError as error:
        message = f"{file} is incomplete or malformed: {error}"
        raise FormatError(message) from error
    model = load(path / MODEL)
    # What its checksum vouches for can be read.
    spread = load_file(path / SPREAD)["spread"] if (path / SPREAD).is_file() else None
    if spread is not None and spread.shape != (len(model.panel),):
        message = f"{path / SPREAD} does not fit the genes of the model: of another reconstructor"
        raise FormatError(message)
    return settings, Fitted(
        model=model,
        reference=content["reference"],
        n_reference=content["n_reference"],
        fingerprint=content["fingerprint"],
        spread=spread,
        training=content["training"],
    )


def _read_settings(file: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_SETTINGS_BYTES:
        message = f"{file} is larger than any reconstructor's settings ({file.stat().st_size:,} bytes)"
        raise FormatError(message)
    try:
        text = file.read_bytes().decode()
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{file} is not JSON: {error}"
        raise FormatError(message) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        message = f"{file} does not describe a reconstructor of scssl"
        raise FormatError(message)
    number = content.get("format_version")
    if not isinstance(number, int) or number > FORMAT_VERSION:
        message = (
            f"{file} has format version {number!r}; this scssl reads up to {FORMAT_VERSION}. Run: pip install -U scssl"
        )
        raise FormatError(message)
    check(file, text=text, content=content, what="reconstructor")
    kinds = {"reference": str, "n_reference": int, "fingerprint": str, "training": dict}
    if not all(isinstance(content.get(name), kind) for name, kind in kinds.items()):
        message = f"{file} is incomplete or malformed"
        raise FormatError(message)
    return content
