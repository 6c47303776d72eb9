"""What a training run will take, said before it starts: time, memory, disk; and with how many threads it is fastest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from scssl.cores import fastest_threads
from scssl.corpus.pool_size import loading_memory
from scssl.log import logger
from scssl.pretext import Draw
from scssl.training.callbacks import duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scssl.corpus import Corpus
    from scssl.corpus.batch import CellBatch
    from scssl.pretext import PretextTask

TIMED_STEPS = 3
LIBRARIES_BYTES = 0.6e9
"""Python with PyTorch, Lightning and AnnData."""
GATHERED_BYTES = 0.15e9
"""More of it, and the tables of genes, where the corpus is made in memory of a file."""
GATHERED_BYTES_PER_COUNT = 8
"""Stored counts of such a corpus, and copies on the way to them."""
TRAINED_BYTES = 20
"""Per parameter: weights, gradient, the two moments of AdamW, and a copy where weights are kept or cast."""
CHECKPOINT_BYTES = 12
"""Per parameter: weights and moments."""
CHECKPOINTS = 3
"""The best, the last, and the next one while it is written."""


def estimate(
    task: PretextTask,
    corpus: Corpus,
    batches: Iterable[CellBatch],
    device: torch.device,
    *,
    batch_size: int,
    precision: str,
    steps: int,
    epochs: int,
    tune_threads: bool,
) -> None:
    """Time a few steps and say what the run will take; of the task nothing changes.

    Parameters
    ----------
    task
        What is trained.
    corpus
        What it is trained on.
    batches
        Batches to time the steps with.
    device, batch_size, precision
        How it is trained.
    steps
        Steps per epoch.
    epochs
        Epochs to go.
    tune_threads
        Also find out with how many of torch's threads it is fastest, and leave that number set.
    """
    timed = [batch for _, batch in zip(range(TIMED_STEPS), batches, strict=False)]
    task = task.to(device).train()

    def step(batch: CellBatch) -> float:
        started = time.monotonic()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = task.losses(batch.to(device), draw=Draw(0, 0))["loss"]
        # No optimiser step: the weights do not change.
        loss.backward()
        loss.item()  # waits for the device
        task.zero_grad(set_to_none=True)
        return time.monotonic() - started

    def fastest() -> float:
        return min(map(step, timed))

    cores = torch.get_num_threads()
    seconds = fastest_threads(fastest) if tune_threads else fastest()
    threads = torch.get_num_threads()
    where = device.type if device.type != "cpu" else f"cpu with {threads} thread{'' if threads == 1 else 's'}"
    if threads < cores:
        where += f" (of {cores}: fewer are faster here, other programs are busy)"
    n_parameters = sum(p.numel() for p in task.parameters())
    logger.info(
        "training on %s: %s cells, %s parameters, %s; about %s per epoch, %s in all, %.1f GB of memory, up to %.2g GB "
        "of disk while it trains",
        where,
        f"{corpus.n_cells('train'):,}",
        f"{n_parameters:,}",
        precision,
        duration(seconds * steps),
        duration(seconds * steps * epochs),
        memory(corpus, n_parameters=n_parameters, batch_size=batch_size) / 1e9,
        CHECKPOINTS * CHECKPOINT_BYTES * n_parameters / 1e9,
    )


def memory(corpus: Corpus, *, n_parameters: int, batch_size: int) -> float:
    """Estimate the bytes that training takes at its peak.

    Parameters
    ----------
    corpus
        What is trained on.
    n_parameters
        Size of the task.
    batch_size
        Cells per step.
    """
    # Activations: about six dense fp32 arrays of the batch over the genes.
    needed = LIBRARIES_BYTES + TRAINED_BYTES * n_parameters + 6 * 4 * batch_size * len(corpus.panel)
    if corpus.path is None:
        needed += GATHERED_BYTES + GATHERED_BYTES_PER_COUNT * sum(shard.n_nonzeros for shard in corpus.shards_of())
    return needed + loading_memory(corpus, batch_size=batch_size)
