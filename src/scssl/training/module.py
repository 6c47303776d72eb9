"""The one Lightning module: a pretext task, its optimiser and its logs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import LightningModule

from scssl.pretext import Draw
from scssl.training.schedule import one_cycle

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus.batch import CellBatch
    from scssl.pretext import PretextTask
    from scssl.training.config import Config

VALIDATION_EPOCH = 2**40
"""Epoch in the key of validation masks: fixed, so that losses compare between epochs; no training epoch has it."""


class PretrainModule(LightningModule):
    """Runs a pretext task under Lightning.

    Parameters
    ----------
    task
        Pretext task with its encoder.
    config
        Settings of the run.
    steps_per_epoch
        Optimiser steps per epoch, for the learning-rate schedule.
    """

    def __init__(self, task: PretextTask, config: Config, *, steps_per_epoch: int) -> None:
        super().__init__()
        self.task = task
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self.step_values: dict[str, Tensor] = {}
        """What the last training step logged."""
        self.batch_cells = 0
        """Cells of the batch, in all processes that share it."""

    def on_train_epoch_start(self) -> None:
        """Draw the order of cells from (seed, epoch)."""
        self.trainer.train_dataloader.set_epoch(self.current_epoch)  # type: ignore[union-attr]

    def on_train_batch_start(self, batch: CellBatch, batch_idx: int) -> None:
        """Draw dropout from (seed, step, rank), so that a resumed run goes on as if it had never been interrupted."""
        # Hashed, because torch seeds its generator on the CPU with the lower 32 bits alone.
        key = np.random.SeedSequence([self.config.training.seed, self.global_step, self.global_rank])
        torch.manual_seed(int(key.generate_state(1)[0]))
        self._count(batch, self.trainer.train_dataloader, batch_idx)

    def on_validation_batch_start(self, batch: CellBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Note how many cells the processes share."""
        self._count(batch, self.trainer.val_dataloaders, batch_idx)

    def _count(self, batch: CellBatch, loader: Any, batch_idx: int) -> None:
        # From the loader, as to ask the other processes would be to wait for them.
        self.batch_cells = batch.n_cells if self.trainer.world_size == 1 else loader.batch_cells(batch_idx)

    def transfer_batch_to_device(self, batch: CellBatch, device: torch.device, dataloader_idx: int) -> CellBatch:
        """Copy a batch to the device."""
        return batch.to(device, non_blocking=True)

    def training_step(self, batch: CellBatch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        draw = Draw(self.config.training.seed, self.current_epoch)
        losses = self.task.losses(batch, draw=draw)
        # Processes that share a batch wait for the gradient of every parameter. This one has a part in the loss only
        # where genes are unmeasured, in a batch of one process and not in another's: here it gets a zero.
        losses["loss"] = losses["loss"] + 0.0 * self.task.encoder.states.unmeasured.sum()
        return self._log_losses("train", losses, batch)

    def validation_step(self, batch: CellBatch, batch_idx: int) -> None:
        """Log the loss of one validation batch, with the same masks in every epoch."""
        draw = Draw(self.config.training.seed, VALIDATION_EPOCH)
        self._log_losses("val", self.task.losses(batch, draw=draw), batch)

    def _log_losses(self, stage: str, losses: dict[str, Tensor], batch: CellBatch) -> Tensor:
        values = {f"{stage}_{name}": value.detach() for name, value in losses.items()}
        if stage == "train":
            self.step_values = values
            # `History` averages these itself, which takes a tenth of the time.
            return losses["loss"]
        # A loss is made so that its mean over processes is the loss of the whole batch.
        shared = self.trainer.world_size > 1
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=self.batch_cells, sync_dist=shared)
        return losses["loss"]

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm of the gradient, and log it. Done here because Lightning clips no fused optimiser in bf16."""
        limit = self.config.optimiser.gradient_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.task.parameters(), limit)
        self.step_values = {**self.step_values, "gradient_norm": norm.detach()}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step, and let the task do what follows one."""
        super().optimizer_step(*args, **kwargs)
        steps = max(1, self.config.training.epochs * self.steps_per_epoch)
        self.task.after_step(progress=min(1.0, (self.global_step + 1) / steps))

    def configure_optimizers(self) -> Any:
        """Return AdamW with the schedule of the settings. Vectors (biases, gene states) are not decayed."""
        settings, training = self.config.optimiser, self.config.training
        parameters = [p for p in self.task.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        # One kernel for all parameters: 13 times faster than the loop on a CPU with the paper's 20 M of them.
        optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        schedule: torch.optim.lr_scheduler.LRScheduler
        if settings.schedule == "one_cycle":
            schedule = one_cycle(optimiser, n_steps=training.epochs * self.steps_per_epoch)
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
        if settings.schedule == "step":
            schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=2, gamma=0.9)
            return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}
        return {"optimizer": optimiser}
