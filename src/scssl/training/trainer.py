"""Run a pretext task over a corpus: Trainer set-up, estimate beforehand, checkpoints, resume, early stopping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from scssl.errors import ScsslError, SettingsError
from scssl.interruption import Signals
from scssl.log import logger
from scssl.ranks import Ranks
from scssl.training.callbacks import Autosave, Best, History, Progress, duration
from scssl.training.devices import Device, resolve_device, resolve_precision
from scssl.training.estimate import estimate
from scssl.training.loggers import LoggerName, make_loggers
from scssl.training.module import PretrainModule
from scssl.training.parallel import check_sharing, validation_batch_size
from scssl.training.running import run, surroundings
from scssl.training.watch import Watch, label_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scssl.corpus import Corpus
    from scssl.corpus.batch import CellBatch
    from scssl.corpus.loader.loader import CorpusLoader
    from scssl.pretext import PretextTask
    from scssl.training.config import Config

__all__ = ["Device", "FitResult", "fit", "resolve_device", "resolve_precision", "steps_batch_size"]

SMALLEST_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a training run leaves behind, apart from the trained task."""

    history: list[dict[str, float]]
    """One row per epoch."""
    best_epoch: int
    """Epoch whose weights the task now holds, counted from 1."""
    seconds: float
    """Wall time of the run."""
    batch_size: int
    """Cells per step that were used, in all processes together."""
    precision: str
    """``"fp32"`` or ``"bf16"``."""


