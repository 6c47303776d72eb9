"""RNA to protein and RNA to open chromatin on real cells: arms of the paper and baselines, on held-out donors or cells.

    OMP_NUM_THREADS=1 python -m benchmarks.translate [--totalvi PYTHON]

Each data set is divided once per seed: by donor or batch where it has two or more, else by cells. "Pre-trained" arms
start from a masked model of the immune corpus on the data set's genes (no cell of the data set is in it); data sets
whose gene names are lost have only arms of their own RNA ("in_data": pre-trained on the training cells). Baselines are
tuned by cross-validation within the training cells. `difference` is the arm's median correlation per feature minus
that of the best baseline, with a 95 % bootstrap interval over features of the mean over seeds: features of one data
set are not independent, so it is narrow. totalVI is given the test cells' RNA, as it has to be; other methods are not.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import scipy.sparse as sp

import scssl
from benchmarks import protocol
from scssl.metrics import agreement
from scssl.tasks.translate import TranslationTraining, Translator

SEEDS = (0, 1, 2)
EPOCHS = 3
OWN_STEPS = 400
"""Of the pre-training on the training cells alone."""
PRETRAINED = ("zero_shot", "probe", "finetune")
OWN = ("in_data", "scratch")
DATA = {
    "neurips21_bmmc_cite_starter": {"to": "protein", "by": "donor", "named": True, "totalvi": True},
    "citefuse_eccite_500": {"to": "protein", "by": "batch", "named": True, "genes": 2000, "totalvi": True},
    "pbmc10k_cite_6661_anon1000": {"to": "protein", "by": None, "named": False, "cells": 900, "totalvi": True},
    "cbmc_cite_8617_anon2000": {"to": "protein", "by": None, "named": False, "cells": 900},
    "neurips21_bmmc_multiome_starter": {"to": "atac", "by": "donor", "named": True},
    "scicar_A549_dex_log": {"to": "atac", "by": None, "named": False, "cells": 900, "peaks": 300},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--totalvi", help="a Python that has scvi-tools")
    parser.add_argument("--only", choices=DATA, help="print the scores of one data set, and write nothing")
    args = parser.parse_args()
    logging.getLogger("scssl").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    corpus = ad.read_h5ad(protocol.DATA / "human_immune_corpus.h5ad")
    found, begin = {}, time.perf_counter()
    for name, plan in DATA.items():
        if args.only in (None, name):
            runs = [one_seed(read(name, plan), plan, corpus=corpus, seed=seed, totalvi=args.totalvi) for seed in SEEDS]
            found[name] = gather(runs, plan)
            print(name, *(f"{row['method']} {row['pearson']['mean']}" for row in found[name]["methods"]), flush=True)
            if args.only is None:
                record(found, begin, totalvi=args.totalvi)


def record(found: dict, begin: float, *, totalvi: str | None) -> None:
    """Write what there is so far."""
    command = "OMP_NUM_THREADS=1 python -m benchmarks.translate" + (" --totalvi PYTHON" if totalvi else "")
    minutes = {"wall": round((time.perf_counter() - begin) / 60, 1), "cpu": round(time.process_time() / 60, 1)}
    protocol.write("translate", command=command, result={"minutes": minutes, "seeds": SEEDS, "data": found})


def read(name: str, plan: dict) -> ad.AnnData:
    adata = ad.read_h5ad(protocol.DATA / f"{name}.h5ad")
    adata.X = sp.csr_matrix(adata.X).astype(np.float32)
    if name.startswith("scicar"):
        # Log-normalised: logs undone, every value of a cell is a whole multiple of its smallest, taken for one count.
        counts = adata.X
        counts.data = np.expm1(counts.data)
        smallest = np.array([counts[i].data.min(initial=np.inf) for i in range(adata.n_obs)])
        counts.data = np.rint(counts.data / np.repeat(smallest, np.diff(counts.indptr))).astype(np.float32)
        peaks = sp.csr_matrix(adata.obsm["atac"])
        most = np.argsort(-np.asarray((peaks > 0).sum(axis=0)).ravel(), kind="stable")[: plan["peaks"]]
        adata.obsm["atac"] = sp.csr_matrix(peaks[:, np.sort(most)])
        adata.var_names = [f"gene{i}" for i in range(adata.n_vars)]
    if "genes" in plan:
        logs = adata.X.copy()
        logs.data = np.log1p(logs.data)
        spread = np.asarray(logs.multiply(logs).mean(axis=0)).ravel() - np.asarray(logs.mean(axis=0)).ravel() ** 2
        adata = adata[:, np.sort(np.argsort(-spread)[: plan["genes"]])].copy()
    return adata


def split(adata: ad.AnnData, plan: dict, *, seed: int) -> tuple[ad.AnnData, ad.AnnData]:
    rng = np.random.default_rng(seed)
    if plan["by"]:
        names = sorted(adata.obs[plan["by"]].astype(str).unique())
        # Of two donors either is held out in turn; of more about half are.
        test = {names[seed % 2]} if len(names) == 2 else set(rng.permutation(names)[: len(names) // 2])
        held = adata.obs[plan["by"]].astype(str).isin(test).to_numpy()
        return adata[~held].copy(), adata[held].copy()
    rows = rng.permutation(adata.n_obs)[: plan["cells"]]
    cut = len(rows) * 2 // 3
    return adata[np.sort(rows[:cut])].copy(), adata[np.sort(rows[cut:])].copy()


def one_seed(adata: ad.AnnData, plan: dict, *, corpus: ad.AnnData, seed: int, totalvi: str | None) -> dict:
    train, test = split(adata, plan, seed=seed)
    quiet = {"seed": seed, "loggers": ["csv"]}
    if plan["named"]:
        shared = corpus[:, corpus.var_names.isin(adata.var_names)].copy()
        shared = shared[np.asarray(shared.X.sum(axis=1)).ravel() > 0].copy()
        model = scssl.pretrain(shared, genes="union", source="file", split_by="cell", max_epochs=EPOCHS, **quiet)
    else:
        # Only shape and genes of it are used: its weights are those of an untrained network.
        model = scssl.pretrain(train, genes="union", pretext="none", max_epochs=1, split_by="cell", **quiet)
    scores, seconds = {}, {}
    for mode in (*(PRETRAINED if plan["named"] else ()), *OWN):
        begin = time.perf_counter()
        arm = Translator(model, to=plan["to"], mode=mode, training=TranslationTraining(pretrain_steps=OWN_STEPS)).fit(
            train, seed=seed
        )
        seconds[mode] = time.perf_counter() - begin
        done = arm.evaluate(test, compare="mean" if scores else "all")
        for method, table in done.features.groupby("method", sort=False):
            if method == "translator" or method not in scores:
                overall = done.overall.set_index("method").loc[method]
                scores[mode if method == "translator" else method] = (overall, table.set_index("feature"))
    if totalvi and plan.get("totalvi"):
        begin = time.perf_counter()
        scores["totalVI"] = by_totalvi(train, test, arm=arm, truth=done.truth, python=totalvi, seed=seed)
        seconds["totalVI"] = time.perf_counter() - begin
    return {"scores": scores, "seconds": seconds, "scale": done.scale, "cells": [train.n_obs, test.n_obs]}


def by_totalvi(train, test, *, arm, truth, python, seed):
    """Let totalVI, in an environment of its own, predict the test cells' proteins, and score it on the same scale."""
    import pandas as pd

    program = Path(__file__).parent / "peers" / "totalvi_proteins.py"
    with tempfile.TemporaryDirectory() as scratch:
        for name, cells in (("train", train), ("test", test)):
            ad.AnnData(
                cells.X, obs=cells.obs[[]], var=cells.var[[]], obsm={"protein": cells.obsm["protein"]}
            ).write_h5ad(f"{scratch}/{name}.h5ad")
        command = [python, str(program), f"{scratch}/train.h5ad", f"{scratch}/test.h5ad", "--seed", str(seed)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
        expected = np.load(f"{scratch}/test.h5ad.npy")
    # Expected counts, brought to the total of the scale.
    predicted = np.log1p(expected / expected.sum(axis=1, keepdims=True) * arm.fitted.scale.typical)
    each = agreement(truth, predicted)
    flat = agreement(truth.reshape(-1, 1), predicted.reshape(-1, 1))
    overall = {
        "pearson": float(np.nanmedian(each.pearson)),
        "spearman": float(np.nanmedian(each.spearman)),
        "pearson_per_cell": float(np.nanmedian(agreement(truth, predicted, axis=1).pearson)),
        "pearson_overall": float(flat.pearson[0]),
        "rmse": float(flat.rmse[0]),
    }
    return pd.Series(overall), pd.DataFrame({"pearson": each.pearson}, index=arm.names)


def gather(runs: list[dict], plan: dict) -> dict:
    methods = list(runs[0]["scores"])
    baselines = [m for m in methods if m in ("mean", "ridge", "kNN", "PCA + ridge")]
    best = max(baselines, key=lambda m: np.nanmean([run["scores"][m][0]["pearson"] for run in runs]))
    rows = []
    for method in methods:
        row: dict = {"method": method}
        for score in (
            "pearson",
            "spearman",
            "pearson_per_cell",
            "pearson_overall",
            "rmse",
            "auroc",
            "average_precision",
        ):
            values = [run["scores"][method][0].get(score, np.nan) for run in runs]
            if not np.isnan(values).all():
                low, high = (round(float(f(values)), 4) for f in (np.nanmin, np.nanmax))
                row[score] = {"mean": round(float(np.nanmean(values)), 4), "min": low, "max": high}
        row["difference"] = difference(runs, method, best) if method not in baselines else None
        seconds = [run["seconds"].get(method) for run in runs]
        row["fit_seconds"] = None if None in seconds else round(float(np.mean(seconds)), 1)
        rows.append(row)
    return {
        "to": plan["to"],
        "held_out": plan["by"] or "cells",
        "cells": [run["cells"] for run in runs],
        "scale": [run["scale"] for run in runs],
        "best_baseline": best,
        "methods": rows,
    }


def difference(runs: list[dict], method: str, best: str) -> dict:
    """Median correlation of a method minus that of a baseline, mean over seeds; features are drawn anew."""
    pairs = [np.stack([run["scores"][m][1]["pearson"].to_numpy() for m in (method, best)], axis=1) for run in runs]
    rng, n = np.random.default_rng(0), len(pairs[0])
    draws = [np.arange(n), *(rng.integers(n, size=n) for _ in range(1000))]
    found = [np.mean([np.subtract(*np.nanmedian(pair[draw], axis=0)) for pair in pairs]) for draw in draws]
    low, high = np.nanpercentile(found[1:], [2.5, 97.5])
    return {"mean": round(float(found[0]), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


if __name__ == "__main__":
    main()
