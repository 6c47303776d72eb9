"""Training on labels: an encoder and a linear head, under the same Lightning module as pre-training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from scssl.errors import ScsslError
from scssl.interruption import Signals
from scssl.log import logger
from scssl.pretext import Draw
from scssl.ranks import Ranks
from scssl.training.callbacks import Autosave, Best, History, Progress, duration
from scssl.training.config import Config, Optimiser, Training
from scssl.training.devices import resolve_device, resolve_precision
from scssl.training.module import VALIDATION_EPOCH, PretrainModule
from scssl.training.running import run, surroundings
from scssl.training.schedule import one_cycle

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus import Corpus
    from scssl.corpus.batch import CellBatch
    from scssl.nn import Encoder
    from scssl.training.finetuning import FineTuning
    from scssl.training.trainer import Device

LABEL: Final = "label"
"""Column of the corpus with the labels; all its cells have one."""
FEWEST_STEPS: Final = 10
SMALLEST_BATCH: Final = 16
NARROWEST: Final = 0.05
"""Share of the genes in the narrowest of the random parts."""


class LabelTask(nn.Module):
    """Predict the label of a cell from its code: what a pretext task is, with labels.

    Parameters
    ----------
    encoder
        Encoder to train.
    n_classes
        Labels.
    settings
        Of the training.
    class_weight
        (n_classes,) weight of a cell of each label.
    """

    class_weight: Tensor

    def __init__(self, encoder: Encoder, *, n_classes: int, settings: FineTuning, class_weight: Tensor) -> None:
        super().__init__()
        self.encoder, self.settings = encoder, settings
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(encoder.n_latent, n_classes)
        # Every label equally likely at first: what the code says then comes in gradually.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("class_weight", class_weight)

    @torch.no_grad()
    def start_from(self, *, weight: Tensor, bias: Tensor) -> None:
        """Begin with a head that is known already: (n_classes, n_latent) and (n_classes,)."""
        self.head.weight.copy_(weight)
        self.head.bias.copy_(bias)

    def losses(self, batch: CellBatch, *, draw: Draw) -> dict[str, Tensor]:
        """Return the weighted cross-entropy under ``"loss"``, and the share of labels that are right."""
        return self.judge(batch, draw=draw)[0]

    def judge(self, batch: CellBatch, *, draw: Draw) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses, and the label found for each cell."""
        codes = batch.labels[LABEL]
        if self.training:
            batch = self._seen(batch, draw=draw)
        scores = self.head(self.dropout(self.encoder.encode(batch))).float()
        smoothing = self.settings.label_smoothing if self.training else 0.0
        each = nn.functional.cross_entropy(scores, codes, reduction="none", label_smoothing=smoothing)
        found = scores.argmax(1)
        accuracy = (found == codes).float().mean()
        return {"loss": (each * self.class_weight[codes]).mean(), "accuracy": accuracy}, found

    def _seen(self, batch: CellBatch, *, draw: Draw) -> CellBatch:
        """Draw, for some batches, a part of the genes, and return what would be seen had only these been measured."""
        # Keyed by the first cell, as masks are that a group of cells has in common.
        rng = np.random.default_rng([draw.seed, draw.epoch, int(batch.cell[0]), 0x6E4E])
        if rng.random() >= self.settings.gene_dropout:
            return batch
        share = NARROWEST ** rng.random()
        genes = torch.from_numpy(rng.random(batch.n_genes, dtype=np.float32) < share)
        return narrowed(batch, genes=genes.to(batch.values.device), gene_share=self.encoder.gene_share)

    def after_step(self, *, progress: float) -> None:
        """Nothing follows a step."""


def narrowed(batch: CellBatch, *, genes: Tensor, gene_share: Tensor) -> CellBatch:
    """Return cells as they would be had only some genes been measured: other counts, totals and shares.

    Parameters
    ----------
    batch
        The cells.
    genes
        (n_genes,) bool, the genes that stay measured.
    gene_share
        (n_genes,) share of a typical cell's counts per gene.
    """
    kept, rows = genes[batch.indices.long()], batch.rows()
    values = batch.values[kept]
    lengths = torch.bincount(rows[kept], minlength=batch.n_cells)
    totals = torch.zeros_like(batch.size_factor).index_add_(0, rows[kept], values.to(batch.size_factor.dtype))
    measured = batch.measured & genes
    share = torch.where(measured, gene_share, 0.0).sum(dim=1)
    return replace(
        batch,
        values=values,
        indices=batch.indices[kept],
        indptr=nn.functional.pad(lengths.cumsum(0), (1, 0)),
        size_factor=totals,
        measured=measured,
        measured_share=torch.where(share > 0, share, 1.0).clamp(max=1.0),
    )


