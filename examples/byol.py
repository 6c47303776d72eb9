"""Pre-train by predicting what an averaged copy of the network makes of another view of the same cell.

    python examples/byol.py

Takes about half a minute. The cells are simulated; put your own AnnData with raw counts in their place.
docs/tasks/byol.md says what the settings and the columns mean.
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

    # A quarter of the genes is hidden in each view, and half of the counts removed.
    settings = ["task.mask=0.25", "task.thin=0.5"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        model = scssl.pretrain(
            known,
            pretext="byol",
            genes="union",
            source="study",
            max_epochs=epochs,
            overrides=settings,
            out=out,
        )
        history = pd.read_csv(out / "history.csv")
    columns = ["epoch", "train_loss", "train_target_distance", "train_code_std", "train_code_dimensions"]
    print(history[columns].to_string(index=False))

    # Ten labelled cells per type are all that either method gets.
    few = known[known.obs.groupby("cell_type", observed=True).sample(10, random_state=0).index].copy()
    annotator = Annotator(model).fit(few, labels="cell_type")
    annotator.predict(query)
    scores = {
        "byol": annotator.evaluate(query, truth="cell_type").macro_f1,
        "PCA": pca_knn(few, query, panel=model.panel, fit_on=known).score("cell_type").macro_f1,
    }
    for method, score in scores.items():
        print(f"{method}: macro F1 {score:.3f}")
    return scores


if __name__ == "__main__":
    main()
