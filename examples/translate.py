"""Learn surface proteins from RNA on some donors (CITE-seq), and predict them for donors with RNA only.

    python examples/translate.py

Takes about 30 seconds. The cells are simulated; put your own AnnData or MuData with raw counts in their place.
"""

from __future__ import annotations

import scssl
from scssl.tasks import Translator


def main(n_cells: int = 2000, n_genes: int = 500, epochs: int = 5) -> dict[str, float]:
    cells = scssl.datasets.simulate_atlas(n_cells, n_genes, n_proteins=20, type_effect=3.0)
    donors = sorted(cells.obs["donor"].unique())
    new = cells.obs["donor"].isin(donors[-3:])
    known, query = cells[~new].copy(), cells[new].copy()

    # From RNA alone: no protein is used here.
    model = scssl.pretrain(known, genes="union", source="study", max_epochs=epochs)

    # Proteins are in obsm["protein"], their names in uns["protein_names"]; a MuData does as well.
    translator = Translator(model, to="protein", mode="probe").fit(known, donor="donor")
    translator.predict(query)
    names = query.uns["scssl"]["translate"]["names"]
    print(f"{names[0]}: {query.obsm['scssl_protein'][:5, 0]}")

    scores = translator.evaluate(query)
    print(scores.overall.round(3).to_string(index=False))
    print(f"The translator {scores.verdict}.")
    return dict(zip(scores.overall["method"], scores.overall["pearson"], strict=True))


if __name__ == "__main__":
    main()
