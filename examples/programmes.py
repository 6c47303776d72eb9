"""Pre-train by hiding whole gene programmes, learned from the cells themselves.

    python examples/programmes.py

With so few cells it loses clearly to PCA (macro F1 0.46 against 0.80): modules learned from 2,000 cells say little, and
genes outside of them are never predicted. docs/benchmarks.md compares all tasks. Takes about half a minute. The cells
are simulated; put your own AnnData with raw counts in their place.
docs/tasks/masked.md says what the settings and the columns mean, docs/programmes.md where programmes come from.
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

    # Twenty modules of genes that vary together; a .gmt file of known programmes would do as well. They are hidden one
    # after the other, until a fifth of the genes is.
    settings = ["task.masking=programme", "task.programmes=modules:20", "task.rate=0.2"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        model = scssl.pretrain(known, genes="union", source="study", max_epochs=epochs, overrides=settings, out=out)
        history = pd.read_csv(out / "history.csv")
    print(*model.task.programmes.names[:5], sep="\n")
    print(history[["epoch", "train_loss", "val_loss", "train_hidden", "code_rank"]])

    # Ten labelled cells per type are all that either method gets.
    few = known[known.obs.groupby("cell_type", observed=True).sample(10, random_state=0).index].copy()
    annotator = Annotator(model).fit(few, labels="cell_type")
    annotator.predict(query)
    scores = {
        "programmes": annotator.evaluate(query, truth="cell_type").macro_f1,
        "PCA": pca_knn(few, query, panel=model.panel, fit_on=known).score("cell_type").macro_f1,
    }
    for method, score in scores.items():
        print(f"{method}: macro F1 {score:.3f}")
    return scores


if __name__ == "__main__":
    main()
