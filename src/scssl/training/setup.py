"""From what a user chose to the settings of a run, and from the settings to an untrained task."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from scssl.errors import SettingsError
from scssl.genes.load import load_programmes
from scssl.log import logger
from scssl.nn import Encoder
from scssl.pretext import PretextTask, get_task
from scssl.training.config import Config, from_dict, merge, override
from scssl.training.presets import get_preset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scssl.corpus import Corpus
    from scssl.genes.programmes import Programmes


def choose_config(
    *,
    preset: str | None = None,
    config: Path | str | Config | None = None,
    pretext: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """Return the settings of a run: a preset, a file laid over it, then single settings; later ones win.

    Parameters
    ----------
    preset
        Name of the preset to start from, ``"default"`` by default.
    config
        YAML file laid over the preset, or complete settings in its place.
    pretext
        Pretext task; one that the preset is not for starts from the task's own defaults.
    epochs, batch_size, seed
        Settings of the training.
    overrides
        ``"a.b=c"`` each.

    Raises
    ------
    SettingsError
        If a name or value is not possible, or both a preset and complete settings are given.
    """
    if isinstance(config, Config):
        if preset is not None:
            message = "give either a preset or complete settings (config=Config(...)), not both"
            raise SettingsError(message)
        chosen = config
    else:
        chosen = get_preset(preset or "default")
        chosen = merge(chosen, config) if config is not None else chosen
    if pretext is not None and pretext != chosen.pretext:
        chosen = replace(chosen, pretext=pretext, task={})
    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "seed": seed}
    given = {name: value for name, value in given.items() if value is not None}
    chosen = override(replace(chosen, training=replace(chosen.training, **given)), tuple(overrides))
    task = get_task(chosen.pretext)
    from_dict(task.record.settings, chosen.task, where="task")
    return chosen


def find_programmes(config: Config, corpus: Corpus) -> Programmes | None:
    """Load or learn the gene programmes that a run's pretext task asks for.

    Parameters
    ----------
    config
        Settings of the run.
    corpus
        Cells to learn from, and the genes.

    Returns
    -------
    Programmes or None
        None if the task needs none.
    """
    settings: Any = from_dict(get_task(config.pretext).record.settings, config.task, where="task")
    spec = getattr(settings, "programmes", "")
    if not spec:
        return None
    if settings.masking == "random":
        message = "gene programmes were given, but masking is random; choose another one, e.g. --masking programme"
        raise SettingsError(message)
    programmes = load_programmes(
        spec, corpus.panel, corpus=corpus, seed=config.training.seed, min_coverage=settings.min_coverage
    )
    logger.info(
        "%d gene programmes of %d to %d genes cover %.0f %% of the panel",
        len(programmes),
        programmes.sizes.min(),
        programmes.sizes.max(),
        100 * programmes.covered,
    )
    return programmes


def build_task(config: Config, *, n_genes: int, n_sources: int, programmes: Programmes | None = None) -> PretextTask:
    """Return an untrained pretext task with its encoder, weights drawn from the settings' seed.

    Parameters
    ----------
    config
        Settings.
    n_genes
        Genes in the panel.
    n_sources
        Sources in the corpus.
    programmes
        Gene programmes over the panel, for tasks that need them.
    """
    task = get_task(config.pretext)
    settings: Any = from_dict(task.record.settings, config.task, where="task")
    with torch.random.fork_rng():
        torch.manual_seed(config.training.seed)
        encoder = Encoder(n_genes, config.architecture, target_sum=config.target_sum)
        return task(
            encoder, architecture=config.architecture, n_sources=n_sources, settings=settings, programmes=programmes
        )
