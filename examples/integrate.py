"""Bring the batches of a study together, map cells of a new batch to them, and find similar cells.

    python examples/integrate.py

Takes about a minute, most of it for the scores (extra ``integrate``). The cells are simulated; put your own AnnData
with raw counts in their place.
"""

from __future__ import annotations

import scssl
from scssl.tasks import Integrator, SimilarCells


def main(n_cells: int = 3000, n_genes: int = 1000, epochs: int = 10, *, evaluate: bool = True) -> dict[str, float]:
    cells = scssl.datasets.simulate_atlas(n_cells, n_genes, n_studies=6, batch_effect=0.5)
    study = cells.obs["study"].astype(str)
    known = cells[study.isin(["study_1", "study_2", "study_3"])].copy()
    mine = cells[study.isin(["study_4", "study_5"])].copy()
    new = cells[study == "study_6"].copy()

    # The model has seen neither the study nor the newcomer, and no labels.
    model = scssl.pretrain(known, genes="union", source="study", max_epochs=epochs)

    integrator = Integrator(model, batch="study").fit(mine)
    integrator.predict(mine)
    print(mine.obsm["X_scssl_integrated"].shape)

    # Nothing is trained, and no cell of the study moves.
    integrator.predict(new)

    if evaluate:
        report = integrator.evaluate(mine, labels="cell_type")
        print(report.verdict)
        print(report.table[["type_score", "mixing_score"]].round(2))

    similar = SimilarCells(model, k=5).fit(known)
    print(similar.predict(new[:2].copy())[["query", "rank", "cell", "distance", "cell_type", "study"]])
    scores = similar.evaluate(new, truth="cell_type")
    return {"similar cells of the same type": scores.neighbours, "by chance": scores.chance}


if __name__ == "__main__":
    for name, share in main().items():
        print(f"{name}: {share:.2f}")
