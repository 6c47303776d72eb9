"""The settings of supervised training: a frozen dataclass like those of pre-training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scssl.errors import require


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How an encoder and a linear head are trained on labels. Seed and device are given where it is started."""

    epochs: int = 5
    """Passes over the training cells."""
    min_steps: int = 200
    """More passes are made where that would be fewer optimiser steps than this."""
    scratch_passes: float = 2.0
    """A network that starts at random makes this many times the passes and steps."""
    scratch_rate: float = 0.3
    """And its learning rate is this share of `learning_rate`, for encoder and head."""
    batch_size: int = 256
    """Cells per step; less where an epoch would have fewer than ten steps."""
    learning_rate: float = 1e-3
    """Highest learning rate, of the head."""
    encoder_rate: float = 0.3
    """Learning rate of a pre-trained encoder, as a share of the head's."""
    softened: float = 0.3
    """What the scores of the linear probe are multiplied by where fine-tuning starts from it: a probe that is sure of
    its labels leaves nothing to learn."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; 0 for none."""
    max_weight: float = 20.0
    """Where labels are balanced, a cell of a rare one weighs at most this many times what it would without."""
    label_smoothing: float = 0.0
    """Share of each label that is spread over all of them."""
    gene_dropout: float = 0.5
    """Share of the batches in which all but a random part of the genes count as not measured, so that cells in which
    fewer genes were measured are labelled well, too."""
    dropout: float = 0.1
    """Share of the code's units dropped before the head while training; the encoder has its own dropout."""
    blends: tuple[float, ...] = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)
    """Shares of the way from the linear probe (0), where fine-tuning starts, to the fine-tuned weights (1). They
    compete on cells that neither learned from; one alone is taken as it is. Not for networks that start at random."""
    cross_fitted: int = 1000
    """At most so many labelled cells are held out in up to five folds, so that all have a say; of more, `val` once."""
    val: float = 0.15
    """Share of the cells, by whole donors, that are held out where there are many. The training is then done once more
    on all cells. 0 holds none out."""
    patience: int = 0
    """Stop after this many epochs without a better loss of the cells held out, take the best epoch, and do not train
    again: `val` of the cells are not learned from. 0 trains to the end."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the matrix products, as in pre-training."""

    def cells_seen(self, n_cells: int, *, scratch: bool = False) -> float:
        """Return about how many cells go through the network until labels are learned, those seen again included.

        Parameters
        ----------
        n_cells
            Labelled cells.
        scratch
            Whether the network starts at random, and nothing competes with it.
        """
        once = max(self.epochs * n_cells, self.min_steps * self._batch(n_cells))
        if scratch:
            return self.scratch_passes * once
        held_out = (5 if n_cells <= self.cross_fitted else 1) if len(self.blends) > 1 else 0
        return (1 + held_out) * once

    def steps(self, n_cells: int, *, scratch: bool = False) -> float:
        """Return about how many steps of the optimiser are made until labels are learned.

        Parameters
        ----------
        n_cells, scratch
            As for `cells_seen`.
        """
        return self.cells_seen(n_cells, scratch=scratch) / self._batch(n_cells)

    def _batch(self, n_cells: int) -> int:
        return min(self.batch_size, max(1, n_cells // 10))

    def __post_init__(self) -> None:
        for name, least in {"epochs": 1, "min_steps": 1, "batch_size": 1, "patience": 0, "cross_fitted": 0}.items():
            value = getattr(self, name)
            require(f"finetuning.{name}", value, holds=value >= least, must=f"a whole number, {least} or more")
        for name in ("learning_rate", "encoder_rate", "max_weight", "scratch_passes", "scratch_rate", "softened"):
            value = getattr(self, name)
            require(f"finetuning.{name}", value, holds=0 < value < math.inf, must="a number above 0")
        for name in ("weight_decay", "gradient_clip"):
            value = getattr(self, name)
            require(f"finetuning.{name}", value, holds=0 <= value < math.inf, must="a number, 0 or more")
        for name in ("label_smoothing", "dropout", "val"):
            value = getattr(self, name)
            require(f"finetuning.{name}", value, holds=0 <= value < 1, must="a share: 0 or more, and less than 1")
        good = bool(self.blends) and all(0 <= share <= 1 for share in self.blends)
        require("finetuning.blends", list(self.blends), holds=good, must="one or more shares, from 0 to 1")
        value = self.gene_dropout
        require("finetuning.gene_dropout", value, holds=0 <= value <= 1, must="a share, from 0 to 1")
