"""Pretext tasks: one file each, tensors in, losses out. Importing this package registers them all."""

from scssl.pretext.base import Draw, PretextRecord, PretextTask, get_task, list_tasks, register
from scssl.pretext.masked import MaskedAutoencoder, MaskedSettings

__all__ = [
    "Draw",
    "MaskedAutoencoder",
    "MaskedSettings",
    "PretextRecord",
    "PretextTask",
    "get_task",
    "list_tasks",
    "register",
]
