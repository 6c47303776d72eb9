"""What the embedding is worth while it is being learned: its spread, its rank, and labels of its neighbours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from scssl.log import logger
from scssl.metrics.classification import classification_scores
from scssl.metrics.embedding import effective_rank, mean_spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.corpus import Corpus
    from scssl.corpus.batch import CellBatch

MAX_CELLS = 2000
"""Cells of each split that are looked at."""
COLLAPSED = 0.05
"""Share of the code's dimensions, below which the embedding is called collapsed."""
FEWEST = 10
"""Cells of which it can be said: those of two span one dimension, whatever the embedding."""
NEIGHBOURS = 5
GUESSED = ("cell_type", "celltype", "cell_types", "annotation")


def label_column(corpus: Corpus, wanted: str) -> str | None:
    """Return the kept column with the labels to look at: the one asked for, or one that looks like cell types."""
    if wanted:
        return wanted if wanted in corpus.categories else None
    return next((name for name in GUESSED if len(corpus.categories.get(name, ())) > 1), None)


class Watch(Callback):
    """Log, after each epoch, what the embedding of some validation cells looks like.

    ``code_std`` and ``code_rank`` are the mean standard deviation and the effective rank of the codes; a rank near 1
    means that the embedding has collapsed, which is said once. Every few epochs ``probe_macro_f1`` is the score of the
    nearest labelled training cells, if the corpus has labels: the labels guide nothing, they only show how it goes.

    Parameters
    ----------
    corpus
        Where the cells are.
    labels
        Kept column with cell types; None for no probe.
    every
        Epochs between probes.
    seed
        Of the choice of cells.
    """

    def __init__(self, corpus: Corpus, *, labels: str | None, every: int, seed: int) -> None:
        self._corpus, self._labels, self._every, self._seed = corpus, labels, every, seed
        self._cells: dict[str, list[CellBatch]] = {}
        self._warned = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the embedding."""
        if not trainer.is_global_zero:
            return
        watched = "val" if self._corpus.n_cells("val") else "train"
        codes, labels = self._embed(pl_module, watched)
        if not np.isfinite(codes).all():
            return  # the loss tells of it
        values = {"code_std": mean_spread(codes), "code_rank": effective_rank(codes)}
        low = max(1.5, COLLAPSED * min(codes.shape[1], len(codes) - 1))
        if values["code_rank"] < low and len(codes) >= FEWEST and not self._warned:
            self._warned = True
            logger.warning(
                "the embedding uses %.1f of its %d dimensions: it is collapsing, and its neighbours will mean little; "
                "lower optimiser.learning_rate, or choose another pretext task",
                values["code_rank"],
                codes.shape[1],
            )
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if self._labels is not None and watched == "val":
            # Not a number where it was not looked at: Lightning would repeat the last value.
            now = last or (trainer.current_epoch + 1) % self._every == 0
            values["probe_macro_f1"] = self._probe(pl_module, codes, labels) if now else math.nan
        pl_module.log_dict(values, on_step=False, on_epoch=True, batch_size=1, rank_zero_only=True)

    def _probe(self, module: LightningModule, codes: NDArray[Any], labels: NDArray[Any]) -> float:
        from sklearn.neighbors import KNeighborsClassifier

        reference, known = self._embed(module, "train")
        # Where all cells looked at are of one type, any embedding would score 1.
        if (known >= 0).sum() < NEIGHBOURS or len(np.unique(labels[labels >= 0])) < 2:
            return math.nan
        assert self._labels is not None
        names = np.array(self._corpus.categories[self._labels], dtype=object)
        neighbours = KNeighborsClassifier(NEIGHBOURS).fit(reference[known >= 0], known[known >= 0])
        predicted = neighbours.predict(codes[labels >= 0])
        return classification_scores(names[labels[labels >= 0]], names[predicted]).macro_f1

    def _embed(self, module: Any, split: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Codes of some cells, nothing hidden, and their label codes, -1 where there is none."""
        if split not in self._cells:
            columns = [] if self._labels is None else [self._labels]
            loader = self._corpus.loader(split=split, batch_size=500, seed=self._seed, labels=columns)
            self._cells[split] = [batch for _, batch in zip(range(MAX_CELLS // 500), loader, strict=False)]
        encoder = module.task.encoder
        training = encoder.training
        encoder.eval()
        with torch.no_grad():
            codes = [encoder.embed(batch.to(module.device)).float().cpu().numpy() for batch in self._cells[split]]
        encoder.train(training)
        labels = [
            np.full(batch.n_cells, -1) if self._labels is None else batch.labels[self._labels].numpy()
            for batch in self._cells[split]
        ]
        return np.concatenate(codes), np.concatenate(labels)
