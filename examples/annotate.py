"""Name the cells of a new study by a labelled reference, see how sure the names are, and which cells fit none.

    python examples/annotate.py

Takes about 30 seconds. The cells are simulated; put your own AnnData with raw counts in their place.
docs/tutorials/annotate.md goes through it step by step, with the commands for a shell.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import scssl
from scssl.tasks import Annotator


def main(folder: Path, n_cells: int = 4000, n_genes: int = 1000, epochs: int = 10) -> dict[str, float]:
    cells = scssl.datasets.simulate_atlas(n_cells, n_genes, n_donors=20, type_effect=2.0)
    donors = sorted(cells.obs["donor"].unique())
    new = cells.obs["donor"].isin(donors[-5:])
    # The reference lacks a type that the new cells have, as references do.
    absent = cells.obs["cell_type"] == "type_8"
    reference, query = cells[~new & ~absent].copy(), cells[new].copy()

    model = scssl.pretrain(reference, genes="union", source="study", max_epochs=epochs)

    annotator = Annotator(model, mode="probe").fit(reference, labels="cell_type", donor="donor")
    annotator.predict(query)
    print(query.obs[["scssl_label", "scssl_confidence", "scssl_label_set", "scssl_unknown"]].head())

    sure = query[query.obs["scssl_confidence"] > 0.8]
    print(f"{len(sure) / len(query):.0%} of the cells have a confidence above 0.8")
    print(query.obs["scssl_unknown"].value_counts())

    # Here the truth is known, and the names can be held against it.
    scores = annotator.evaluate(query, truth="cell_type")
    print(f"accuracy {scores.accuracy:.3f}, macro F1 {scores.macro_f1:.3f}")
    print(f"not in the reference, so always wrong: {scores.missing_classes}")

    # The annotator keeps what it needs of its reference: the next study needs neither reference nor labels.
    annotator.save(folder / "annotator")
    Annotator.load(folder / "annotator").predict(query)

    query.write_h5ad(folder / "named.h5ad")
    page = scssl.pl.render(folder / "named.h5ad", truth="cell_type")
    print(f"open {page.name} in a browser")
    return {"accuracy": scores.accuracy, "macro F1": scores.macro_f1}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
