"""Checkpoints of a run: written in place and at once, so that a run killed at any moment can go on."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any, Final

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

FULL: Final = 2**26
"""Free bytes below which a disk has no place for what could not be written."""


class Checkpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and then renames it.

    Lightning's own way holds the whole file in memory and passes it through the system's temporary folder, which may
    be small, and on another disk, from where it does not come in one step.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint that is there completely or not at all."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.part")
        try:
            torch.save(checkpoint, part)
        except RuntimeError as error:
            # What torch says when a disk is full ("unexpected pos") does not name it.
            full = shutil.disk_usage(file.parent).free < FULL
            part.unlink(missing_ok=True)
            if full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
            raise
        os.replace(part, file)  # noqa: PTH105
