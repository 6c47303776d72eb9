"""Naming cells of new donors and new studies: scssl in all modes, simple baselines, and peers, on the same reference.

    OMP_NUM_THREADS=1 PEERS_PYTHON=... python -m benchmarks.annotate [--folder DIR] [--seeds 3] [--tasks kang_donors]
        [--methods scanvi]

Tasks: Kang et al.'s donors left out (two folds of four; every cell is predicted once), pbmc3k as their reference,
they for pbmc3k, and the immune corpus' labelled cells of other studies for each of these, a pancreatic tumour and
lymphoid organs, where types overlap. All methods get the genes that reference and query share. The
pre-training corpora (immune corpus, 3,000 variable genes, masked, 10 epochs) hold no cell of the query: see
`benchmarks.annotation_tasks`.

PEERS_PYTHON is a Python with celltypist (which needs scikit-learn below 1.8), scvi-tools and xgboost; without it they
are left out. What is done is kept in DIR, so that an interrupted run goes on. About 6 CPU minutes per seed for scssl
and baselines, and 30 with peers, most of it scANVI's. Intervals: 95 %, seeds drawn with replacement, and
donors where there are at least five, or else cells, which says nothing about new donors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

import scssl
from benchmarks import protocol
from benchmarks.annotation_tasks import FOLDS, Task, build_corpora, list_tasks
from scssl.metrics import classification_scores
from scssl.study.bootstrap import MIN_DONORS, choose_units, count, interval
from scssl.tasks import Annotator
from scssl.tasks.annotate.knn import vote

EPOCHS = 10
MODES = ("zero_shot", "probe", "finetune", "scratch")
BASELINES = ("PCA + kNN", "PCA + logistic regression", "logistic regression on log1p")
PEERS = ("celltypist", "scanvi", "xgboost")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="keeps corpora, models and predictions")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", default="", help="names, separated by commas; all by default")
    parser.add_argument("--methods", default="", help="likewise")
    parser.add_argument("--only-kept", action="store_true", help="score what is in the folder, and run nothing")
    given = parser.parse_args()
    peers = os.environ.get("PEERS_PYTHON", "")
    methods = [*(f"scssl {mode}" for mode in MODES), *BASELINES, *(PEERS if peers or given.only_kept else ())]
    methods = [name for name in methods if not given.methods or name in given.methods.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        corpora = build_corpora(folder)
        rows: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for seed in range(given.seeds):
            for task in list_tasks(folder, seed=seed):
                if given.tasks and task.name not in given.tasks.split(","):
                    continue
                for method in methods:
                    if given.only_kept and not _kept(task, method, seed=seed, folder=folder).is_file():
                        continue
                    try:
                        found = predict(task, method, corpora=corpora, seed=seed, folder=folder, peers=peers)
                    except subprocess.CalledProcessError as error:
                        # Of another package: the others are not to wait for it.
                        failed.append({"task": task.name, "part": task.part, "method": method, "seed": seed})
                        print(failed[-1], error, flush=True)
                        continue
                    rows.append({"task": task.name, "part": task.part, "method": method, "seed": seed, **found})
                    print(task.name, task.part, method, seed, found["cpu_seconds"], flush=True)
    parts = pd.DataFrame(rows).groupby(["task", "method", "seed"])["part"].nunique()
    whole = {key for key, n in parts.items() if n == (FOLDS if key[0] == "kang_donors" else 1)}
    table = summarise([row for row in rows if (row["task"], row["method"], row["seed"]) in whole])
    protocol.write(
        "annotate",
        command="OMP_NUM_THREADS=1 PEERS_PYTHON=... python -m benchmarks.annotate",
        result={"epochs": EPOCHS, "scores": table, "failed": failed},
    )
    print(pd.DataFrame(table).drop(columns=["interval"]).to_string())


def predict(
    task: Task, method: str, *, corpora: dict[str, Path], seed: int, folder: Path, peers: str
) -> dict[str, Any]:
    """Name the cells of a task's query; or read what was kept."""
    kept = _kept(task, method, seed=seed, folder=folder)
    if not kept.is_file():
        unfinished = kept.with_suffix(".part")
        if method in PEERS:
            words = [task.reference, task.query, unfinished, "--seed", seed]
            command = [peers, "-m", "benchmarks.peers.annotators", method, *map(str, words)]
            subprocess.run(command, check=True, stdout=sys.stderr)
        else:
            started = time.process_time()
            model = pretrained(corpora[task.corpus], seed=seed, folder=folder) if method.startswith("scssl") else None
            pre_training = time.process_time() - started
            started = time.process_time()
            names = own(task, method, model=model, seed=seed) if model else baseline(task, method, seed=seed)
            found = {"names": [str(name) for name in names]}
            found |= {"cpu_seconds": round(time.process_time() - started, 1), "pre_training": round(pre_training, 1)}
            unfinished.write_text(json.dumps(found))
        unfinished.rename(kept)
    return json.loads(kept.read_text()) | {"query": str(task.query)}


