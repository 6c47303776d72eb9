"""Reconstruct expression: denoised, also of genes that a file has not measured, and scored on counts held out.

    python examples/reconstruct.py

Takes about half a minute. The cells are simulated; put your own AnnData with raw counts in their place.
docs/reconstruct.md says what the scores mean, and what reconstructed values are not for.
"""

from __future__ import annotations

import numpy as np

import scssl
from scssl.tasks import Reconstructor


def main(n_cells: int = 3000, n_genes: int = 600, epochs: int = 15) -> dict[str, float]:
    cells = scssl.datasets.simulate_atlas(n_cells, n_genes, n_studies=2)
    donors = sorted(cells.obs["donor"].unique())
    new = cells.obs["donor"].isin(donors[-3:])
    # The new cells were measured on a smaller panel: a fifth of the genes is missing.
    known, query = cells[~new].copy(), cells[new, n_genes // 5 :].copy()

    # A model of counts, which says how far measurements stray from what it expects.
    model = scssl.pretrain(
        known, genes="union", source="study", max_epochs=epochs, overrides=["task.loss=nb"], device="cpu"
    )
    reconstructor = Reconstructor(model)

    # Half of each cell's counts are held out and predicted, by the model and by what one would use otherwise.
    scores = reconstructor.evaluate(query, labels="cell_type")
    print(scores.table[["weighted_explained_variance", "gene_pearson", "poisson_deviance"]])
    print(f"held-out values stray {scores.settings['errors_over_sd']:.2f} times as far as the model says")

    # Beside the cells, for genes that were measured; all genes in obsm.
    reconstructor.predict(query)
    print(query.layers["scssl_expression"].shape, query.obsm["X_scssl_expression"].shape)

    # Genes that the query never measured, against what was really there.
    found = reconstructor.reconstruct(query, wanted=["expression"])
    missing = (~found.genes["measured"] & found.genes["learned"]).to_numpy()
    there = cells[new, found.genes.index[missing]].X.toarray()
    truth = np.log1p(1e4 * there / np.asarray(cells[new].X.sum(axis=1)))
    r = scssl.metrics.agreement(truth, found.expression[:, missing]).pearson
    print(f"{missing.sum()} genes not measured: mean correlation over cells {np.nanmean(r):.2f}")
    return {"zero_shot": scores.scores["zero_shot"].weighted_explained_variance, "unmeasured": float(np.nanmean(r))}


if __name__ == "__main__":
    main()
