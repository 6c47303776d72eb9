"""Comparing conditions: false positives where nothing differs, power where something does, and real cells.

    OMP_NUM_THREADS=1 python -m benchmarks.compare [--folder DIR] [--parts null,power,confounded,kang_null,kang_signal]

Simulated atlases (6 types, 300 genes, 150 cells per sample; one study, so that donors differ by chance only) in the
space of 20 principal components. null: no effect of the condition; power: effects on the programmes of two types and
on the shares of two others. confounded: whole studies under one condition. kang_null: the eight control donors of Kang
et al., four against four, all 35 splits; states apart from all else, in the space of a model that was pre-trained
without any cell of that study, and of principal components. kang_signal: control against stimulated, few donors.

Each replicate is kept in DIR, so that an interrupted run goes on. Model: benchmarks/integrate.py, first seed.
"""

from __future__ import annotations

import argparse
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

import scssl
from benchmarks import protocol
from benchmarks.integrate import pretrained
from scssl.log import logger
from scssl.tasks import Comparer

if TYPE_CHECKING:
    from collections.abc import Sequence

TYPES, GENES, CELLS, PROGRAMMES = 6, 300, 150, 10
NULL = {
    "2 against 2": (4, "balanced", 1), "3 against 3": (6, "balanced", 1), "5 against 5": (10, "balanced", 1),
    "4 pairs": (4, "paired", 1), "6 against 6, two studies adjusted for": (12, "balanced", 2),
}  # fmt: skip
NULL_SEEDS, GENE_SEEDS, POWER_SEEDS, CONFOUNDED_SEEDS = 60, 20, 6, 20
EFFECTS, PER_SIDE = (0.25, 0.5, 1.0), (3, 5, 8)
LEVEL = 0.05
KINDS = ("composition", "state", "genes", "programmes")
REAL = (("X_pca", ("composition", "genes", "programmes")), ("X_scssl", ("state",)), ("X_pca", ("state",)))
# Genes that interferon raises in every kind of blood cell: what is known to be true of the stimulated cells.
INTERFERON = (
    "ISG15", "ISG20", "IFI6", "IFI35", "IFIT1", "IFIT2", "IFIT3", "IFITM3", "MX1", "MX2", "OAS1", "LY6E", "IRF7",
    "STAT1", "EIF2AK2", "SAMD9L", "XAF1", "RSAD2", "BST2", "PLSCR1",
)  # fmt: skip


def simulated(*, n_donors: int, design: str, effect: float, seed: int, studies: int = 1) -> ad.AnnData:
    samples = n_donors * (2 if design == "paired" else 1)
    cells = scssl.datasets.simulate_atlas(
        CELLS * samples, GENES, n_types=TYPES, n_studies=studies, batches_per_study=1, n_donors=n_donors,
        n_programmes=PROGRAMMES, condition_effect=effect, composition_effect=effect, design=design, seed=seed,
    )  # fmt: skip
    cells.obsm["X_pca"] = components(cells)
    return cells


def components(cells: ad.AnnData, n: int = 20) -> np.ndarray:
    counts = cells.X.astype(np.float32)
    totals = np.maximum(np.asarray(counts.sum(axis=1)), 1)
    return PCA(n, random_state=0).fit_transform(np.log1p(counts.multiply(1e4 / totals).toarray()))


def compared(cells: ad.AnnData, folder: Path, *, kinds: tuple[str, ...], covariates: Sequence[str] = ()) -> Comparer:
    sets = folder / "programmes.gmt"
    truth = cells.uns["simulation"]["programmes"]
    sets.write_text("".join(f"{name}\tsimulated\t" + "\t".join(p["genes"]) + "\n" for name, p in truth.items()))
    comparer = Comparer(use_rep="X_pca", kinds=kinds, programmes=sets)
    return comparer.fit(
        cells, condition="condition", control="healthy", case="disease", donor="donor", cell_type="cell_type",
        covariates=covariates,
    )  # fmt: skip


def null_once(name: str, seed: int, folder: Path) -> list[dict[str, Any]]:
    n_donors, design, studies = NULL[name]
    kinds = KINDS if seed < GENE_SEEDS else ("composition", "state", "programmes")
    cells = simulated(n_donors=n_donors, design=design, effect=0.0, seed=seed, studies=studies)
    found = compared(cells, folder, kinds=kinds, covariates=["study"] if studies > 1 else []).comparison
    rows = []
    for kind in kinds:
        table = getattr(found, kind)
        columns = {"p_value": ""} | ({"p_permutation": ", permuted"} if "p_permutation" in table else {})
        for column, more in columns.items():
            p = table[column].to_numpy(dtype=float)
            p = p[np.isfinite(p)]
            rows.append(
                {
                    "kind": kind + more, "tests": len(p), "below_0.05": int((p <= LEVEL).sum()),
                    "below_0.01": int((p <= 0.01).sum()), "any": bool((table["q_value"] <= LEVEL).any()),
                }
            )  # fmt: skip
    return [*rows, {"kind": "everything", "any": bool(found.answers["found"].any())}]


