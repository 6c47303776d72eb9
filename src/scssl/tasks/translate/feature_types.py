"""Proteins or peaks that lie among the features of X, beside the genes: matrices of 10x, and what was read of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.corpus.sources.source import open_source
from scssl.errors import DataError
from scssl.genes.matching import other_features

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

USUAL: Final = {"protein": ("Antibody Capture",), "atac": ("Peaks", "Chromatin Accessibility")}


def features(data: AnnData | Path | str, kind: str, *, layer: str | None) -> tuple[sp.csr_matrix, list[str]]:
    """Read the features of one type, as far as the counts of all cells fit into memory.

    Parameters
    ----------
    data
        AnnData or file.
    kind
        As in ``var["feature_types"]``.
    layer
        Where the counts are; X if None.

    Returns
    -------
    values : scipy.sparse.csr_matrix
        (n_cells, n_features).
    names : list of str
        (n_features,).

    Raises
    ------
    DataError
        If there are none of this type.
    """
    with open_source(data, layer=layer, obs_columns=[]) as source:
        kinds = other_features(source.var)
        chosen = np.flatnonzero(kinds == kind)
        if not chosen.size:
            there = ", ".join(f"features:{name}" for name in sorted(set(kinds) - {""})) or "genes alone"
            message = f"{source.file}: has no features of type {kind!r}; there are: {there}"
            raise DataError(message)
        values: Any = sp.vstack([chunk[:, chosen] for _, chunk in source.chunks()], format="csr")
        return values, [str(name) for name in source.var.index[chosen]]
