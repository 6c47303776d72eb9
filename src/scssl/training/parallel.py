"""One run in several processes: how they find each other, agree, and share batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist

from scssl.errors import SettingsError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from scssl.corpus import Corpus
    from scssl.ranks import Ranks
    from scssl.training.config import Config

LEAST_CELLS: Final = 2
"""Cells of a training batch that each process must get."""
SMALLEST_REST: Final = 64
"""Cells that the last validation batch should have, so that it can be shared, and be compared within."""


class Vote:
    """Let processes agree in each step on whether to save, and whether to end.

    Parameters
    ----------
    world_size
        How many they are.
    """

    def __init__(self, world_size: int) -> None:
        self._alone = world_size == 1
        # On the processor, so that no step waits for the GPU.
        self._group = None if self._alone or dist.get_backend() == "gloo" else dist.new_group(backend="gloo")

    def __call__(self, *, due: bool, signum: int) -> tuple[bool, int]:
        """Return what holds for any of them: called by all in the same step.

        Parameters
        ----------
        due
            Whether this process finds it time to save.
        signum
            Signal that this process was sent, 0 for none.
        """
        if self._alone:
            return due, signum
        votes = torch.tensor([int(due), signum])
        dist.all_reduce(votes, op=dist.ReduceOp.MAX, group=self._group)
        return bool(votes[0]), int(votes[1])


def trainer_options(ranks: Ranks, device: torch.device) -> dict[str, Any]:
    """Return what Lightning's Trainer is told of devices and processes.

    Parameters
    ----------
    ranks
        Of this process.
    device
        Where it computes.
    """
    from lightning.fabric.plugins.environments import (  # type: ignore[attr-defined]
        LightningEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )
    from lightning.pytorch.strategies import DDPStrategy

    options: dict[str, Any] = {
        "accelerator": {"cuda": "gpu"}.get(device.type, device.type),
        "devices": ranks.local_world_size,
        "num_nodes": ranks.n_nodes,
        # Named, because Lightning would take any process in an allocation of SLURM for one of several.
        "plugins": [LightningEnvironment()],
    }
    if ranks.world_size == 1:
        return options
    if ranks.slurm:
        # Signals are answered in one way everywhere.
        try:
            options["plugins"] = [SLURMEnvironment(auto_requeue=False)]
        except RuntimeError as error:
            message = f"SLURM was asked for processes in a way that cannot be used: {error}"
            raise SettingsError(message) from error
    elif TorchElasticEnvironment.detect():
        options["plugins"] = [TorchElasticEnvironment()]
    options["strategy"] = DDPStrategy(
        # All that is not a parameter is the same everywhere; batch norm gathers its statistics itself.
        broadcast_buffers=False,
        process_group_backend="nccl" if device.type == "cuda" else "gloo",
    )
    options["sync_batchnorm"] = device.type == "cuda"
    return options


def hear_signals_only_here(trainer: Trainer) -> None:
    """Keep Lightning from asking all processes in each step whether one was sent a signal: `Vote` does.

    Its way waits for the GPU in each step.
    """
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def check_sharing(ranks: Ranks, *, corpus: Corpus, config: Config, batch_size: int, device: torch.device) -> None:
    """Refuse what several processes cannot do.

    Parameters
    ----------
    ranks
        Of this process.
    corpus, config, batch_size, device
        What is trained on, how, and where.

    Raises
    ------
    SettingsError
        With the fix.
    """
    n = ranks.world_size
    if n == 1:
        return
    if corpus.path is None:
        message = (
            f"{n} processes need a corpus on disk that each can read; build one with: scssl corpus build FILE --out DIR"
        )
        raise SettingsError(message)
    if batch_size < LEAST_CELLS * n:
        message = (
            f"a batch of {batch_size} cells cannot be shared by {n} processes; take a larger training.batch_size, "
            "which counts the cells of all processes, or fewer devices"
        )
        raise SettingsError(message)
    n_val = corpus.n_cells("val")
    rest = n_val % validation_batch_size(n_val, batch_size)
    if 0 < rest < n:
        message = f"{n_val} validation cells cannot be shared by {n} processes; take fewer devices"
        raise SettingsError(message)
    if device.type == "mps":
        message = f"device 'mps' is one device; {n} processes need CUDA devices, or the cpu"
        raise SettingsError(message)
    if device.type == "cuda" and (there := torch.cuda.device_count()) < ranks.local_world_size:
        message = (
            f"{ranks.local_world_size} processes on this machine, but each sees {there} CUDA device"
            f"{'' if there == 1 else 's'}; take devices={there}, or under SLURM ask for --gpus-per-node, not per task"
        )
        raise SettingsError(message)
    if config.architecture.norm == "batch" and device.type != "cuda":
        message = (
            "architecture.norm=batch gathers its statistics over processes on CUDA devices only; take "
            "architecture.norm=layer, or one process"
        )
        raise SettingsError(message)


def validation_batch_size(n_cells: int, batch_size: int) -> int:
    """Return the batch size, or a little less where the last batch would have too few cells to share or compare.

    It does not depend on the number of processes.

    Parameters
    ----------
    n_cells
        Validation cells.
    batch_size
        Cells of a training batch.

    Examples
    --------
    >>> validation_batch_size(1_000, 512), validation_batch_size(1_025, 512)
    (512, 480)
    """
    for size in range(batch_size, batch_size // 2, -1):
        if n_cells % size == 0 or n_cells % size >= min(SMALLEST_REST, size // 2):
            return size
    return batch_size
