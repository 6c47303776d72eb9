"""What a corpus says of its genes before training starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scssl.nn.inputs import normalised_values

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus import Corpus

MAX_CELLS = 50_000
"""Cells that the moments are taken over: a random draw that pins them far better than an encoder needs."""


def gene_moments(corpus: Corpus, *, target_sum: float = 1e4, max_cells: int = MAX_CELLS) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each gene's log1p value among the training cells whose source measured it.

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
    mean, variance : Tensor
        (n_genes,) float32 each; 0 for genes that no cell measured.
    """
    n_genes = len(corpus.panel)
    sums = torch.zeros(2, n_genes, dtype=torch.float64)
    cells = torch.zeros(n_genes, dtype=torch.float64)
    seen = 0
    for batch in corpus.loader(split="train", batch_size=min(1024, max_cells), seed=0):
        values = normalised_values(batch, target_sum=target_sum)[0].double()
        genes = batch.indices.int()
        sums[0].index_add_(0, genes, values)
        sums[1].index_add_(0, genes, values.square())
        per_row = torch.bincount(batch.measured_row, minlength=len(batch.measured)).double()
        cells += per_row @ batch.measured.double()
        seen += batch.n_cells
        if seen >= max_cells:
            break
    mean, square = sums / cells.clamp(min=1)
    return mean.float(), (square - mean.square()).clamp(min=0).float()
