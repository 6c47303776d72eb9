"""Healthy against disease: what changes, in which cells, and how sure that is, with donors as the units.

    python examples/compare.py

Takes about a minute (extras ``compare`` and ``report``). The cells are simulated, so that it is known what changes; put
your own AnnData with raw counts in their place. docs/tutorials/healthy_against_disease.md goes through it step by step,
with the commands for a shell.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import scssl
from scssl.tasks import Comparer


def main(out: Path, n_cells: int = 6000, n_genes: int = 1000, epochs: int = 10) -> dict[str, float]:
    cells = scssl.datasets.simulate_atlas(n_cells, n_genes, n_types=4, n_studies=2, n_donors=12)

    # Donors, not cells, by study and condition; and the fewest cells that a donor has of each type.
    donors = cells.obs[["study", "condition", "donor"]].drop_duplicates()
    print(pd.crosstab(donors["study"], donors["condition"]))
    print(pd.crosstab(cells.obs["donor"], cells.obs["cell_type"]).min())

    # The model is told neither conditions nor types.
    model = scssl.pretrain(cells, genes="union", source="study", max_epochs=epochs)

    comparer = Comparer(model, programmes="modules:10").fit(
        cells,
        condition="condition",
        control="healthy",
        case="disease",
        donor="donor",
        cell_type="cell_type",
        covariates=["study"],
    )
    found = comparer.comparison
    print(found)

    # One table of everything that was asked, and one of each kind of change.
    print(found.answers[["cell_type", "kind", "effect", "q_value", "found"]].head(8))
    print(found.state[["cell_type", "relative_shift", "low", "high", "auc", "p_value", "q_value"]].round(3))
    print(found.genes.loc[found.genes["q_value"] <= 0.05, ["cell_type", "symbol", "log2_ratio", "q_value"]].head())

    # The negative control: healthy donors against healthy donors.
    null = comparer.evaluate(kinds=["composition", "state", "programmes"], max_splits=10)
    print(null.verdict)

    # The same with one study, three donors a side; with a kit that goes with the condition; and with donors of whom
    # both conditions were measured.
    asked = {"condition": "condition", "control": "healthy", "case": "disease", "donor": "donor"}
    three = cells[cells.obs["study"] == "study_1"]
    print(Comparer(model, kinds=["composition", "state"]).fit(three, cell_type="cell_type", **asked).comparison)
    kit = cells.copy()
    kit.obs["kit"] = np.where(kit.obs["condition"] == "disease", "v3", "v2")
    print(Comparer(kinds=["composition"]).fit(kit, cell_type="cell_type", **asked).comparison.warnings)
    before_after = scssl.datasets.simulate_atlas(n_cells // 2, n_genes, n_types=4, n_donors=6, design="paired")
    pairs = Comparer(kinds=["composition"]).fit(before_after, cell_type="cell_type", **asked).comparison
    print(pairs.sentences[0], pairs.sentences[-1], sep="\n")

    # How far cells of each type move, beside the cells, to colour a UMAP by.
    comparer.predict(cells)
    print(cells.obs.groupby("cell_type", observed=True)["scssl_shift"].first())

    scssl.pl.comparison_overview(found.answers).savefig(out / "overview.png")
    scssl.pl.volcano(found.genes).savefig(out / "volcano.png")
    comparer.save(out / "comparison")
    again = Comparer.load(out / "comparison").comparison

    truth = cells.uns["simulation"]["conditions"]["disease"]
    moved = again.state.set_index("cell_type")["relative_shift"]
    changed = moved.index.isin(truth["types"])
    return {"types that change": float(moved[changed].mean()), "types that do not": float(moved[~changed].mean())}


if __name__ == "__main__":
    folder = Path("compare-example")
    folder.mkdir(exist_ok=True)
    for name, shift in main(folder).items():
        print(f"{name}: state shift {shift:.2f}")
