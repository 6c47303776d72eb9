"""Time and memory that a study will take, said before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scssl.study.methods import SCRATCH
from scssl.training import choose_config
from scssl.training.finetuning import FineTuning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scssl.study.fitting import Work
    from scssl.study.methods import Job, Network

TRAINED = 1.6e10
"""Weights times cells that pre-training goes through in a second on one core: encoder and decoder of the default."""
TUNED = 3.5e10
"""The same of training on labels."""
STEP = 0.01
"""Seconds that a step of it takes at least: of few cells, more than their products."""
OTHERS = {"xgboost": (2.0, 0.015), "celltypist": (1.0, 0.001), "scvi": (15.0, 0.02), "scanvi": (25.0, 0.03)}
"""Of methods of other packages the seconds at least, and per cell that they learn from."""
START_UP = 8.0
"""Seconds until a process has loaded its libraries."""
PROCESS_GB = 1.3


def seconds_to_tune(n_cells: int, *, weights: int, scratch: bool) -> float:
    """Return what learning from labels takes on one core.

    Parameters
    ----------
    n_cells
        Labelled cells.
    weights
        Of the first layer.
    scratch
        Whether the network starts at random.
    """
    settings = FineTuning()
    seen, steps = settings.cells_seen(n_cells, scratch=scratch), settings.steps(n_cells, scratch=scratch)
    return STEP * steps + seen * weights / TUNED


def estimate(work: Work, networks: Sequence[Network], jobs_left: Sequence[Job], *, workers: int) -> str:
    """Return what to expect, in words.

    Parameters
    ----------
    work
        The study.
    networks, jobs_left
        What is still to be done.
    workers
        Processes.
    """
    config = choose_config(preset=work.plan.preset, epochs=work.plan.epochs, overrides=list(work.plan.overrides))
    width, n_genes = config.architecture.hidden[0], len(work.target.panel)
    seconds = 0.0
    for network in networks:
        n_cells = work.corpora[(network.arm, network.fraction)].n_cells("train")
        epochs = 0 if network.pretext in {"none", "pca"} else config.training.epochs
        seconds += 5 + n_cells * (2 * n_genes * width * epochs / TRAINED + 1e-4)
    measured = int(work.target.genes.sum())
    for job in jobs_left:
        split, mode = work.splits[job.split], work.methods[job.method].mode
        n = min(len(split.train), job.labels * len(work.target.classes) or len(split.train))
        if mode in {"finetune", SCRATCH}:
            genes = measured if mode == SCRATCH else n_genes
            seconds += seconds_to_tune(n, weights=genes * width, scratch=mode == SCRATCH)
        elif job.method in OTHERS:
            start, each = OTHERS[job.method]
            seconds += start + each * n
        else:
            seconds += 0.5 + n * (measured if job.method == "logistic" else 100) * 4e-7
    seconds = seconds / workers + START_UP
    words = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    memory = workers * (PROCESS_GB + 20 * 2 * n_genes * width / 1e9 + work.target.counts.nnz * 12 / 1e9)
    return (
        f"{len(networks)} networks and embeddings to make, {len(jobs_left)} fits: about {words} and {memory:.1f} GB of "
        f"memory with {workers} process{'' if workers == 1 else 'es'}"
    )
