"""What a corpus says of its genes before training starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scssl.nn.inputs import normalised_values

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus import Corpus

MAX_CELLS = 50_000
"""Cells that the means are taken over: a random draw that pins them far better than an encoder needs."""


def gene_mean(corpus: Corpus, *, target_sum: float = 1e4, max_cells: int = MAX_CELLS) -> Tensor:
    """Return each gene's mean log1p value among the training cells whose source measured it.

    Parameters
    ----------
    corpus
        Cells; at most `max_cells` of the `train` split are read.
    target_sum
        Total to which each cell's counts are scaled before log1p.
    max_cells
        Cells to read.

    Returns
    -------
    Tensor
        (n_genes,) float32; 0 for genes that no cell measured.
    """
    n_genes = len(corpus.panel)
    total = torch.zeros(n_genes, dtype=torch.float64)
    cells = torch.zeros(n_genes, dtype=torch.float64)
    seen = 0
    for batch in corpus.loader(split="train", batch_size=min(4096, max_cells), seed=0):
        values, _ = normalised_values(batch, target_sum=target_sum)
        total.index_add_(0, batch.indices, values.double())
        per_row = torch.bincount(batch.measured_row, minlength=len(batch.measured)).double()
        cells += per_row @ batch.measured.double()
        seen += batch.n_cells
        if seen >= max_cells:
            break
    return (total / cells.clamp(min=1)).float()
