"""Summed counts of each sample and type, with the genes under names that people and gene sets know."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.corpus.sources.source import open_source
from scssl.corpus.sources.values import check_counts, describe_values
from scssl.errors import DataError
from scssl.genes import harmonise, panel_of_files
from scssl.genes.matching import gene_features
from scssl.tasks.pseudobulk import sum_counts

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.genes import GenePanel
    from scssl.tasks.compare.design import Design

ENSEMBL: Final = re.compile(r"(?:^|[_|])ENS[A-Z]{0,6}G\d{11}")
"""In the name of a gene: an ID, alone or after a symbol ("TKT_ENSG00000163931")."""


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """Counts of the cells of each type and sample, summed."""

    counts: sp.csr_matrix
    """(n_types * n_samples, n_genes), types one after the other."""
    n_samples: int
    genes: NDArray[Any]
    """(n_genes,) names as the file has them."""
    symbols: NDArray[Any]
    """(n_genes,) symbols where the names are or hold Ensembl IDs and the gene is known, else the names."""
    panel: GenePanel | None
    """The genes that are known, None if fewer than 50 are."""
    place: NDArray[np.int64]
    """(n_genes,) of each gene on the panel, -1 if it is not there."""

    def of(self, code: int) -> NDArray[np.int64]:
        """Return the counts of a type, (n_samples, n_genes).

        Parameters
        ----------
        code
            Place of the type.
        """
        rows = slice(code * self.n_samples, (code + 1) * self.n_samples)
        return np.asarray(self.counts[rows].toarray(), dtype=np.int64)

    def subset(self, samples: NDArray[np.integer]) -> Bulk:
        """Return the counts of some samples.

        Parameters
        ----------
        samples
            Their places, in the order wanted.
        """
        n_types = self.counts.shape[0] // self.n_samples
        rows = (np.arange(n_types)[:, None] * self.n_samples + np.asarray(samples)[None, :]).reshape(-1)
        return replace(self, counts=self.counts[rows], n_samples=len(samples))


def read_bulk(data: AnnData | Path | str, design: Design, *, layer: str | None) -> Bulk:
    """Sum counts in one pass, in memory that does not grow with the number of cells.

    Parameters
    ----------
    data
        AnnData or file with raw counts.
    design
        Samples and types of the cells.
    layer
        Where the counts are.

    Raises
    ------
    DataError
        If values are no raw counts.
    """
    n_samples, n_types = len(design.samples), len(design.types)
    group = np.where((design.sample >= 0) & (design.type >= 0), design.type * n_samples + design.sample, -1)
    with open_source(data, layer=layer) as source:
        kept = np.flatnonzero(gene_features(source.var))
        total = sp.csr_matrix((n_types * n_samples, len(kept)), dtype=np.int64)
        for rows, chunk in source.chunks():
            check_counts(chunk, file=source.file, layer=layer, first_row=rows.start)
            total = total + sum_counts(chunk[:, kept], group=group[rows], n_groups=n_types * n_samples)
        var, file = source.var.iloc[kept], source.file
    names = np.array([str(name) for name in var.index], dtype=object)
    symbols, place, panel = names.copy(), np.full(len(names), -1, dtype=np.int64), None
    try:
        panel = panel_of_files({file: var}, how="union")
        place = np.asarray(harmonise(var, panel, file=file).index, dtype=np.int64)
        coded = np.array([bool(ENSEMBL.search(name)) for name in names]) & (place >= 0)
        known = panel.symbols[place[coded]]
        symbols[coded] = np.where(known == "", names[coded], known)
    except DataError:
        # Too few genes, or of a species without a table: names stay, and sets of genes have nothing to go by.
        pass
    return Bulk(
        counts=total.astype(np.int64), n_samples=n_samples, genes=names, symbols=symbols, panel=panel, place=place
    )


def refuse_zeros(data: AnnData | Path | str, *, layer: str | None) -> None:
    """Refuse cells without any count, of which not even the number means something.

    Parameters
    ----------
    data
        AnnData or file.
    layer
        Where the counts are.

    Raises
    ------
    DataError
        If a sample of the cells, from all over the file, holds nothing but zeros.
    """
    with open_source(data, layer=layer) as source:
        if describe_values(source).n_values == 0:
            message = f"{source.file}: {layer or 'X'} holds nothing but zeros; give the counts, such as --layer counts"
            raise DataError(message)
