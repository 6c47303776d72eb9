"""What covariates are worth to a simulator: donors left out, where the response goes with a covariate and where not.

    OMP_NUM_THREADS=1 python -m benchmarks.simulate_covariates [--seeds 3] [--share 0.5] [--development]

Simulated atlases of 6 types and 8 donors under a control and two treatments a and b, with responses of their own.
sex: women respond as to a, men as to b. age: the older a donor, the more of its cells respond to a. nothing: all
respond to a, and sex is given all the same. The case cells of a donor are left out and predicted from those of the
others. `explained` is 1 for the truth and 0 for no change. Intervals: 95 %, Student's, of differences over donors of
all seeds. The share of a change that goes with covariates was chosen on other seeds (`--development`).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import t

import scssl
from benchmarks import protocol
from scssl.tasks.simulate import cells as reading
from scssl.tasks.simulate import covariates
from scssl.tasks.simulate.baselines import NO_CHANGE
from scssl.tasks.simulate.judge import compare
from scssl.tasks.simulate.learn import learn
from scssl.tasks.simulate.predict import MODEL
from scssl.tasks.simulate.scoring import DISTANCE, FEWEST, explained

if TYPE_CHECKING:
    import anndata as ad

DONORS, TYPES, GENES, CELLS = 8, 6, 400, 40
ARMS = {"sex": "sex", "age": "age", "nothing": "sex"}
FIRST, DEVELOPMENT = 7100, 7000
PLAIN = "model without covariates"
METHODS = (MODEL, PLAIN, "additive", "matched mean shift", "cell-type mean shift", "ridge on pseudobulks", "mean shift")


def atlas(arm: str, *, seed: int) -> ad.AnnData:
    cells = scssl.datasets.simulate_atlas(
        CELLS * DONORS * TYPES * 3, GENES, n_types=TYPES, n_studies=1, batches_per_study=1, n_donors=DONORS,
        n_programmes=12, conditions=("control", "a", "b"), design="paired", condition_effect=1.5,
        composition_effect=0.0, seed=seed,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    names = sorted(cells.obs["donor"].unique())
    place = {name: int(i) for name, i in zip(names, rng.permutation(DONORS), strict=True)}
    rank = cells.obs["donor"].map(place).astype(int).to_numpy()
    cells.obs["sex"] = np.where(rank % 2 == 0, "F", "M")
    cells.obs["age"] = 30.0 + 5 * rank
    given = cells.obs["condition"].astype(str).to_numpy()
    if arm == "age":
        # Half of the control cells stand for case cells that did not respond.
        responds = (rank + 1) / DONORS
        idle = (given == "control") & (rng.random(cells.n_obs) < 0.5)
        chosen = rng.random(cells.n_obs) < np.where(idle, 1 - responds, responds)
        is_case, is_control = (idle | (given == "a")) & chosen, (given == "control") & ~idle
    else:
        wanted = np.where((cells.obs["sex"] == "F") | (arm == "nothing"), "a", "b")
        is_case, is_control = given == wanted, given == "control"
    cells.obs["condition"] = np.where(is_case, "case", "control")
    kept = is_case | is_control
    found = cells[kept].copy()
    del found.uns["simulation"]
    return found


def scored(is_case: np.ndarray) -> bool:
    return min(is_case.sum(), (~is_case).sum()) >= FEWEST


def folds(arm: str, *, seed: int) -> list[dict[str, object]]:
    adata = atlas(arm, seed=seed)
    control = adata[adata.obs["condition"] == "control"].copy()
    model = scssl.pretrain(control, preset="small", genes="union", max_epochs=2, seed=seed, device="cpu")
    columns = reading.settle(
        adata, condition="condition", cell_type=None, donor=None, layer=None, covariates=[ARMS[arm]]
    )
    cells = reading.read(adata, model, columns=columns, layer=None, device="cpu")
    is_case = cells.condition == "case"
    rows: list[dict[str, object]] = []
    for donor in sorted(set(cells.donors)):
        held = cells.donors == donor
        if not any(scored(is_case[held & (cells.types == name)]) for name in set(cells.types)):
            continue
        for known in (True, False):
            part = cells if known else replace(cells, covariates=None)
            found, _ = compare(
                learn(part.at(~(held & is_case)), control="control", case="case"), train=None,
                control_cells=part.at(held & ~is_case), truth=part.at(held & is_case), control="control", seed=seed,
                brief=True,
            )  # fmt: skip
            names = {MODEL: MODEL if known else PLAIN}
            rows += [
                {"arm": arm, "fold": f"{seed} {donor}", "method": names.get(row["method"], row["method"]),
                 "cell_type": row["cell_type"], DISTANCE: row[DISTANCE]}
                for row in found if known or row["method"] == MODEL
            ]  # fmt: skip
    return rows


def summarise(table: pd.DataFrame) -> list[dict[str, object]]:
    """Return what each method explains, and how much more the model does, in parts of the whole change."""
    found = []
    for arm, part in table.groupby("arm", sort=False):
        distances = part.pivot_table(index="fold", columns="method", values=DISTANCE, aggfunc="mean")
        whole = distances[NO_CHANGE]
        for method in METHODS:
            gains = ((distances[method] - distances[MODEL]) / whole.mean()).to_numpy()
            half = t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains))
            row: dict[str, object] = {"arm": arm, "method": method, "n_folds": len(gains)}
            row["explained"] = round(explained(distances[method].to_numpy(), whole.to_numpy()), 3)
            if method != MODEL:
                row |= {"model_ahead_by": round(float(gains.mean()), 3)}
                row |= {"low": round(float(gains.mean() - half), 3), "high": round(float(gains.mean() + half), 3)}
            found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=covariates.SHARED)
    parser.add_argument("--development", action="store_true", help="other seeds; prints and writes nothing")
    given = parser.parse_args()
    covariates.SHARED = given.share
    first = DEVELOPMENT if given.development else FIRST
    rows = []
    for seed in range(given.seeds):
        for arm in ARMS:
            rows += folds(arm, seed=first + seed)
            print(f"{arm}, seed {seed}: done", flush=True)
    result = summarise(pd.DataFrame(rows))
    print(pd.DataFrame(result).to_string(index=False))
    if not given.development:
        command = "OMP_NUM_THREADS=1 python -m benchmarks.simulate_covariates"
        protocol.write("simulate_covariates", command=command, result={"seeds": given.seeds, "scores": result})


if __name__ == "__main__":
    main()
