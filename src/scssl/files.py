"""What files that scssl writes have in common."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
