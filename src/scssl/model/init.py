"""Start a pre-training from the weights of a model rather than from random ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch

from scssl.errors import SettingsError
from scssl.training.trainer import steps_batch_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scssl.genes import GenePanel
    from scssl.model.cell_model import CellModel
    from scssl.pretext import PretextTask
    from scssl.training import Config

SOURCES = "decoder.source.weight"
"""The one parameter whose rows belong to the sources of a corpus."""

OUTPUT: Final = "decoder.output."
"""The layer whose numbers mean something else for another loss."""
COUNTS: Final = ("nb", "zinb", "poisson")
"""Losses whose decoders give the same: the logit of a gene's share of the counts."""

STEPS: Final = 1000
"""Steps of a run that goes on from a model. Measured (docs/recipes.md): 300 do most of it, 1,200 a little more."""


def gentle(config: Config) -> Config:
    """Return a model's settings with a third of its learning rate, to go on from its weights.

    An encoder without a pretext task, such as an imported one, goes on with the masked one.
    """
    rate = config.optimiser.learning_rate / 3
    if config.pretext == "none":
        config = replace(config, pretext="masked", task={})
    return replace(config, optimiser=replace(config.optimiser, learning_rate=rate))


def long_enough(config: Config, *, n_cells: int) -> Config:
    """Return the settings with as many epochs as make `STEPS` steps, at least one.

    Parameters
    ----------
    config
        Settings of the run.
    n_cells
        Training cells.
    """
    steps = max(1, n_cells // steps_batch_size(n_cells, config))
    return replace(config, training=replace(config.training, epochs=max(1, math.ceil(STEPS / steps))))


def check_init(model: CellModel, settings: Config, panel: GenePanel) -> None:
    """Check that a model's weights fit the settings of a run and the genes of its cells.

    Raises
    ------
    SettingsError
        If they do not; the message says which differ.
    """
    if panel != model.panel:
        message = (
            f"the cells are on {panel!r}, the model to go on from on {model.panel!r}; build their corpus with the "
            "model's genes: scssl corpus build FILE... --genes MODEL_DIR"
        )
        raise SettingsError(message)
    for name, mine, theirs in (
        ("architecture", settings.architecture, model.config.architecture),
        ("target_sum", settings.target_sum, model.config.target_sum),
    ):
        if mine != theirs:
            message = f"{name} is {mine}, but {theirs} in the model to go on from: its weights fit no other; leave it"
            raise SettingsError(message)


@torch.no_grad()
def take_weights(task: PretextTask, model: CellModel, *, sources: Sequence[str]) -> None:
    """Copy a model's weights into an untrained task, as far as both have them.

    The encoder is copied whole, with what it knows of the genes. Of another pretext task only the parts of the same
    name and shape are. Where log values were predicted and now counts are, or the other way round, the decoder's last
    layer starts anew, at the gene means. Sources that the model knows keep what the decoder learned of them; others
    start at zero, as a source that it is not told.

    Parameters
    ----------
    task
        Task to start; its encoder has the model's shape, see `check_init`.
    model
        Model to start from.
    sources
        Names of the sources of the new cells, by code.
    """
    mine, theirs = task.state_dict(), model.task.state_dict()
    if SOURCES in mine:
        mine[SOURCES].zero_()
        if SOURCES in theirs:
            for row, name in enumerate(sources):
                if name in model.sources:
                    mine[SOURCES][row] = theirs[SOURCES][model.sources.index(name)]
    anew = _scale(task) != _scale(model.task)
    for name, value in mine.items():
        if name == SOURCES or (anew and name.startswith(OUTPUT)):
            continue
        if name in theirs and theirs[name].shape == value.shape:
            value.copy_(theirs[name])


def _scale(task: PretextTask) -> str | None:
    loss = getattr(task.settings, "loss", None)
    return "counts" if loss in COUNTS else loss
