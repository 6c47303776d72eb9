"""The folder of a saved search for similar cells: settings, the reference's codes and annotation, and the model."""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
import pandas as pd

from scssl.errors import FormatError, SettingsError
from scssl.files import usual_permissions, why_unwritable
from scssl.tasks.seal import check, seal
from scssl.tasks.similar import Backend, Reference

if TYPE_CHECKING:
    from scssl.model import CellModel
    from scssl.tasks.similar import SimilarCells

FORMAT: Final = "scssl-similar"
FORMAT_VERSION: Final = 1
SETTINGS: Final = "similar.json"
CODES: Final = "codes.safetensors"
CELLS: Final = "cells.csv"
MODEL: Final = "model"
NAME: Final = "cell"
"""Column of the table with the cells' names."""
WHAT: Final = "search for similar cells"


def write(path: Path, search: SimilarCells, *, overwrite: bool) -> None:
    """Write a folder that appears only when complete.

    Raises
    ------
    SettingsError
        If `fit` has not been called, or there is something at `path` that is not to be replaced.
    """
    from safetensors.numpy import save_file

    reference = search._fitted()
    check_place(path, overwrite=overwrite)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        search.model.save(folder / MODEL)
        save_file({"codes": np.ascontiguousarray(reference.codes)}, folder / CODES)
        usual_permissions(folder / CODES)
        reference.obs.set_axis(reference.cells).to_csv(folder / CELLS, index_label=NAME, lineterminator="\n")
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scssl_version": version("scssl"),
            "k": search.k,
            "backend": search.backend,
            "name": reference.name,
        }
        (folder / SETTINGS).write_text(seal(folder, content), encoding="utf-8", newline="\n")
        if path.exists():
            shutil.move(path, Path(scratch) / "old")
        os.replace(folder, path)  # noqa: PTH105


def check_place(path: Path, *, overwrite: bool) -> None:
    """Nothing but a saved search is replaced by another.

    Raises
    ------
    SettingsError
        If there is something else at `path`, or `overwrite` was not asked for, or it cannot be written to.
    """
    if path.exists() and not (overwrite and (path / SETTINGS).is_file()):
        fix = f"it is no {WHAT}, choose another folder" if overwrite else "choose another folder, or overwrite it"
        message = f"{path} exists already; {fix}"
        raise SettingsError(message)
    if problem := why_unwritable(path):
        message = f"{path}: {problem}"
        raise SettingsError(message)


def read(path: Path) -> tuple[CellModel, dict[str, Any], Reference]:
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
        message = f"{path} is no {WHAT}: it has no {SETTINGS}"
        raise FormatError(message)
    content = _read_settings(file)
    codes = load_file(path / CODES).get("codes")
    table = pd.read_csv(io.BytesIO((path / CELLS).read_bytes()), dtype=str, keep_default_na=False, index_col=NAME)
    model = load(path / MODEL)
    if codes is None or codes.dtype != np.float32 or codes.shape != (len(table), model.n_latent):
        message = f"{path / CODES} does not fit {path / CELLS} or the model: of another {WHAT}"
        raise FormatError(message)
    cells = table.index.astype(str)
    return model, content, Reference(codes=codes, cells=cells, obs=table.astype(object), name=content["name"])


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes().decode()
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{file} is not JSON: {error}"
        raise FormatError(message) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        message = f"{file} does not describe a {WHAT} of scssl"
        raise FormatError(message)
    number = content.get("format_version")
    if not isinstance(number, int) or number > FORMAT_VERSION:
        message = (
            f"{file} has format version {number!r}; this scssl reads up to {FORMAT_VERSION}. Run: pip install -U scssl"
        )
        raise FormatError(message)
    check(file, text=text, content=content, what=WHAT)
    k, backend = content.get("k"), content.get("backend")
    if not isinstance(k, int) or k < 1 or backend not in get_args(Backend) or not isinstance(content.get("name"), str):
        message = f"{file} is incomplete or malformed"
        raise FormatError(message)
    return content
