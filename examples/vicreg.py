"""Pre-train by bringing two views of a cell together, while every dimension varies and none repeats another.

    python examples/vicreg.py

Takes about half a minute. The cells are simulated; put your own AnnData with raw counts in their place.
docs/tasks/vicreg.md says what the settings and the columns mean.
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

    # Weights of the three parts of the loss: their ratios matter, not their size.
    settings = ["task.invariance=25", "task.variance=25", "task.covariance=1"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        model = scssl.pretrain(
            known,
            pretext="vicreg",
            genes="union",
            source="study",
            max_epochs=epochs,
            overrides=settings,
            out=out,
        )
        history = pd.read_csv(out / "history.csv")
    columns = ["epoch", "train_loss", "train_invariance", "train_variance", "train_covariance", "train_code_dimensions"]
    print(history[columns].to_string(index=False))

    # Ten labelled cells per type are all that either method gets.
    few = known[known.obs.groupby("cell_type", observed=True).sample(10, random_state=0).index].copy()
    annotator = Annotator(model).fit(few, labels="cell_type")
    annotator.predict(query)
    scores = {
        "vicreg": annotator.evaluate(query, truth="cell_type").macro_f1,
        "PCA": pca_knn(few, query, panel=model.panel, fit_on=known).score("cell_type").macro_f1,
    }
    for method, score in scores.items():
        print(f"{method}: macro F1 {score:.3f}")
    return scores


if __name__ == "__main__":
    main()
