"""Read new cells, from any input, onto a model's gene panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.corpus.batch import CellBatch
from scssl.corpus.sources.inspect import check_counts
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, SettingsError
from scssl.genes import harmonise
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData

    from scssl.genes import GenePanel


def query_batches(
    data: AnnData | Path | str,
    panel: GenePanel,
    *,
    gene_share: np.ndarray,
    layer: str | None = None,
    batch_size: int = 4096,
) -> Iterator[CellBatch]:
    """Yield cells over a panel, in order, in bounded memory.

    Parameters
    ----------
    data
        AnnData or file with raw counts.
    panel
        Genes to read onto.
    gene_share
        (n_genes,) share of a typical cell's counts per gene, from the corpus of the model.
    layer
        Where the counts are: None for ``X``, ``"raw"``, or the name of a layer.
    batch_size
        Cells per batch.

    Yields
    ------
    CellBatch
        Sources are -1: the model has not seen them.

    Raises
    ------
    SettingsError
        If the batch size is not positive.
    DataError
        If values are not counts, the genes do not fit the panel, or no cell has counts on it.
    """
    if batch_size < 1:
        message = f"batch_size={batch_size} is not possible; it must be at least 1"
        raise SettingsError(message)
    with open_source(data, layer=layer) as source:
        genes = harmonise(source.var, panel, file=source.file)
        share = float(gene_share[genes.measured].sum()) or 1.0
        empty = 0
        for rows, chunk in source.chunks(batch_size):
            check_counts(chunk, file=source.file, layer=layer, first_row=rows.start)
            genes.check_counts_share(chunk)
            counts = genes.apply(chunk)
            cells = np.arange(rows.start, rows.stop)
            batch = CellBatch.from_csr(counts, cell=cells, measured=genes.measured, measured_share=min(share, 1.0))
            empty += int((batch.size_factor == 0).sum())
            yield batch
        if empty == source.n_cells:
            message = f"{source.file}: no cell has counts on the model's genes; look at the file with: scssl check"
            raise DataError(message)
        if empty:
            logger.warning(
                "%s: %d cells have no counts on the model's genes; their embeddings mean nothing", source.file, empty
            )
