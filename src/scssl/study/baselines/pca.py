"""PCA and nearest neighbours: the baseline that needs no pre-training, scored in the same way as a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.corpus.sources.source import open_source
from scssl.errors import DataError
from scssl.genes import harmonise, load_panel
from scssl.tasks.annotate import Annotator
from scssl.tasks.annotate.labels import UNLABELLED
from scssl.tasks.pca import PCAEncoder

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from anndata import AnnData

    from scssl.corpus import Corpus
    from scssl.genes import GenePanel
    from scssl.tasks.annotate.annotation import Annotation


def pca_knn(
    reference: AnnData | Path | str,
    query: AnnData | Path | str,
    *,
    labels: str = "cell_type",
    panel: GenePanel | Path | str = "human",
    fit_on: AnnData | Corpus | Path | str | None = None,
    k: int = 5,
    n_components: int = 50,
    n_top_genes: int | None = None,
    layer: str | None = None,
    reference_layer: str | None = None,
    unlabelled: Collection[str] = UNLABELLED,
    seed: int = 0,
) -> Annotation:
    """Label a query by PCA and nearest neighbours, on the cells and genes that a model is given.

    Only genes that reference and query both measured are used: genes missing from one of them would set the two apart.

    Parameters
    ----------
    reference, query
        AnnData or file with raw counts.
    labels
        Column of the reference's ``obs``.
    panel
        Genes of the model to compare with.
    fit_on
        Cells to find the components on; the reference by default. The model's corpus makes the comparison one of
        methods, not of amounts of data.
    k, n_components, n_top_genes, seed
        See `Annotator` and `PCAEncoder`.
    layer, reference_layer
        Where the counts of query and reference are.
    unlabelled
        Names in `labels` that mean "not known".

    Returns
    -------
    scssl.tasks.Annotation
        Labels, confidence and embedding of the query; ``.score(truth)`` scores them.
    """
    genes = load_panel(panel)
    shared = np.ones(len(genes), dtype=bool)
    for data, where in ((reference, reference_layer), (query, layer)):
        with open_source(data, layer=where) as source:
            shared &= harmonise(source.var, genes, file=source.name).measured
    if shared.sum() < 3:
        message = f"reference and query share {shared.sum()} genes of the panel {genes.name!r}; nothing can be compared"
        raise DataError(message)
    encoder = PCAEncoder(genes, n_components=n_components, n_top_genes=n_top_genes, genes=shared, seed=seed)
    encoder.fit(reference if fit_on is None else fit_on, layer=reference_layer if fit_on is None else None)
    # Scored by its best guesses alone: what else an annotator says of them is not asked for.
    annotator = Annotator(encoder, k=k, calibrate="never")
    annotator.fit(reference, labels=labels, layer=reference_layer, unlabelled=unlabelled)
    annotator.model_name = "PCA"
    return annotator.annotate(query, layer=layer)
