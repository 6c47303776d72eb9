"""Some cells of a file on a model's panel, few enough to be held in memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from scssl.corpus.batch import CellBatch
from scssl.corpus.sources.source import open_source
from scssl.tasks.reconstruct.holdout import Sample

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray


class Drawn(NamedTuple):
    """Cells drawn from a file, and what is known of the whole."""

    sample: Sample
    obs: pd.DataFrame
    """Annotation of the cells drawn."""
    file: str
    n_cells: int
    """Cells in the file."""
    fingerprint: str
    """Of the totals of all cells of the file: tells whether cells are the same again."""


def draw(model: Any, data: AnnData | Path | str, *, layer: str | None, max_cells: int, seed: int) -> Drawn:
    """Read all cells once, in bounded memory, and keep some of those that have counts.

    Parameters
    ----------
    model
        Whose panel to read onto.
    data
        AnnData or file with raw counts.
    layer
        Where the counts are.
    max_cells
        Cells to keep.
    seed
        Of the draw.
    """
    with open_source(data, layer=layer, obs_columns=None) as source:
        n_cells, obs, file = source.n_cells, source.obs, source.file
    order = np.random.default_rng(seed).permutation(n_cells)
    kept = np.zeros(n_cells, dtype=bool)
    kept[order[:max_cells]] = True
    parts: list[sp.csr_matrix] = []
    rows: list[NDArray[np.int64]] = []
    digest, start = hashlib.sha256(), 0
    measured, share = np.ones(len(model.panel), dtype=bool), 1.0
    for batch in model.batches(data, layer=layer):
        measured, share = batch.measured[0].numpy(), float(batch.measured_share[0])
        totals = batch.size_factor.numpy()
        digest.update(totals.tobytes())
        here = np.flatnonzero(kept[start : start + batch.n_cells] & (totals > 0))
        parts.append(counts_of(batch)[here])
        rows.append(start + here)
        start += batch.n_cells
    counts = sp.vstack(parts, format="csr")
    return Drawn(
        Sample(counts=counts, measured=measured, measured_share=share),
        obs.iloc[np.concatenate(rows)],
        file,
        n_cells,
        digest.hexdigest(),
    )


def counts_of(batch: CellBatch) -> sp.csr_matrix:
    """(n_cells, n_genes) the counts of a batch."""
    arrays = (batch.values.numpy().astype(np.float32), batch.indices.numpy().astype(np.int32), batch.indptr.numpy())
    return sp.csr_matrix(arrays, shape=(batch.n_cells, batch.n_genes))


def batch_of(counts: sp.csr_matrix, sample: Sample, *, total: NDArray[np.floating]) -> CellBatch:
    """Make a batch of some counts of a sample.

    Parameters
    ----------
    counts
        (n_cells, n_genes).
    sample
        Where they are from.
    total
        (n_cells,) to which the counts of each cell add up, or would if no entry were hidden.
    """
    from dataclasses import replace

    import torch

    batch = CellBatch.from_csr(counts, measured=sample.measured, measured_share=sample.measured_share)
    return replace(batch, size_factor=torch.from_numpy(np.asarray(total, dtype=np.float32)))