def power_once(per_side: int, effect: float, seed: int, folder: Path) -> list[dict[str, Any]]:
    cells = simulated(n_donors=2 * per_side, design="balanced", effect=effect, seed=1000 + seed)
    found, truth = compared(cells, folder, kinds=KINDS).comparison, cells.uns["simulation"]["conditions"]["disease"]
    changed, genes = set(truth["types"]), {*truth["genes"], *truth["tfs"]}
    shares = truth["composition"]["log_factor"]
    sets = cells.uns["simulation"]["programmes"]
    touched = {name for name, p in sets.items() if genes & {*p["genes"], *p["tfs"]}}
    rows = []
    for kind in KINDS:
        table = getattr(found, kind)
        table = table[np.isfinite(table["p_value"].astype(float))]
        true = table["cell_type"].map(shares).abs() > 0 if kind == "composition" else table["cell_type"].isin(changed)
        right = true
        if kind == "genes":
            right = true = true & table["gene"].isin(genes)
        if kind == "programmes":
            # Programmes that share genes with a shifted one do shift a little: neither looked for nor wrong.
            right = true & table["programme"].isin(touched)
            true = true & table["programme"].isin(set(truth["programmes"]))
        hit, low = table["q_value"] <= LEVEL, table["p_value"] <= LEVEL
        rows.append(
            {
                "kind": kind, "true": int(true.sum()), "true_found": int((true & hit).sum()),
                "true_below": int((true & low).sum()), "found": int(hit.sum()),
                "false_share": float((hit & ~right).sum() / max(hit.sum(), 1)),
            }
        )  # fmt: skip
    return rows


def confounded_once(design: str, seed: int) -> list[dict[str, Any]]:
    cells = scssl.datasets.simulate_atlas(800, 200, n_types=4, n_studies=4, n_donors=12, design=design, seed=seed)
    found = Comparer(kinds=["composition"]).fit(
        cells, condition="condition", control="healthy", case="disease", donor="donor", cell_type="cell_type"
    )
    return [{"design": design, "flagged": bool(found.comparison.warnings)}]


def kang(name: str, folder: Path) -> ad.AnnData:
    cells = ad.read_h5ad(protocol.DATA / f"{name}.h5ad")
    cells.obs_names_make_unique()
    cells.obsm["X_pca"] = components(cells)
    if cells.n_vars >= 500:
        cells.obsm["X_scssl"] = pretrained(folder, seed=0).embed(cells)
    return cells


def kang_null(rep: str, kinds: tuple[str, ...], folder: Path) -> list[dict[str, Any]]:
    """All splits of the control donors."""
    cells, rows = kang("kang_ctrl_8donors_1287g", folder), []
    half = set(sorted(cells.obs["donor"].unique())[:4])
    # The halves of the evaluation are drawn from all donors of one condition, so that condition holds them all.
    cells = ad.concat([cells, cells[cells.obs["donor"].isin(half)][:40]], index_unique="-")
    cells.obs["donor"] = cells.obs["donor"].astype(str)
    cells.obs["condition"] = np.where(np.arange(cells.n_obs) < cells.n_obs - 40, "ctrl", "other")
    cells.obs.loc[cells.obs["condition"] == "other", "donor"] = "nobody"
    asked = {"condition": "condition", "control": "ctrl", "case": "other", "donor": "donor", "cell_type": "cell_type"}
    report = Comparer(use_rep=rep, kinds=kinds).fit(cells, **asked).evaluate(kinds=kinds)
    for kind, row in report.table.iterrows():
        name = f"{kind}, {rep}" if kind == "state" else str(kind)
        rows.append({"kind": name, "splits": report.n_splits, **{k: float(v) for k, v in row.items()}})
    return rows


