"""Pretext tasks: one file each, tensors in, losses out. Importing this package registers them all."""

from scssl.pretext.base import Draw, PretextRecord, PretextTask, get_task, list_tasks, register
from scssl.pretext.masked import Autoencoder, AutoencoderSettings, MaskedAutoencoder, MaskedSettings
from scssl.pretext.none import NoPretraining

__all__ = [
    "Autoencoder",
    "AutoencoderSettings",
    "Draw",
    "MaskedAutoencoder",
    "MaskedSettings",
    "NoPretraining",
    "PretextRecord",
    "PretextTask",
    "get_task",
    "list_tasks",
    "register",
]
