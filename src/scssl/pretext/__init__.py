"""Pretext tasks: one file each, tensors in, losses out. Importing this package registers them all."""

from scssl.pretext.barlow_twins import BarlowTwins, BarlowTwinsSettings
from scssl.pretext.base import Draw, PretextRecord, PretextTask, get_task, list_tasks, register
from scssl.pretext.byol import Byol, ByolSettings
from scssl.pretext.combined import Combined, CombinedSettings
from scssl.pretext.masked import Autoencoder, AutoencoderSettings, MaskedAutoencoder, MaskedSettings
from scssl.pretext.none import NoPretraining
from scssl.pretext.simclr import Simclr, SimclrSettings
from scssl.pretext.vicreg import Vicreg, VicregSettings

__all__ = [
    "Autoencoder",
    "AutoencoderSettings",
    "BarlowTwins",
    "BarlowTwinsSettings",
    "Byol",
    "ByolSettings",
    "Combined",
    "CombinedSettings",
    "Draw",
    "MaskedAutoencoder",
    "MaskedSettings",
    "NoPretraining",
    "PretextRecord",
    "PretextTask",
    "Simclr",
    "SimclrSettings",
    "Vicreg",
    "VicregSettings",
    "get_task",
    "list_tasks",
    "register",
]
