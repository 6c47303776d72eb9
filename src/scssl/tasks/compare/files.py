"""The folder of a comparison: tables as CSV, the rest as JSON, all with checksums."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scssl.errors import FormatError, SettingsError
from scssl.tasks.compare.comparison import TABLES, Comparison
from scssl.tasks.seal import check, seal

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT: Final = "scssl-comparison"
FORMAT_VERSION: Final = 1
FILE: Final = "comparison.json"
MAX_BYTES: Final = 2**24
TEXT_COLUMNS: Final = (
    "cell_type", "kind", "what", "sure", "unit", "gene", "symbol", "programme", "genes", "donor", "condition", "reason",
)  # fmt: skip
_WORDS: Final = ("sentences", "warnings", "notes")


def check_place(path: Path, *, overwrite: bool) -> None:
    """Nothing but a comparison is replaced by another.

    Parameters
    ----------
    path
        Folder to make.
    overwrite
        Whether a comparison that is there may be replaced.

    Raises
    ------
    SettingsError
        If there is something else, `overwrite` was not asked for, or the place cannot be written.
    """
    if path.exists() and not (overwrite and (path / FILE).is_file()):
        fix = "it is not a comparison, choose another folder" if overwrite else "choose another folder, or overwrite"
        message = f"{path} exists already; {fix}"
        raise SettingsError(message)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        message = f"{path}: cannot be written: {folder} is not a folder that you may write to"
        raise SettingsError(message)


@contextmanager
def new_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to fill, which takes its place only when complete.

    Parameters
    ----------
    path, overwrite
        See `check_place`.
    """
    check_place(path, overwrite=overwrite)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        yield folder
        if path.exists():
            shutil.move(path, Path(scratch) / "old")
        os.replace(folder, path)  # noqa: PTH105


def write_tables(folder: Path, found: Comparison) -> None:
    """Write the tables of a comparison.

    Parameters
    ----------
    folder
        That of `new_folder`.
    found
        The comparison.
    """
    for name in TABLES:
        getattr(found, name).to_csv(folder / f"{name}.csv", index=name == "samples")


def close(folder: Path, found: Comparison) -> None:
    """Write what makes a folder a comparison, with the checksum of every file that is in it yet.

    Parameters
    ----------
    folder
        That of `new_folder`, with the tables; what comes later has no checksum, and is never read again.
    found
        The comparison.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "scssl_version": version("scssl"),
        **{name: getattr(found, name) for name in (*_WORDS, "settings")},
    }
    (folder / FILE).write_text(seal(folder, content), encoding="utf-8", newline="\n")


def write(path: Path, found: Comparison, *, overwrite: bool) -> None:
    """Write a folder that appears only when complete.

    Parameters
    ----------
    path, overwrite
        See `check_place`.
    found
        The comparison.
    """
    with new_folder(path, overwrite=overwrite) as folder:
        write_tables(folder, found)
        close(folder, found)


def read(path: Path) -> Comparison:
    """Read and check a folder. Nothing is unpickled and nothing executed.

    Parameters
    ----------
    path
        Folder written by `write`, or by ``scssl compare``.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, or of a later version.
    """
    file = path / FILE
    if not file.is_file():
        message = f"{path} is not a comparison: it has no {FILE}"
        raise FormatError(message)
    content = _read_settings(file)
    tables: dict[str, Any] = {}
    for name in TABLES:
        try:
            tables[name] = pd.read_csv(
                path / f"{name}.csv", index_col=0 if name == "samples" else None, keep_default_na=False, na_values=[""],
                dtype=dict.fromkeys(TEXT_COLUMNS, object),
            )  # fmt: skip
        except (OSError, ValueError) as error:
            message = f"{path / name}.csv cannot be read: {error}"
            raise FormatError(message) from error
    rest: dict[str, Any] = {name: content[name] for name in (*_WORDS, "settings")}
    return Comparison(**tables, **rest)


def _read_settings(file: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_BYTES:
        message = f"{file} is larger than any comparison's ({file.stat().st_size:,} bytes)"
        raise FormatError(message)
    try:
        text = file.read_bytes().decode()
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{file} is not JSON: {error}"
        raise FormatError(message) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        message = f"{file} does not describe a comparison of scssl"
        raise FormatError(message)
    number = content.get("format_version")
    if not isinstance(number, int) or number > FORMAT_VERSION:
        message = (
            f"{file} has format version {number!r}; this scssl reads up to {FORMAT_VERSION}. Run: pip install -U scssl"
        )
        raise FormatError(message)
    check(file, text=text, content=content, what="comparison")
    if not all(isinstance(content.get(name), list) for name in _WORDS) or not isinstance(content.get("settings"), dict):
        message = f"{file} is incomplete or malformed"
        raise FormatError(message)
    return content
