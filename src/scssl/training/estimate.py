"""What a training run will take, said before it starts: time, memory, disk; and with how many threads it is fastest."""

from __future__ import annotations

import statistics
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
STEP_SECONDS = 2e-3
"""Of a step, for what Lightning does around it."""
LIBRARIES_BYTES = 0.65e9
"""Python with PyTorch, Lightning and AnnData."""
GATHERED_BYTES = 0.15e9
"""More of it, and the tables of genes, where the corpus is made in memory of a file."""
GATHERED_BYTES_PER_COUNT = 8
"""Stored counts of such a corpus, and copies on the way to them."""
TRAINED_BYTES = 20
"""Per parameter: weights, gradient, the two moments of AdamW, and a copy where weights are kept or cast."""
EXCHANGED_BYTES = 4
"""Per parameter: gradients on their way to other processes."""
ACTIVATION_BYTES = 24
"""Per cell and gene of a batch: about six dense fp32 arrays."""
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
    world_size: int = 1,
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
    world_size
        Processes that share each batch; they have not met yet, so what they exchange is not timed.
    """
    timed = [batch for _, batch in zip(range(TIMED_STEPS), batches, strict=False)]
    task = task.to(device).train()

    buffers = [buffer.clone() for buffer in task.buffers()]
    # Steps of length zero: they take their time and memory, and leave the weights as they are.
    parameters = [p for p in task.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0, fused=True)

    def loss_of(batch: CellBatch) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            return task.losses(batch.to(device), draw=Draw(0, 0))["loss"]

    def step(batch: CellBatch) -> float:
        started = time.monotonic()
        loss_of(batch).backward()
        # Zero times what is no number is none either. The question also waits for the device.
        if torch.nn.utils.clip_grad_norm_(parameters, 1.0).isfinite():
            optimiser.step()
        taken = time.monotonic() - started
        task.zero_grad(set_to_none=True)
        return taken

    def watch(batch: CellBatch) -> float:
        started = time.monotonic()
        with torch.no_grad():
            loss_of(batch).item()
        return time.monotonic() - started

    times: dict[int, list[float]] = {}

    def fastest() -> float:
        found = times[torch.get_num_threads()] = [step(batch) for batch in timed]
        return min(found)

    cores = torch.get_num_threads()
    if tune_threads:
        fastest_threads(fastest)
    else:
        fastest()
    # The fastest step tells best how many threads to use, the one in the middle how long an epoch takes.
    seconds = statistics.median(times.get(torch.get_num_threads()) or min(times.values())) + STEP_SECONDS
    # Validation batches are about as large.
    epoch = steps * seconds + corpus.n_cells("val") / batch_size * min(map(watch, timed))
    for buffer, before in zip(task.buffers(), buffers, strict=True):
        buffer.copy_(before)
    threads = torch.get_num_threads()
    where = device.type if device.type != "cpu" else f"cpu with {threads} thread{'' if threads == 1 else 's'}"
    if threads < cores:
        where += f" (of {cores}: fewer are faster here, other programs are busy)"
    if world_size > 1:
        where += f" in each of {world_size} processes"
    n_parameters = sum(p.numel() for p in task.parameters())
    logger.info(
        "training on %s: %s cells, %s parameters, %s; about %s per epoch%s, %s in all, %.1f GB of memory%s, up to %.2g "
        "GB of disk while it trains",
        where,
        f"{corpus.n_cells('train'):,}",
        f"{n_parameters:,}",
        precision,
        duration(epoch),
        "" if world_size == 1 else " and the exchange of gradients",
        duration(epoch * epochs),
        memory(corpus, n_parameters=n_parameters, batch_size=batch_size, world_size=world_size) / 1e9,
        "" if world_size == 1 else " each",
        CHECKPOINTS * CHECKPOINT_BYTES * n_parameters / 1e9,
    )


def memory(corpus: Corpus, *, n_parameters: int, batch_size: int, world_size: int = 1) -> float:
    """Estimate the bytes that training takes at its peak.

    Parameters
    ----------
    corpus
        What is trained on.
    n_parameters
        Size of the task.
    batch_size
        Cells per step.
    world_size
        Processes that share each batch; the memory is that of one.
    """
    needed = LIBRARIES_BYTES + TRAINED_BYTES * n_parameters
    needed += ACTIVATION_BYTES * batch_size / world_size * len(corpus.panel)
    if world_size > 1:
        needed += EXCHANGED_BYTES * n_parameters
    if corpus.path is None:
        needed += GATHERED_BYTES + GATHERED_BYTES_PER_COUNT * sum(shard.n_nonzeros for shard in corpus.shards_of())
    return needed + loading_memory(corpus, batch_size=batch_size)
