"""Which cells are of too low quality to keep: few counts, few genes, or mostly mitochondrial."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.genes.matching import text_columns
from scssl.genes.tables import SPECIES, gene_table

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from scssl.corpus.settings import BuildSettings

REASONS: Final = ("few counts", "few genes", "mitochondrial")
PREFIX: Final = "MT-"


def low_quality(
    X: sp.csr_matrix, settings: BuildSettings, *, genes: NDArray[np.bool_], mitochondrial: NDArray[np.bool_] | None
) -> NDArray[np.int8]:
    """Say of each cell why it is left out.

    Parameters
    ----------
    X
        (n_cells, n_features) raw counts of all features of a file, on the panel or not.
    settings
        The limits.
    genes
        (n_features,) which features are genes at all.
    mitochondrial
        (n_features,) which are mitochondrial genes; None where the share of these does not matter.

    Returns
    -------
    numpy.ndarray
        (n_cells,) int8: position in `REASONS` of the first that applies, -1 for cells to keep.
    """
    counted = genes[X.indices] & (X.data > 0)
    row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    values = np.where(counted, X.data, 0)
    totals = np.bincount(row, weights=values, minlength=X.shape[0])
    n_genes = np.bincount(row[counted], minlength=X.shape[0])
    reason = np.full(X.shape[0], -1, dtype=np.int8)
    if mitochondrial is not None:
        part = np.bincount(row, weights=np.where(mitochondrial[X.indices], values, 0), minlength=X.shape[0])
        reason[part > settings.max_mito * totals] = REASONS.index("mitochondrial")
    reason[n_genes < settings.min_genes] = REASONS.index("few genes")
    reason[totals < settings.min_counts] = REASONS.index("few counts")
    return reason


def mitochondrial_features(var: pd.DataFrame) -> NDArray[np.bool_]:
    """(n_features,) whether a feature is a gene of the mitochondrial genome, by symbol (``MT-...``) or Ensembl ID.

    Parameters
    ----------
    var
        Features of a file.
    """
    ids = _mitochondrial_ids()
    found = np.zeros(len(var), dtype=bool)
    for _, names in text_columns(var).items():
        plain = [str(name).upper() for name in names]
        found |= np.array([name.startswith(PREFIX) or name.partition(".")[0] in ids for name in plain], dtype=bool)
    return found


@cache
def _mitochondrial_ids() -> frozenset[str]:
    found = set()
    for species in SPECIES:
        table = gene_table(species)
        found |= {i.upper() for i, s in zip(table.ids, table.symbols, strict=True) if s.upper().startswith(PREFIX)}
    return frozenset(found)
