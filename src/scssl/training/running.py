"""One run of Lightning's Trainer, as every training here makes it: quiet, in good order when asked to end."""

from __future__ import annotations

import logging
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from scssl.cores import own_cores
from scssl.interruption import Interrupted
from scssl.training.callbacks import Stopped
from scssl.training.checkpoints import Checkpoints
from scssl.training.parallel import hear_signals_only_here, trainer_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scssl.interruption import Signals
    from scssl.ranks import Ranks
    from scssl.training.module import PretrainModule

EXPECTED_WARNINGS = (
    # A function that torch is about to rename.
    ".*LeafSpec.*",
    # No cells set apart for validation.
    ".*no `val_dataloader`.*",
    # A resumed run.
    "Checkpoint directory .* exists.*",
    # What only process 0 looks at is logged there alone.
    ".*sync_dist=True.*",
)


@contextmanager
def surroundings(device: torch.device) -> Iterator[bool]:
    """Keep Lightning quiet and torch to its cores; what the caller had comes back.

    Yields
    ------
    bool
        Whether the number of threads is free to be changed.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # The weights were drawn before; all else random is seeded per step.
    with torch.random.fork_rng(), own_cores(device) as tune_threads, warnings.catch_warnings():
        for known in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=known)
        yield tune_threads


def run(
    module: PretrainModule,
    train: Any,
    val: Any | None,
    *,
    epochs: int,
    precision: str,
    device: torch.device,
    ranks: Ranks,
    signals: Signals,
    callbacks: list[Any],
    loggers: Any = False,
    resumed: Path | None = None,
) -> float:
    """Train; within `surroundings` and `signals`.

    Parameters
    ----------
    module
        What is trained.
    train, val
        Loaders.
    epochs
        Passes over the cells.
    precision
        ``"fp32"`` or ``"bf16"``.
    device
        Where to compute.
    ranks
        Of this process.
    signals
        What one of the callbacks, an `Autosave`, looks at.
    callbacks
        What happens beside training; without a ``ModelCheckpoint`` there are no checkpoints.
    loggers
        Where numbers go.
    resumed
        Checkpoint to go on from.

    Returns
    -------
    float
        Seconds that it took.

    Raises
    ------
    Interrupted
        If a signal asked to end.
    """
    import lightning.pytorch as lightning
    from lightning.pytorch.callbacks import ModelCheckpoint

    options = trainer_options(ranks, device)
    options["plugins"].append(Checkpoints())
    trainer = lightning.Trainer(
        max_epochs=epochs,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        logger=loggers,
        callbacks=callbacks,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        **options,
    )
    hear_signals_only_here(trainer)
    started = time.monotonic()
    try:
        trainer.fit(module, train, val, ckpt_path=None if resumed is None else str(resumed), weights_only=True)
    except Stopped as stopped:
        raise stopped.interrupted from None
    except SystemExit as stopped:
        # Lightning answers a second Ctrl-C by ignoring further ones and leaving the process.
        raise Interrupted(signals.last) from stopped
    return time.monotonic() - started
