"""What files that scssl writes have in common."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
