"""Training: settings, presets, and the one Lightning module and Trainer set-up. Settings load without Lightning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scssl.training.config import Config, Optimiser, Training, from_dict, merge, override
from scssl.training.devices import resolve_device
from scssl.training.presets import Preset, get_preset, list_presets
from scssl.training.setup import build_task, choose_config, find_programmes
from scssl.training.statistics import gene_moments

if TYPE_CHECKING:
    from scssl.training.trainer import FitResult, fit

__all__ = [
    "Config",
    "FitResult",
    "Optimiser",
    "Preset",
    "Training",
    "build_task",
    "choose_config",
    "find_programmes",
    "fit",
    "from_dict",
    "gene_moments",
    "get_preset",
    "list_presets",
    "merge",
    "override",
    "resolve_device",
]

_HEAVY = {"FitResult", "fit"}


def __getattr__(name: str) -> Any:
    if name in _HEAVY:
        return getattr(import_module("scssl.training.trainer"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