def kang_signal(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for name, control, case in (
        ("kang_distinct_100g", "ctrl", "stim"), ("kang_muscat_4samples", "ctrl", "stim"),
        ("kang_ifnb_scgen", "control", "stimulated"),
    ):  # fmt: skip
        cells = kang(name, folder)
        rep = "X_scssl" if "X_scssl" in cells.obsm else "X_pca"
        found = Comparer(use_rep=rep).fit(
            cells, condition="condition", control=control, case=case, donor="donor", cell_type="cell_type"
        )
        table = found.comparison.answers
        for kind in KINDS:
            part = table[table["kind"] == kind]
            tests = getattr(found.comparison, kind)
            rows.append(
                {
                    "file": name, "embedding": rep, "kind": kind, "types": len(part),
                    "types_found": int(part["found"].sum()), "tests": int(tests["p_value"].notna().sum()),
                    "found": int((tests["q_value"] <= LEVEL).sum()),
                    "smallest_p": None if part["smallest_p"].isna().all() else float(part["smallest_p"].min()),
                }
            )  # fmt: skip
        genes = found.comparison.genes
        known = genes[genes["symbol"].isin(INTERFERON) & genes["p_value"].notna()]
        hit, up = known["q_value"] <= LEVEL, known["log2_ratio"] > 0
        rows.append(
            {
                "file": name, "kind": "genes of interferon", "tests": len(known), "found_up": int((hit & up).sum()),
                "found_down": int((hit & ~up).sum()),
            }
        )  # fmt: skip
        rows.append({"file": name, "kind": "sentences", "text": found.comparison.sentences})
    return rows


def kept(path: Path, run: Any) -> list[dict[str, Any]]:
    if not path.exists():
        path.write_text(json.dumps(run()))
        print(path.name, flush=True)
    return json.loads(path.read_text())


def null_table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    frame, out = pd.DataFrame(rows), []
    for (design, kind), part in frame.groupby(["design", "kind"], sort=False):
        line = {"design": design, "kind": kind, "atlases": len(part), "with_findings": round(part["any"].mean(), 3)}
        if kind != "everything":
            n = int(part["tests"].sum())
            share = (part["below_0.05"] / part["tests"].clip(lower=1)).to_numpy()
            line |= {
                "tests": n, "rate_0.05": round(part["below_0.05"].sum() / n, 4),
                # Tests of one atlas share its donors: the spread between atlases says how well the rate is known.
                "standard_error": round(float(share.std(ddof=1) / np.sqrt(len(share))), 4),
                "rate_0.01": round(part["below_0.01"].sum() / n, 4),
            }  # fmt: skip
        out.append(line)
    return out


def power_table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out = []
    for (effect, per_side, kind), part in pd.DataFrame(rows).groupby(["effect", "per_side", "kind"], sort=False):
        true = max(int(part["true"].sum()), 1)
        out.append(
            {
                "effect": float(effect), "donors_per_side": int(per_side), "kind": kind, "true": true,
                "power": round(part["true_found"].sum() / true, 3),
                "share_p_below_0.05": round(part["true_below"].sum() / true, 3),
                "false_discovery_proportion": round(part["false_share"].mean(), 3),
            }
        )  # fmt: skip
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("compare-benchmark"))
    parser.add_argument("--parts", default="null,power,confounded,kang_signal,kang_null")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logger.setLevel("ERROR")
    folder, parts = given.folder, given.parts.split(",")
    (folder / "kept").mkdir(parents=True, exist_ok=True)
    jobs = folder / "kept"
    null, power, confounded = [], [], []
    for design in NULL if "null" in parts else ():
        for seed in range(NULL_SEEDS):
            rows = kept(jobs / f"null-{design}-{seed}.json", lambda d=design, s=seed: null_once(d, s, folder))
            null += [{"design": design, **row} for row in rows]
    for design in ("balanced", "confounded") if "confounded" in parts else ():
        for seed in range(CONFOUNDED_SEEDS):
            confounded += kept(jobs / f"{design}-{seed}.json", lambda d=design, s=seed: confounded_once(d, s))
    for effect in EFFECTS if "power" in parts else ():
        for n in PER_SIDE:
            for seed in range(POWER_SEEDS):
                name = f"power-{effect}-{n}-{seed}.json"
                rows = kept(jobs / name, lambda n=n, e=effect, s=seed: power_once(n, e, s, folder))
                power += [{"effect": effect, "per_side": n, **row} for row in rows]
    signal = kept(jobs / "kang_signal.json", lambda: kang_signal(folder)) if "kang_signal" in parts else []
    real = []
    for rep, kinds in REAL if "kang_null" in parts else ():
        name = "-".join(["kang_null", rep, *kinds])
        real += kept(jobs / f"{name}.json", lambda r=rep, k=kinds: kang_null(r, k, folder))
    result: dict[str, Any] = {
        "packages": {"pydeseq2": version("pydeseq2")},
        "null": null_table(null) if null else [], "power": power_table(power) if power else [],
        "confounded": pd.DataFrame(confounded).groupby("design")["flagged"].mean().to_dict() if confounded else {},
        "kang_null": real, "kang_signal": signal,
    }  # fmt: skip
    for name in ("null", "power", "kang_null"):
        print(pd.DataFrame(result[name]).to_string(), flush=True)
    if set(parts) >= {"null", "power", "confounded", "kang_signal", "kang_null"}:
        protocol.write("compare", command="OMP_NUM_THREADS=1 python -m benchmarks.compare", result=result)


if __name__ == "__main__":
    main()
