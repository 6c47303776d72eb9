"""The course of the learning rate over a training."""

from __future__ import annotations

import torch


def one_cycle(optimiser: torch.optim.Optimizer, *, n_steps: int) -> torch.optim.lr_scheduler.OneCycleLR:
    """Let each group's learning rate rise to its own over a tenth of the steps, then fall to almost nothing (cosine).

    Parameters
    ----------
    optimiser
        Its groups have their highest learning rates.
    n_steps
        Steps of the whole training; a schedule of one step has no course, so it is made for two.

    Source: Smith and Topin, "Super-convergence" (2018), arXiv 1708.07120.
    """
    n_steps = max(2, n_steps)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=[group["lr"] for group in optimiser.param_groups],
        total_steps=n_steps,
        # A rise that ends with the very first step is divided by zero in torch.
        pct_start=max(0.1, 1.5 / n_steps),
        cycle_momentum=False,
    )
