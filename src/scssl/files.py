"""What files that scssl writes have in common."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scssl.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator


MAX_BYTES: Final = 2**28
"""Descriptions that are larger are not read."""


def read_described(
    file: Path,
    *,
    named: str,
    kind: str,
    newest: int,
    version: str = "format_version",
    largest: int = MAX_BYTES,
    fix: str = "",
) -> tuple[dict[str, Any], str]:
    """Read a JSON file that says what it is, and that somebody else may have written or altered.

    Parameters
    ----------
    file
        The file, which is there.
    named
        What it describes, with its article, for messages.
    kind, newest
        Its ``format``, and the newest version of it that is known here.
    version
        Key of the version.
    largest
        Bytes from which on it is not read.
    fix
        What to do with one that is no JSON; "" for nothing.

    Returns
    -------
    dict
        What it holds.
    str
        Its text, which checksums are of.

    Raises
    ------
    FormatError
        If it is too large, malformed, of another kind, or of a later version.
    """
    if (size := file.stat().st_size) > largest:
        message = f"{file} is larger than that of {named} ever is ({size:,} bytes)"
        raise FormatError(message)
    try:
        text = file.read_bytes().decode()
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{file} is not JSON: {error}{fix and f'. {fix}'}"
        raise FormatError(message) from error
    if not isinstance(content, dict) or content.get("format") != kind:
        message = f"{file} does not describe {named}"
        raise FormatError(message)
    number = content.get(version)
    if not isinstance(number, int) or not 1 <= number <= newest:
        message = f"{file} has format version {number!r}; this scssl reads up to {newest}. Run: pip install -U scssl"
        raise FormatError(message)
    return content, text


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """Give a place beside a file to write it to, from where it takes its own only when complete.

    Parameters
    ----------
    out
        The file; folders on the way to it are made, and what is there is replaced.

    Yields
    ------
    Path
        An empty file that ends like `out`.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=".", suffix=f"-{out.name}")
    os.close(handle)
    place = Path(name)
    try:
        yield place
        usual_permissions(place)
        place.replace(out)
    finally:
        place.unlink(missing_ok=True)


def take_place(folder: Path, path: Path) -> None:
    """Let a complete folder take the place of another, or one where nothing is.

    Whatever interrupts it, the one or the other is whole, and nothing is deleted before the new one is there.

    Parameters
    ----------
    folder
        The new one, on the same disk.
    path
        Where it is to be.
    """
    # Beside it, not in a temporary folder: that would be emptied on the way out, and the only copy with it.
    aside = Path(tempfile.mkdtemp(dir=path.absolute().parent, prefix=f".{path.name}-old-"))
    old = aside / path.name
    try:
        if path.exists():
            os.replace(path, old)  # noqa: PTH105
        os.replace(folder, path)  # noqa: PTH105
    except BaseException:
        if os.path.lexists(old) and not path.exists():
            os.replace(old, path)  # noqa: PTH105
        raise
    finally:
        # Should not even that have come to its end, the old one is left there.
        if path.exists() or not os.path.lexists(old):
            shutil.rmtree(aside, ignore_errors=True)


def usual_permissions(file: Path) -> None:
    """Give a file the permissions that any new file in its folder gets.

    Some libraries write through a temporary file that only its owner may read, which colleagues then cannot open.

    Parameters
    ----------
    file
        File to change.
    """
    # A file made here tells them: to ask the process for its umask is to change it, for other threads as well.
    probe = file.with_name(f"{file.name}.mode")
    probe.touch()
    try:
        file.chmod(stat.S_IMODE(probe.stat().st_mode))
    finally:
        probe.unlink()


def why_unwritable(out: Path) -> str | None:
    """Say why a file or folder cannot be made at a place, before any work is done for it.

    Parameters
    ----------
    out
        The place; folders on the way to it may be missing.

    Returns
    -------
    str or None
        The reason, to follow the name of the place; None if nothing stands in the way.
    """
    # The nearest folder that exists decides whether the missing ones below it can be made.
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return None
    return f"cannot be written: {folder} is not a folder that you may write to"
