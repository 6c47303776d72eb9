"""Pre-train on unlabelled cells of some donors, then label cells of other donors by their nearest labelled neighbours.

    python examples/pretrain_and_annotate.py

Takes about 20 seconds. The cells are simulated; put your own AnnData with raw counts in their place. With the 3,000
cells and ten epochs of this example PCA is ahead (macro F1 0.80 against 0.75): so few cells teach little. `scssl demo`
has more.
"""

from __future__ import annotations

import scssl
from scssl.study import pca_knn
from scssl.tasks import Annotator


def main(n_cells: int = 3000, n_genes: int = 1000, epochs: int = 10) -> dict[str, float]:
    cells = scssl.datasets.simulate_atlas(n_cells, n_genes)
    donors = sorted(cells.obs["donor"].unique())
    new = cells.obs["donor"].isin(donors[-3:])
    known, query = cells[~new].copy(), cells[new].copy()

    # No labels are used here, and no cell of the three new donors.
    model = scssl.pretrain(known, genes="union", source="study", max_epochs=epochs)

    # Ten labelled cells per type are all that the annotator gets.
    few = known[known.obs.groupby("cell_type", observed=True).sample(10, random_state=0).index].copy()
    annotator = Annotator(model).fit(few, labels="cell_type")
    annotator.predict(query)
    print(query.obs[["cell_type", "scssl_label", "scssl_confidence"]].head())

    scores = {
        "pre-trained model": annotator.evaluate(query, truth="cell_type").macro_f1,
        "PCA": pca_knn(few, query, panel=model.panel, fit_on=known).score("cell_type").macro_f1,
    }
    for method, score in scores.items():
        print(f"{method}: macro F1 {score:.3f}")
    return scores


if __name__ == "__main__":
    main()
