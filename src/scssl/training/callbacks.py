"""What happens beside training: the table of epochs, and progress for people."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer

from scssl.log import logger, progress

if TYPE_CHECKING:
    from pathlib import Path

    from scssl.log import Advance


class History(Callback):
    """Collects one row per epoch and writes them to a CSV file after each; survives a resumed run.

    Parameters
    ----------
    path
        CSV file: columns epoch, step, seconds, cells_per_second, train_loss, val_loss and whatever else the task logs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far, for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of the interrupted run."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started, self._step, self._cells = time.monotonic(), trainer.global_step, 0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count cells."""
        self._cells += batch.n_cells

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's row; validation has run by now."""
        seconds = time.monotonic() - self._started
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": round(seconds, 3),
            "cells_per_second": round(self._cells / seconds, 1),
            **dict(sorted(metrics.items())),
        }
        self.rows.append(row)
        if trainer.is_global_zero:
            pd.DataFrame(self.rows).to_csv(self.path, index=False)


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
        self._advance = self._stack.enter_context(progress("training", self._n_cells * epochs))

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
            self._advance(batch.n_cells)

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


def duration(seconds: float) -> str:
    """Return a duration in words: ``"40 s"``, ``"3 min"``, ``"2.5 h"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
