"""What happens beside training: the table of epochs, progress for people, checkpoints within epochs."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from scssl.interruption import Interrupted, Signals
from scssl.log import logger, progress
from scssl.pretext.gather import mean_over_ranks
from scssl.training.parallel import Vote

if TYPE_CHECKING:
    from pathlib import Path

    from scssl.log import Advance


class History(Callback):
    """Collects one row per epoch and writes them to a CSV file after each.

    What is logged in training steps is averaged here, over cells, because Lightning forgets its own averages when a run
    is resumed in the middle of an epoch.

    Parameters
    ----------
    path
        CSV file: columns epoch, step, seconds, cells_per_second, train_loss, val_loss and whatever else the task logs;
        None for no file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._seconds_before = 0.0
        self._device = torch.device("cpu")
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.cells = 0
        """Cells of this epoch so far."""
        self._sums: dict[str, Any] = {}
        self._started = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far and the sums of the epoch that is running, for the checkpoint; called by all ranks."""
        return {
            "rows": self.rows,
            "cells": self.cells,
            "sums": self._sums_of_all(),
            "seconds": time.monotonic() - self._started,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the interrupted run was."""
        self.rows, self.cells = list(state_dict["rows"]), state_dict["cells"]
        self._sums, self._seconds_before = dict(state_dict["sums"]), state_dict["seconds"]

    def _sums_of_all(self) -> dict[str, float]:
        if not self._sums:
            return {}
        # A loss is made so that its mean over processes is the loss of the whole batch.
        sums = torch.stack([torch.as_tensor(value, device=self._device).float() for value in self._sums.values()])
        return dict(zip(self._sums, mean_over_ranks(sums).tolist(), strict=True))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock: Lightning does not tell of the start of an epoch in which it resumes."""
        self._started = time.monotonic() - self._seconds_before
        self._device = pl_module.device

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a new row."""
        self._begin_epoch()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count cells, and sum up what was logged."""
        n_cells = pl_module.batch_cells
        self.cells += n_cells  # type: ignore[operator, assignment]
        for name, value in pl_module.step_values.items():  # type: ignore[union-attr, operator]
            self._sums[name] = self._sums.get(name, 0.0) + value * n_cells

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row; validation has run by now."""
        seconds = time.monotonic() - self._started
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        averages = {name: value / self.cells for name, value in self._sums_of_all().items()}
        for logger_ in trainer.loggers:
            logger_.log_metrics(averages, step=trainer.global_step)
        metrics |= averages
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": round(seconds, 3),
            "cells_per_second": round(self.cells / seconds, 1),
            **dict(sorted(metrics.items())),
        }
        self.rows.append(row)
        if trainer.is_global_zero and self.path is not None:
            pd.DataFrame(self.rows).to_csv(self.path, index=False)
        # Before the checkpoint of the end of the epoch is written.
        self._begin_epoch()


class Progress(Callback):
    """A bar over all cells of all epochs on a terminal; elsewhere a line per interval and one per epoch.

    Parameters
    ----------
    n_cells
        Training cells per epoch.
    history
        Where the epoch's numbers are.
    """

    def __init__(self, n_cells: int, history: History) -> None:
        self._n_cells, self._history = n_cells, history
        self._stack = ExitStack()
        self._advance: Advance | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        epochs = (trainer.max_epochs or 0) - trainer.current_epoch
        total = self._n_cells * epochs - self._history.cells
        self._advance = self._stack.enter_context(progress("training", total))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move on."""
        if self._advance is not None:
            self._advance(pl_module.batch_cells)  # type: ignore[arg-type]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how the epoch went."""
        row = self._history.rows[-1]
        left = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        validation = f", validation {row['val_loss']:.4f}" if "val_loss" in row else ""
        logger.info(
            "epoch %d of %d: loss %.4f%s; %s cells/s, about %s left",
            row["epoch"],
            trainer.max_epochs,
            row["train_loss"],
            validation,
            f"{row['cells_per_second']:,.0f}",
            duration(left * row["seconds"]),
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._stack.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self._stack.close()


class Autosave(Callback):
    """Writes a checkpoint in the middle of an epoch every so often, so that little is lost when a long one is killed.

    Asked to end by a signal, it writes one at once and ends the run.

    Parameters
    ----------
    path
        Checkpoint to write; it replaces the one of the last end of an epoch. None for none: signals alone are heard.
    minutes
        How often.
    signals
        Signals that were noted.
    """

    def __init__(self, path: Path | None, *, minutes: float, signals: Signals) -> None:
        self._path, self._seconds, self._signals = path, 60 * minutes, signals

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._saved = time.monotonic()
        self._vote = Vote(trainer.world_size)
        # Lightning has put handlers of its own in their place.
        self._signals.install()
        self._signals.deferring = True

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write it when it is time, unless the epoch is about to end with one."""
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._look(trainer, due=time.monotonic() - self._saved >= self._seconds)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End here when asked to at the end of the last epoch, which was saved; within validation it cannot be."""
        if signum := self._vote(due=False, signum=self._noted())[1]:
            self._stop(signum)

    def _noted(self) -> int:
        return self._signals.received[0] if self._signals.received else 0

    def _look(self, trainer: Trainer, *, due: bool) -> None:
        # Processes have clocks of their own, and hear of a signal in different steps, but must save in the same one.
        due, signum = self._vote(due=due, signum=self._noted())
        if (due or signum) and self._path is not None:
            trainer.save_checkpoint(self._path)
            self._saved = time.monotonic()
        if signum:
            self._stop(signum)

    def _stop(self, signum: int) -> None:
        self._signals.deferring = False
        raise Stopped(signum)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count anew."""
        self._saved = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals end what follows."""
        self._signals.deferring = False


class Best(Callback):
    """Keeps a copy of the weights of the epoch with the lowest validation loss; without one, of the last."""

    def __init__(self) -> None:
        self.loss, self.epoch = math.inf, 0
        self._weights: dict[str, torch.Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare this epoch with the best so far."""
        loss = float(trainer.callback_metrics.get("val_loss", -trainer.current_epoch))
        if loss < self.loss or not self._weights:
            task: Any = pl_module.task
            self.loss, self.epoch = math.inf if math.isnan(loss) else loss, trainer.current_epoch + 1
            self._weights = {name: value.detach().cpu().clone() for name, value in task.state_dict().items()}

    def give(self, task: torch.nn.Module) -> int:
        """Give a task the weights, ready for use on the processor; return the epoch, counted from 1."""
        task.to("cpu").load_state_dict(self._weights)
        task.eval()
        return self.epoch


class Stopped(Exception):  # noqa: N818 (nothing went wrong)
    """Ends a run in good order. Lightning would end the whole process for the `KeyboardInterrupt` it stands for."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.interrupted = Interrupted(signum)


def duration(seconds: float) -> str:
    """Return a duration in words: ``"40 s"``, ``"3 min"``, ``"2.5 h"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
