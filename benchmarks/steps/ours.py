"""Steps of this package, as its Lightning module takes them, on batches that are in memory."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from scssl.corpus.batch import CellBatch
from scssl.pretext import Draw
from scssl.training import build_task, choose_config


def batch(n_cells: int, n_genes: int, *, seed: int, density: float = 0.104) -> CellBatch:
    """Draw cells as sparse as real ones: about a tenth of the genes seen in each, mostly once or twice."""
    rng = np.random.default_rng(seed)
    n_seen = int(density * n_genes)
    weight = rng.gamma(0.5, size=n_genes) + 1e-3
    # The genes with the smallest exponential clocks are a draw without replacement, by weight.
    indices = np.concatenate(
        [np.sort(np.argpartition(rng.exponential(size=n_genes) / weight, n_seen)[:n_seen]) for _ in range(n_cells)]
    )
    counts = rng.geometric(0.5, indices.size).astype(np.uint16)
    indptr = np.arange(n_cells + 1) * n_seen
    made = sp.csr_matrix((counts, indices, indptr), shape=(n_cells, n_genes))
    return CellBatch.from_csr(made, cell=np.arange(n_cells) + seed * n_cells)


class Ours:
    """Steps of a pretext task.

    Parameters
    ----------
    batches
        Cells.
    pretext
        Name of the task.
    overrides
        Settings.
    bf16
        Under autocast.
    """

    def __init__(
        self, batches: list[CellBatch], *, pretext: str = "masked", overrides: tuple[str, ...] = (), bf16: bool = True
    ) -> None:
        self._batches, self._bf16 = batches, bf16
        config = choose_config(preset="richter2024", pretext=pretext, overrides=overrides)
        torch.manual_seed(0)
        self.task = build_task(config, n_genes=batches[0].n_genes, n_sources=1).train()
        self._optimiser = torch.optim.AdamW([p for p in self.task.parameters() if p.requires_grad], fused=True)

    def step(self, number: int) -> None:
        """Take a step."""
        self.on(self._batches[number % len(self._batches)], number)

    def on(self, cells: CellBatch, number: int) -> None:
        """Take a step on a batch."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._bf16):
            loss = self.task.losses(cells, draw=Draw(0, number))["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.task.parameters(), 1.0)
        self._optimiser.step()
        self.task.after_step(progress=0.5)
        self._optimiser.zero_grad(set_to_none=True)


class FineTuning(Ours):
    """Steps of training on labels, 20 of them."""

    def __init__(self, batches: list[CellBatch]) -> None:
        from dataclasses import replace

        from scssl.training.finetuning import FineTuning as Settings
        from scssl.training.supervised import LABEL, LabelTask

        super().__init__(batches)
        labels = torch.arange(batches[0].n_cells) % 20
        self._batches = [replace(b, labels={LABEL: labels}) for b in batches]
        self.task = LabelTask(
            self.task.encoder, n_classes=20, settings=Settings(gene_dropout=0.0), class_weight=torch.ones(20)
        ).train()
        self._optimiser = torch.optim.AdamW(self.task.parameters(), fused=True)


class Embedding(Ours):
    """Embedding cells, as `CellModel.embed` does once it has read them."""

    def step(self, number: int) -> None:
        """Embed a batch."""
        with torch.inference_mode():
            self.task.encoder.eval().embed(self._batches[number % len(self._batches)])