def _kept(task: Task, method: str, *, seed: int, folder: Path) -> Path:
    return folder / f"{task.name}-{task.part}-{seed}-{method.replace(' ', '_')}.json"


def pretrained(corpus: Path, *, seed: int, folder: Path) -> scssl.CellModel:
    """Return the model of a corpus and a seed, trained once."""
    path = folder / f"{corpus.name}-model-{seed}"
    if not (path / "model.safetensors").is_file():
        overrides = ["training.probe_every=1000"]
        model = scssl.pretrain(corpus, pretext="masked", max_epochs=EPOCHS, seed=seed, overrides=overrides)
        model.save(path, overwrite=True)
    return scssl.load(path)


def own(task: Task, method: str, *, model: scssl.CellModel, seed: int) -> np.ndarray:
    """Name cells with an annotator, which must name each: nothing is rejected."""
    annotator = Annotator(model, mode=method.split()[1], error_budget=0, error_rate=0)  # type: ignore[arg-type]
    annotator.fit(task.reference, labels="label", seed=seed)
    return annotator.annotate(task.query).labels.astype(object)


def baseline(task: Task, method: str, *, seed: int) -> np.ndarray:
    """Name cells by methods that need no pre-training; PCA is fitted on the reference."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from benchmarks.peers.annotators import log_normalise

    reference, query = ad.read_h5ad(task.reference), ad.read_h5ad(task.query)
    names, codes = np.unique(reference.obs["label"].astype(str), return_inverse=True)
    values, asked = log_normalise(reference.X), log_normalise(query.X)
    regression = LogisticRegression(max_iter=300, class_weight="balanced")
    if method.startswith("PCA"):
        pca = PCA(50, svd_solver="arpack", random_state=seed).fit(values)
        values, asked = pca.transform(values), pca.transform(asked)
        if method.endswith("kNN"):
            return names[vote(values, codes, asked, k=5).label]
        regression = make_pipeline(StandardScaler(), regression)
    return names[regression.fit(values, codes).predict(asked)]


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Scores over whole queries, folds put together, per task and method, with intervals."""
    out = []
    table = pd.DataFrame(rows)
    for task, mine in table.groupby("task", sort=False):
        for method, part in mine.groupby("method", sort=False):
            scores = []
            for seed, runs in part.groupby("seed"):
                obs = pd.concat([ad.read_h5ad(path, backed="r").obs for path in runs["query"]], ignore_index=True)
                truth = obs["label"].to_numpy(dtype=str)
                predicted = np.concatenate([np.asarray(names, dtype=str) for names in runs["names"]])
                found = classification_scores(truth, predicted)
                scores.append((seed, found, truth, predicted, obs["donor"].to_numpy(dtype=str)))
            out.append(
                {
                    "task": task,
                    "method": method,
                    "macro_f1": round(float(np.mean([s[1].macro_f1 for s in scores])), 4),
                    "macro_f1_seeds": [round(s[1].macro_f1, 4) for s in scores],
                    "accuracy": round(float(np.mean([s[1].accuracy for s in scores])), 4),
                    "interval": _interval(scores),
                    "n_cells": int(scores[0][1].n_cells),
                    "n_types": len(scores[0][1].per_class),
                    "cpu_seconds": round(float(part["cpu_seconds"].mean() * part["part"].nunique()), 1),
                }
            )
    return out


def _interval(scores: list[tuple]) -> dict[str, Any]:
    """Interval of the mean macro F1 over seeds."""
    names = np.unique(np.concatenate([labels for _, _, *both, _ in scores for labels in both]))
    truths, predictions = ([np.searchsorted(names, each[i]) for each in scores] for i in (2, 3))
    donors = [np.unique(each[4], return_inverse=True)[1] for each in scores]
    if len(np.unique(donors[0])) >= MIN_DONORS:
        # Folds of donors differ between seeds, and with them the order of the cells, but not the donors.
        each = [choose_units(d, t, p[None]) for d, t, p in zip(donors, truths, predictions, strict=True)]
    else:
        each = [choose_units(donors[0], truths[0], np.stack(predictions))] * len(scores)
    counts = [count(t, p, u, n_classes=len(names)) for t, p, u in zip(truths, predictions, each, strict=True)]
    return interval(np.stack(counts), each[0]).to_dict()


if __name__ == "__main__":
    main()
