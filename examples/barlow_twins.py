"""Pre-train by making each dimension agree between two views of a cell, and differ from the others.

    python examples/barlow_twins.py

Takes about half a minute. The cells are simulated; put your own AnnData with raw counts in their place.
docs/tasks/barlow_twins.md says what the settings and the columns mean.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

import scssl
from scssl.study import pca_knn
from scssl.tasks import Annotator


def main(n_cells: int = 3000, n_genes: int = 1000, epochs: int = 10) -> dict[str, float]:
    cells = scssl.datasets.simulate_atlas(n_cells, n_genes)
    donors = sorted(cells.obs["donor"].unique())
    new = cells.obs["donor"].isin(donors[-3:])
    known, query = cells[~new].copy(), cells[new].copy()

    # How much it costs that two dimensions say the same.
    settings = ["task.redundancy=0.0051"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        model = scssl.pretrain(
            known,
            pretext="barlow_twins",
            genes="union",
            source="study",
            max_epochs=epochs,
            overrides=settings,
            out=out,
        )
        history = pd.read_csv(out / "history.csv")
    columns = ["epoch", "train_loss", "train_agreement", "train_redundancy", "train_code_dimensions"]
    print(history[columns].to_string(index=False))

    # Ten labelled cells per type are all that either method gets.
    few = known[known.obs.groupby("cell_type", observed=True).sample(10, random_state=0).index].copy()
    annotator = Annotator(model).fit(few, labels="cell_type")
    annotator.predict(query)
    scores = {
        "barlow_twins": annotator.evaluate(query, truth="cell_type").macro_f1,
        "PCA": pca_knn(few, query, panel=model.panel, fit_on=known).score("cell_type").macro_f1,
    }
    for method, score in scores.items():
        print(f"{method}: macro F1 {score:.3f}")
    return scores


if __name__ == "__main__":
    main()
