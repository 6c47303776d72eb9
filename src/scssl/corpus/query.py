"""Read new cells, from any input, onto a model's gene panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.corpus.batch import CellBatch
from scssl.corpus.sources.inspect import check_counts
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, SettingsError
from scssl.genes import harmonise
from scssl.log import logger
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import scipy.sparse as sp
    from anndata import AnnData

    from scssl.corpus.sources.source import CellSource
    from scssl.genes import GenePanel


FEW_GENES: Final = 0.25
"""Share of a model's genes below which what it says of cells is about fewer genes than it was made for."""


def query_batches(
    data: AnnData | Path | str,
    panel: GenePanel,
    *,
    gene_share: np.ndarray,
    layer: str | None = None,
    batch_size: int = 4096,
    part: tuple[int, int] = (0, 1),
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
    part
        Which part of the cells, from 0, and of how many parts, each of whole batches.

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
        if part[0] == 0:
            _tell_of_few_genes(int(genes.measured.sum()), len(panel), file=source.file)
        empty = 0
        for rows, chunk in _chunks(source, batch_size, part=part):
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
                "%s: %s without counts on the model's genes: their embedding means nothing",
                source.file,
                count(empty, "cell"),
            )


def share_of_part(n_cells: int, batch_size: int, *, part: tuple[int, int]) -> range:
    """Return the cells of one of several parts of about the same size, each of whole batches.

    Parameters
    ----------
    n_cells
        Cells in all.
    batch_size
        Cells in a batch.
    part
        Which part, from 0, and of how many.
    """
    number, n_parts = part
    n_batches = -(-n_cells // batch_size)
    first, last = number * n_batches // n_parts, (number + 1) * n_batches // n_parts
    return range(min(first * batch_size, n_cells), min(last * batch_size, n_cells))


def _chunks(source: CellSource, size: int, *, part: tuple[int, int]) -> Iterator[tuple[slice, sp.csr_matrix]]:
    if part == (0, 1):
        yield from source.chunks(size)
        return
    wanted = share_of_part(source.n_cells, size, part=part)
    if source.by_column:
        # Single rows cannot be read, so each part reads all.
        yield from ((rows, chunk) for rows, chunk in source.chunks(size) if rows.start in wanted)
        return
    for start in range(wanted.start, wanted.stop, size):
        stop = min(start + size, wanted.stop)
        yield slice(start, stop), source.rows(start, stop)


def _tell_of_few_genes(n_measured: int, n_genes: int, *, file: str) -> None:
    if n_measured < FEW_GENES * n_genes:
        logger.warning(
            "%s: measured %s of the model's %s genes: codes are less sure, and less like those of files that measured "
            "others; a model on these genes would do better", file, f"{n_measured:,}", f"{n_genes:,}",
        )  # fmt: skip
