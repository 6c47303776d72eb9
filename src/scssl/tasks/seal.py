"""The checksums of a saved task: of every file it is read from, and of the one that holds them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from scssl.corpus.format.manifest import checksum, file_entries, is_entry
from scssl.errors import FormatError
from scssl.model.capsule import environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEYS: Final = ("sha256", "files")
CARD: Final = "README.md"
"""What people may write in; nothing is read from it."""
_BLANK: Final = "0" * 64


def seal(folder: Path, content: Mapping[str, Any]) -> str:
    """Return settings as JSON, with the checksum of every file of a folder and of themselves, and what it ran on.

    Parameters
    ----------
    folder
        Folder that is complete but for the settings.
    content
        Plain values; an ``environment`` among them stands for what it ran on.
    """
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != CARD]
    content = {"environment": environment(), **content}
    text = json.dumps({"sha256": _BLANK, **content, "files": file_entries(folder, files)}, indent=2)
    return text.replace(_BLANK, hashlib.sha256(text.encode()).hexdigest(), 1)


def check(settings: Path, *, text: str, content: Mapping[str, Any], what: str) -> None:
    """Make sure that settings, and every file they name, are as they were saved.

    Parameters
    ----------
    settings
        File of the settings, in the folder.
    text, content
        What it holds, and what that means.
    what
        What the folder holds, for messages.

    Raises
    ------
    FormatError
        Names the first file that is missing, truncated or altered.
    """
    again = f"Copy the {what} again, or make it again"
    digest, files = content.get("sha256"), content.get("files")
    blanked = text.replace(digest, _BLANK, 1) if isinstance(digest, str) and digest else text
    if not isinstance(files, dict) or hashlib.sha256(blanked.encode()).hexdigest() != digest:
        message = f"{settings}: its checksum does not fit its content: the file was altered. {again}"
        raise FormatError(message)
    for name, entry in files.items():
        file = settings.parent / name
        # A checksum that fits can be had by anybody: nothing outside of the folder is read, and no message made of it.
        if not is_entry(name, entry):
            message = f"{settings}: {name!r} is no file of a saved {what}. {again}"
            raise FormatError(message)
        if not file.is_file():
            message = f"{file}: this file of the {what} is missing. {again}"
            raise FormatError(message)
        size = file.stat().st_size
        if size != entry["bytes"]:
            message = f"{file}: has {size:,} bytes, {entry['bytes']:,} were written: truncated or altered. {again}"
            raise FormatError(message)
        if checksum(file) != entry["sha256"]:
            message = f"{file}: altered, its checksum is not that of what was written. {again}"
            raise FormatError(message)