class SupervisedModule(PretrainModule):
    """The module of pre-training, with a learning rate of its own for the encoder, and macro F1 in validation.

    Parameters
    ----------
    task
        What is trained.
    config
        Settings of the run, as of a pre-training.
    steps_per_epoch
        Optimiser steps per epoch.
    encoder_rate
        Learning rate of the encoder, as a share of the head's.
    """

    def __init__(self, task: LabelTask, config: Config, *, steps_per_epoch: int, encoder_rate: float) -> None:
        super().__init__(task, config, steps_per_epoch=steps_per_epoch)  # type: ignore[arg-type]
        self.encoder_rate = encoder_rate
        self._found: list[Tensor] = []

    @property
    def labels(self) -> LabelTask:
        """What is trained."""
        return cast("LabelTask", self.task)

    def validation_step(self, batch: CellBatch, batch_idx: int) -> None:  # noqa: ARG002
        """Log the loss of one validation batch, and keep its labels."""
        losses, found = self.labels.judge(batch, draw=Draw(self.config.training.seed, VALIDATION_EPOCH))
        self._log_losses("val", losses, batch)
        self._found.append(torch.stack([batch.labels[LABEL], found]))

    def on_validation_epoch_end(self) -> None:
        """Log the macro F1 over the labels that validation cells have."""
        codes, found = torch.cat(self._found, dim=1).cpu()
        self._found = []
        n_classes = self.labels.head.out_features
        support, given = torch.bincount(codes, minlength=n_classes), torch.bincount(found, minlength=n_classes)
        hits = torch.bincount(codes[codes == found], minlength=n_classes)
        there = support > 0
        self.log("val_macro_f1", (2 * hits[there] / (support + given)[there]).mean(), batch_size=1)

    def configure_optimizers(self) -> Any:
        """Return AdamW, one cycle; the encoder has a lower rate, and vectors are not decayed."""
        settings = self.config.optimiser
        groups = [
            {"params": [p for p in part.parameters() if (p.ndim > 1) == decayed], "lr": settings.learning_rate * share,
             "weight_decay": settings.weight_decay if decayed else 0.0}
            for part, share in ((self.labels.encoder, self.encoder_rate), (self.labels.head, 1.0))
            for decayed in (True, False)
        ]  # fmt: skip
        optimiser = torch.optim.AdamW(groups, fused=True)
        schedule = one_cycle(optimiser, n_steps=self.config.training.epochs * self.steps_per_epoch)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@dataclass(frozen=True, kw_only=True)
class SupervisedResult:
    """What supervised training leaves behind, apart from the trained task."""

    history: list[dict[str, float]]
    """One row per epoch."""
    best_epoch: int
    """Epoch whose weights the task now holds, counted from 1."""
    seconds: float
    """Wall time."""
    precision: str
    """``"fp32"`` or ``"bf16"``."""


def fit_labels(
    task: LabelTask, corpus: Corpus, settings: FineTuning, *, encoder_rate: float, seed: int, device: Device = "auto"
) -> SupervisedResult:
    """Train on the labels of a corpus; the task then holds the weights of the last epoch, or with patience of the best.

    Parameters
    ----------
    task
        Task to train, in place.
    corpus
        Cells with the column `LABEL`; `train` is learned from; with patience `val`, if there are any, decides when to
        stop.
    settings
        Settings.
    encoder_rate
        Learning rate of the encoder, as a share of the head's.
    seed
        Of cell order, dropout and gene dropout.
    device
        Where to compute.

    Raises
    ------
    ScsslError
        If the loss stops being a number.
    Interrupted
        (a `KeyboardInterrupt`) If a signal asks to end.
    """
    n_train, n_val = corpus.n_cells("train"), corpus.n_cells("val")
    batch_size = min(n_train, settings.batch_size, max(SMALLEST_BATCH, n_train // FEWEST_STEPS))
    train = corpus.loader(
        split="train", batch_size=batch_size, seed=seed, labels=[LABEL], drop_last=n_train > batch_size
    )
    val = None
    if n_val and settings.patience:
        val = corpus.loader(split="val", batch_size=1024, shuffle=False, labels=[LABEL])
    config = Config(
        optimiser=Optimiser(
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            gradient_clip=settings.gradient_clip,
        ),
        training=Training(epochs=max(settings.epochs, math.ceil(settings.min_steps / len(train))), seed=seed),
    )
    target = resolve_device(device)
    precision = resolve_precision(settings.precision, target)
    best, history, signals = Best(), History(None), Signals()
    autosave = Autosave(None, minutes=math.inf, signals=signals)
    callbacks: list[Any] = [history, Progress(n_train, history), autosave, best]
    if val:
        callbacks.append(EarlyStopping("val_loss", patience=settings.patience))
    with surroundings(target), signals:
        module = SupervisedModule(task, config, steps_per_epoch=len(train), encoder_rate=encoder_rate)
        # Also where this process is one of several, each trains for itself.
        seconds = run(
            module, train, val, epochs=config.training.epochs, precision=precision, device=target, ranks=Ranks(),
            signals=signals, callbacks=callbacks,
        )  # fmt: skip
    if not history.rows or not math.isfinite(history.rows[-1]["train_loss"]):
        message = f"the training loss is not a number: lower learning_rate (it is {settings.learning_rate})"
        raise ScsslError(message)
    best.give(task)
    logger.info("trained on labels for %s; using the weights of epoch %d", duration(seconds), best.epoch)
    return SupervisedResult(history=history.rows, best_epoch=best.epoch, seconds=seconds, precision=precision)


def balanced_weights(counts: Tensor, *, max_weight: float) -> Tensor:
    """Return the weight of a cell of each label, by which labels weigh the same in all, and cells 1 in the mean.

    Parameters
    ----------
    counts
        (n_classes,) training cells of each label.
    max_weight
        Largest weight, before the mean is brought to 1.
    """
    counts = counts.double()
    weights = (counts.sum() / (counts > 0).sum() / counts.clamp(min=1)).clamp(max=max_weight)
    return (weights * counts.sum() / (weights * counts).sum()).float()
