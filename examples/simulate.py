"""Learn what a treatment does to some cell types, and simulate treated cells of a type that was not measured.

    python examples/simulate.py

Takes about two minutes. The cells are simulated; put your own AnnData with raw counts in their place.
docs/tutorials/virtual_cells.md goes through it step by step, with the commands for a shell.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import scssl
from scssl.tasks import Simulator


def treated(cells: ad.AnnData) -> ad.AnnData:
    """Treat half of the cells with what raises forty genes, in some types more than in others, and twenty in women."""
    rng = np.random.default_rng(0)
    case = rng.random(cells.n_obs) < 0.5
    women = (cells.obs["donor"].cat.codes % 2 == 0).to_numpy()
    counts = cells.X.toarray().astype(np.int64)
    number = cells.obs["cell_type"].cat.codes.to_numpy()[case]
    counts[case, 100:140] += rng.poisson(np.repeat(1 + number[:, None] / 2, 40, axis=1))
    counts[case & women, 200:220] += rng.poisson(3, ((case & women).sum(), 20))
    cells.X = sp.csr_matrix(counts)
    cells.obs["condition"] = np.where(case, "treated", "control")
    cells.obs["sex"] = np.where(women, "F", "M")
    return cells


def main(folder: Path, n_cells: int = 2400, n_genes: int = 500, epochs: int = 5) -> dict[str, float]:
    atlas = scssl.datasets.simulate_atlas(n_cells, n_genes, n_types=5, n_studies=1, n_donors=7, conditions=["control"])
    cells = treated(atlas)
    # A donor that nobody treated, for later.
    is_new = cells.obs["donor"] == "study_1_donor_7"
    new, cells = cells[is_new & (cells.obs["condition"] == "control")].copy(), cells[~is_new].copy()

    # Without labels; better is a model of many other cells.
    model = scssl.pretrain(cells, genes="union", source="study", max_epochs=epochs)

    # Treated cells of type_3 are not looked at; whether the model is worth more than simple baselines is found out by
    # leaving out the other types in turn.
    asked = {"condition": "condition", "control": "control", "case": "treated"}
    simulator = Simulator(model).fit(cells, **asked, hold_out="cell_type=type_3")
    print(simulator.verdicts["treated"].text)

    virtual = simulator.predict(cells, where="cell_type=type_3")
    print(virtual)

    # What these cells are worth: against the measured ones that were held out.
    scores = simulator.evaluate(cells, where="cell_type=type_3")
    print(scores.methods[["explained", "mae", "pearson_delta", "de_recall"]].round(3))

    # Each gene's change in the cells of one donor, and how far it may be off.
    group = "type_3 | study_1_donor_1"
    change = pd.DataFrame({name: virtual.varm[name][group] for name in ("scssl_change", "scssl_change_sd")})
    change.index = virtual.var["symbol"]
    print(change.sort_values("scssl_change", ascending=False).round(2).head())
    print(virtual.uns["scssl"]["simulate"]["cases"]["treated"]["uncertainty"])

    # Genes that the treatment raises in women only, in a woman of whom no treated cell was looked at.
    woman, of_women = "donor=study_1_donor_1", cells.var_names[200:220]
    rises = {}
    for covariates in ([], ["sex"]):
        by_donor = Simulator(model, method="model").fit(cells, **asked, covariates=covariates, hold_out=woman)
        hers = by_donor.predict(cells, where=woman)
        means = [hers.varm[name].loc[of_women].mean().mean() for name in ("scssl_change", "scssl_change_sd")]
        explained = by_donor.evaluate(cells, where=woman).methods.loc["model", "explained"]
        print(f"covariates {covariates}: change {means[0]:.2f}, sd {means[1]:.2f}; {explained:.2f} explained")
        rises[", ".join(covariates) or "none"] = means[0]

    # Kept, and used on control cells of a donor that nobody treated.
    simulator.save(folder / "simulator")
    later = Simulator.load(folder / "simulator").predict(new)
    print(later.obs[["scssl_control_cell", "scssl_type", "scssl_donor", "scssl_method"]].head(3).to_string())

    # Beside measured cells, each told from the other.
    measured = cells[cells.obs["cell_type"] == "type_3"]
    both = ad.concat({"measured": measured, "simulated": virtual}, label="kind", index_unique="-")
    print(both.obs[["kind", "condition"]].value_counts())
    return dict(scores.methods["explained"]) | rises


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
