"""What is known of cells beside their embedding: how many counts they have, and which genes were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scssl.corpus.sources.source import open_source

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.genes import GenePanel


class Quality(NamedTuple):
    """Counts of cells on a panel."""

    obs: pd.DataFrame
    """Annotation of the cells."""
    file: str
    """What they are called in messages."""
    n_counts: NDArray[np.float64]
    """(n_cells,) total."""
    measured: NDArray[np.bool_]
    """(n_genes,) genes of the panel that were measured."""

    @property
    def empty(self) -> NDArray[np.bool_]:
        """(n_cells,) cells without any count: where they lie in an embedding means nothing."""
        empty: NDArray[np.bool_] = self.n_counts == 0
        return empty

    def scaled_counts(self, model: Any) -> NDArray[np.float64]:
        """(n_cells,) counts as they would be had all genes of a model been measured, so that data sets compare."""
        share = 1.0
        if hasattr(model, "encoder"):
            share = float(model.encoder.gene_share.cpu().numpy()[self.measured].sum())
        return self.n_counts / min(share or 1.0, 1.0)

    def known_variance(self, model: Any) -> float:
        """Share of the variance a model knows that the measured genes carry; 1 for a baseline, which does not say."""
        if not hasattr(model, "encoder"):
            return 1.0
        share = model.encoder.states.variance_share.cpu().numpy()
        # An imported network does not say what its genes are worth: all the same.
        return float(share[self.measured].sum()) if share.any() else float(self.measured.mean())


def read_quality(data: AnnData | Path | str, panel: GenePanel, *, layer: str | None) -> Quality:
    """Read cells once, in bounded memory, and count.

    Parameters
    ----------
    data
        AnnData or file with raw counts.
    panel
        Genes of the model.
    layer
        Where the counts are.
    """
    from scssl.genes import harmonise

    with open_source(data, layer=layer) as source:
        genes = harmonise(source.var, panel, file=source.file)
        on_panel = (genes.index >= 0).astype(np.float32)
        n_counts = np.zeros(source.n_cells)
        for rows, counts in source.chunks():
            n_counts[rows] = counts @ on_panel
        return Quality(source.obs, source.file, n_counts, genes.measured)