def steps_batch_size(n_cells: int, config: Config) -> int:
    """Return the batch size: the asked one, or less where an epoch would have too few steps."""
    return min(config.training.batch_size, max(SMALLEST_BATCH, n_cells // config.training.min_steps), n_cells)


def fit(
    task: PretextTask,
    corpus: Corpus,
    config: Config,
    *,
    directory: Path | None = None,
    device: Device = "auto",
    resume: bool = False,
    loggers: Sequence[LoggerName] | None = None,
) -> FitResult:
    """Train a pretext task on a corpus; the task then holds the weights of the best epoch.

    Best is the lowest validation loss, or the last epoch where there are no validation cells. Where this process is one
    of several (see `Ranks.current`), each takes its part of every batch; dropout aside, the result is that of one.

    Parameters
    ----------
    task
        Task to train, in place.
    corpus
        Cells; its `train` split is learned from, its `val` split watched.
    config
        Settings.
    directory
        Where `checkpoints/`, `history.csv` and `logs/` go; None for a run that nobody will go on with: the best weights
        are kept in memory, and nothing is written.
    device
        Where to compute.
    resume
        Go on from the last checkpoint in `directory`, with the batches that were left of its epoch. The number of
        processes may be another one.
    loggers
        Where else the numbers go, see `make_loggers`.

    Raises
    ------
    ScsslError
        If there is nothing to train on, or the loss stops being a number.
    Interrupted
        If a signal asks to end (Ctrl-C, SIGTERM, SIGUSR1); in `directory` is a checkpoint of this moment.
    """
    from lightning.pytorch import callbacks as cb

    settings = config.training
    if not task.record.trains:
        logger.info("pretext %r learns nothing: the encoder stays as it was drawn", task.record.name)
        task.eval()
        return FitResult(history=[], best_epoch=0, seconds=0.0, batch_size=0, precision="fp32")
    n_train, n_val = corpus.n_cells("train"), corpus.n_cells("val")
    if n_train < 2:
        message = f"the corpus has {n_train} training cells; pre-training needs at least 2 (and thousands to be of use)"
        raise ScsslError(message)
    batch_size = steps_batch_size(n_train, config)
    if batch_size < settings.batch_size:
        logger.info("batches of %d cells instead of %d, for enough steps per epoch", batch_size, settings.batch_size)
    target = resolve_device(device)
    precision = resolve_precision(settings.precision, target)
    ranks = Ranks.current()
    check_sharing(ranks, corpus=corpus, config=config, batch_size=batch_size, device=target)
    if target.type == "cuda":
        target = torch.device("cuda", ranks.local_rank)
    shared: dict[str, Any] = {"rank": ranks.rank, "world_size": ranks.world_size, "share_batches": ranks.world_size > 1}
    shared["pin_memory"] = target.type == "cuda"
    train = _Epochs(
        corpus.loader(
            split="train", batch_size=batch_size, seed=settings.seed, drop_last=n_train > batch_size, **shared
        )
    )
    val_size = validation_batch_size(n_val, batch_size)
    val = corpus.loader(split="val", batch_size=val_size, shuffle=False, **shared) if n_val else None

    last = None if directory is None else directory / "checkpoints" / "last.ckpt"
    if resume and (last is None or not last.is_file()):
        message = f"{directory} has no checkpoint to go on from; start again without --resume"
        raise SettingsError(message)
    history = History(None if directory is None else directory / "history.csv")
    best: Best | cb.ModelCheckpoint = Best()
    if last is not None:
        best = cb.ModelCheckpoint(
            last.parent,
            filename="best",
            monitor="val_loss" if val else None,
            save_last=True,
            enable_version_counter=False,
        )
    if settings.probe and settings.probe not in corpus.categories:
        known = ", ".join(corpus.categories) or "none"
        message = f"training.probe is {settings.probe!r}, which the corpus does not keep; it keeps: {known}"
        raise SettingsError(message)
    labels = label_column(corpus, settings.probe)
    watch = Watch(corpus, labels=labels, every=settings.probe_every, seed=settings.seed)
    signals = Signals()
    autosave = Autosave(last, minutes=settings.checkpoint_minutes, signals=signals)
    callbacks: list[cb.Callback] = [watch, history, Progress(n_train, history), autosave, best]
    if settings.patience and val:
        callbacks.append(cb.EarlyStopping("val_loss", patience=settings.patience))

    with surroundings(target) as tune_threads, signals:
        done, place = _read_place(last) if resume and last is not None else (0, None)
        estimate(
            task,
            corpus,
            train,
            target,
            batch_size=batch_size,
            precision=precision,
            steps=len(train),
            epochs=settings.epochs - done,
            tune_threads=tune_threads,
            world_size=ranks.world_size,
        )
        if place is not None:
            # Lightning gives it back too, but not at the end of an epoch, and takes the first batch before any hook.
            train.load_state_dict(place)
        made = make_loggers(loggers, directory=directory, config=config) if ranks.rank == 0 else []
        module = PretrainModule(task, config, steps_per_epoch=len(train))
        seconds = run(
            module, train, val, epochs=settings.epochs, precision=precision, device=target, ranks=ranks,
            signals=signals, callbacks=callbacks, loggers=made, resumed=last if resume else None,
        )  # fmt: skip

    final = history.rows[-1]["train_loss"] if history.rows else math.nan
    if math.isnan(final):
        message = (
            f"the training loss is {final}: lower optimiser.learning_rate (it is {config.optimiser.learning_rate})"
        )
        raise ScsslError(message)
    best_epoch = best.give(task) if isinstance(best, Best) else _take_best(task, best.best_model_path or str(last))
    # Before the checkpoints are deleted, all have read theirs.
    module.trainer.strategy.barrier()
    logger.info("trained for %s; using the weights of epoch %d", duration(seconds), best_epoch)
    return FitResult(
        history=history.rows, best_epoch=best_epoch, seconds=seconds, batch_size=batch_size, precision=precision
    )


class _Epochs:
    """A loader whose epoch is only what `set_epoch` says, however often Lightning asks for its iterator.

    Lightning keeps its state in the checkpoints.
    """

    def __init__(self, loader: CorpusLoader) -> None:
        self._loader, self._epoch = loader, 0

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[CellBatch]:
        self._loader.set_epoch(self._epoch)
        return iter(self._loader)

    def batch_cells(self, number: int) -> int:
        return self._loader.batch_cells(number)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        return self._loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._loader.load_state_dict(state)
        self._epoch = self._loader.epoch


def _read_place(checkpoint: Path) -> tuple[int, dict[str, Any]]:
    """Return the finished epochs, and the state of the loader."""
    loop = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["loops"]["fit_loop"]
    return int(loop["epoch_progress"]["current"]["processed"]), loop["state_dict"]["combined_loader"][0]


def _take_best(task: PretextTask, path: str) -> int:
    # Mapped, so that the optimiser's share of it is not read.
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    prefix = "task."
    weights = {
        name.removeprefix(prefix): value for name, value in state["state_dict"].items() if name.startswith(prefix)
    }
    task.to("cpu").load_state_dict(weights)
    task.eval()
    return int(state["epoch"]) + 1
