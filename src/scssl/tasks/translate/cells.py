"""The RNA of a reference on a model's genes, held in memory, so that it can be trained on in any order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch

from scssl.corpus.batch import CellBatch
from scssl.nn.inputs import normalised_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import Tensor

    from scssl.model.cell_model import CellModel

CHUNK = 4096


def fingerprint(totals: Iterable[NDArray[np.integer] | NDArray[np.floating]]) -> str:
    """Return what tells whether cells are the same again: a digest of their totals, given in parts.

    Parameters
    ----------
    totals
        (n_cells,) counts on the model's genes, of one part of the cells after the other.
    """
    digest = hashlib.sha256()
    for part in totals:
        digest.update(np.asarray(part, dtype="<f4").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Raw counts of cells over the panel of a model."""

    counts: sp.csr_matrix
    """(n_cells, n_genes)."""
    measured: NDArray[np.bool_]
    """(n_genes,)."""
    measured_share: float
    """Share of a typical cell's counts that falls on the measured genes, as the model knows it."""

    @classmethod
    def read(cls, data: AnnData | Path | str, model: CellModel, *, layer: str | None) -> Cells:
        """Read all cells, checked as any query is."""
        values, indices, lengths = [], [], []
        for batch in model.batches(data, layer=layer, batch_size=CHUNK):
            values.append(batch.values.numpy())
            indices.append(batch.indices.numpy())
            lengths.append(np.diff(batch.indptr.numpy()))
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        n_cells, n_genes = len(indptr) - 1, len(model.panel)
        counts = sp.csr_matrix(
            (np.concatenate(values), np.concatenate(indices), indptr), shape=(n_cells, n_genes), copy=False
        )
        return cls(counts=counts, measured=batch.measured[0].numpy(), measured_share=float(batch.measured_share[0]))

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    @property
    def totals(self) -> NDArray[np.int64]:
        """(n_cells,) counts on the model's genes."""
        return np.asarray(self.counts.sum(axis=1), dtype=np.int64).ravel()

    @property
    def fingerprint(self) -> str:
        """Of the totals of all cells, in order."""
        return fingerprint([self.totals])

    def at(self, rows: NDArray[np.int64]) -> Cells:
        """Return some of the cells."""
        return Cells(counts=self.counts[rows], measured=self.measured, measured_share=self.measured_share)

    def batch(self, rows: NDArray[np.int64]) -> CellBatch:
        """Return some of the cells as an encoder reads them."""
        return CellBatch.from_csr(
            self.counts[rows], cell=rows, measured=self.measured, measured_share=self.measured_share
        )

    def batches(self, size: int = CHUNK) -> Iterator[CellBatch]:
        """Go through all cells in order."""
        for start in range(0, len(self), size):
            yield self.batch(np.arange(start, min(start + size, len(self))))

    def moments(self, *, target_sum: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance of each gene's log1p value, and its share of all counts: what a new model starts of.

        Parameters
        ----------
        target_sum
            Total to which each cell's counts are scaled before log1p.
        """
        sums = torch.zeros(2, self.counts.shape[1], dtype=torch.float64)
        for batch in self.batches():
            values = normalised_values(batch, target_sum=target_sum)[0].double()
            genes = batch.indices.int()
            sums[0].index_add_(0, genes, values)
            sums[1].index_add_(0, genes, values.square())
        mean, square = sums / len(self)
        share = np.asarray(self.counts.sum(axis=0), dtype=np.float64).ravel()
        return (
            mean.float(),
            (square - mean.square()).clamp(min=0).float(),
            torch.from_numpy((share / share.sum()).astype(np.float32)),
        )
