"""Named, documented settings to start from."""

from __future__ import annotations

from dataclasses import dataclass

from scssl.errors import SettingsError
from scssl.nn.architecture import Architecture
from scssl.training.config import Config, Optimiser, Training


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings with a name and a reason."""

    name: str
    summary: str
    config: Config


_PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="default",
            summary="One hidden layer of 512, a code of 128, half of the genes hidden, a decoder told each cell's "
            "source.",
            config=Config(preset="default", task={"rate": 0.5}),
        ),
        Preset(
            name="richter2024",
            summary="The paper's network and protocol (doi 10.1038/s42256-024-00934-3): batches of 8,192, step "
            "schedule, decoder not told the source; linear output, where the paper has a sigmoid that log1p exceeds. "
            "Behind the default on all but one of six data sets (docs/recipes.md).",
            config=Config(
                preset="richter2024",
                task={"rate": 0.5},
                architecture=Architecture(hidden=(512, 512, 256, 256), n_latent=64, source_decoder=False),
                optimiser=Optimiser(learning_rate=1e-3, schedule="step"),
                training=Training(epochs=100, batch_size=8192, min_steps=20, patience=10),
            ),
        ),
        Preset(
            name="large",
            summary="One hidden layer of 2,048, a code of 256, masks shared by 16 cells: for corpora of a million "
            "cells and more, on a GPU. With 17,000 cells level with the default, at three times the cost.",
            config=Config(
                preset="large",
                task={"rate": 0.5, "group_size": 16},
                architecture=Architecture(hidden=(2048,), n_latent=256),
                optimiser=Optimiser(learning_rate=1e-3),
                training=Training(epochs=10, batch_size=1024),
            ),
        ),
        Preset(
            name="small",
            summary="One hidden layer of 256 and a code of 32: for a first look on a laptop, and for tests. A third of "
            "the default's cost, and behind it on all but one of six data sets (docs/recipes.md).",
            config=Config(
                preset="small",
                task={"rate": 0.5},
                architecture=Architecture(hidden=(256,), n_latent=32),
                optimiser=Optimiser(learning_rate=1e-3),
                training=Training(epochs=10, batch_size=256, min_steps=20),
            ),
        ),
    )
}


def get_preset(name: str) -> Config:
    """Return the settings of a preset.

    Raises
    ------
    SettingsError
        If there is none of this name; the message lists those that exist.
    """
    if name not in _PRESETS:
        message = f"preset {name!r} does not exist; choose one of: {', '.join(_PRESETS)}"
        raise SettingsError(message)
    return _PRESETS[name].config


def list_presets() -> list[Preset]:
    """Return all presets."""
    return list(_PRESETS.values())
