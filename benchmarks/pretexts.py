"""Every pretext task with the same budget: what its embedding is worth, frozen.

    python -m benchmarks.pretexts [--workers 4] [--only "masked;byol"] [--folder DIR]

Each task pre-trains the default network for 10 epochs on two corpora: simulated studies with batch effects (8,000
cells, 2,000 genes, 4 studies, 24 donors), and the immune corpus without pbmc3k and without the 300 of its cells that
another file of the corpus holds a second time (3,000 most variable genes). Three seeds; on simulated data the seed
draws the atlas as well. Then, frozen: zero-shot kNN (k=5) and a linear probe, from 10 labels per type (mean of five
draws) and from all labels, on donors held out of pre-training, with the training donors as the reference; and on
pbmc3k, with 10 labels per type of its own. Macro-F1. PCA is fitted on the same training cells. Every task has its
defaults. Those of the network, of masking and of the two-view tasks were chosen with pbmc3k, and simulated cells of
other seeds, among the data looked at: this compares tasks, it does not confirm that any of them is good on new data.
What is done is kept in DIR, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import scssl
from benchmarks import protocol
from scssl.files import whole

EPOCHS = 10
SEEDS = (0, 1, 2)
N_LABELS, DRAWS = 10, 5
TARGET = "pbmc3k_10xv1"
ARMS: dict[str, tuple[str, list[str]]] = {
    "masked, random 50 %": ("masked", []),
    "masked, random 25 %": ("masked", ["task.rate=0.25"]),
    "masked, one mask per batch": ("masked", ["task.group_size=512"]),
    "masked, programmes": ("masked", ["task.masking=programme", "task.programmes=modules:50", "task.rate=0.25"]),
    "masked, programme to programme": (
        "masked",
        ["task.masking=programme_to_programme", "task.programmes=modules:50"],
    ),
    "masked, programme to TF": ("masked", ["task.masking=programme_to_tf", "task.programmes=regulons:FACTORS"]),
    "masked, negative binomial": ("masked", ["task.loss=nb"]),
    "masked, zero-inflated": ("masked", ["task.loss=zinb"]),
    "masked, Poisson": ("masked", ["task.loss=poisson"]),
    "masked, expressed or not": ("masked", ["task.loss=bce"]),
    "masked, zeros balanced": ("masked", ["task.balance_zeros=true"]),
    "byol": ("byol", []),
    "barlow_twins": ("barlow_twins", []),
    "vicreg": ("vicreg", []),
    "simclr": ("simclr", []),
    "combined, vicreg": ("combined", []),
    "combined, simclr": ("combined", ["task.two_view=simclr"]),
    "autoencoder": ("autoencoder", []),
    "none": ("none", []),
    "PCA (50)": ("", []),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="names of tasks or of rows, separated by semicolons")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--name", default="pretexts")
    parser.add_argument("--folder", type=Path, help="keeps what is done")
    given = parser.parse_args()
    asked = given.only.split(";") if given.only else []
    arms = {a: t for a, t in ARMS.items() if not asked or a in asked or t[0] in asked}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        (folder / "kept").mkdir(parents=True, exist_ok=True)
        jobs = [
            (data, arm, seed, given.epochs, str(folder))
            for seed in range(given.seeds)
            for data in prepare(folder, seed=seed)
            for arm in arms
        ]
        # Processes that start afresh: forked ones would share the state of torch's threads.
        with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn"), initializer=one_thread) as pool:
            for found in pool.map(run, jobs):
                rows += found
                print(json.dumps(found), flush=True)
    # Arms that were not run again keep their scores.
    path = protocol.RESULTS / f"{given.name}.json"
    before = json.loads(path.read_text())["scores"] if given.only and path.is_file() else []
    rows = [row for row in before if row["arm"] not in arms] + rows
    rows.sort(key=lambda row: (row["data"], row["seed"], list(ARMS).index(row["arm"])))
    summary = summarise(rows)
    protocol.write(
        given.name,
        command="python -m benchmarks.pretexts",
        result={"epochs": given.epochs, "seeds": given.seeds, "summary": summary, "scores": rows},
    )
    print(pd.DataFrame(summary).to_string())


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def prepare(folder: Path, *, seed: int) -> list[str]:
    """Build the corpora of a seed, where they are not there yet; the immune corpus is that of all seeds."""
    if (folder / f"simulated-{seed}").exists() and (folder / "immune").exists():
        return [f"simulated-{seed}", "immune"]
    atlas = scssl.datasets.simulate_atlas(
        8000, 2000, n_types=12, n_studies=4, n_donors=24, batch_effect=0.5, seed=100 + seed
    )
    name = f"simulated-{seed}"
    atlas.write_h5ad(folder / f"{name}.h5ad")
    (folder / f"{name}.factors").write_text("\n".join(atlas.var_names[atlas.var["is_tf"]]))
    scssl.Corpus.build(
        folder / f"{name}.h5ad", folder / name, genes="union", obs=["cell_type"], source="study", test=0.2, seed=seed
    )
    if seed == 0:
        factors = protocol.DATA.parent / "tf" / "lambert2018.txt"
        (folder / "immune.factors").write_text(factors.read_text())
        scssl.Corpus.build(
            protocol.DATA / "human_immune_corpus.h5ad",
            folder / "immune",
            genes="hvg:3000",
            obs=["cell_type"],
            source="file",
            measured="uns:measured",
            where=f"file != {TARGET!r} and batch != {protocol.COPIES_OF_TARGETS!r}",
            unlabelled=["unknown"],
            test=0.2,
        )
    return [name, "immune"]


def run(job: tuple[str, str, int, int, str]) -> list[dict[str, Any]]:
    """Pre-train one arm and score it."""
    data, arm, seed, epochs, folder = job
    kept = Path(folder) / "kept" / "-".join(["".join(filter(str.isalnum, arm)), data, str(seed), f"{epochs}.json"])
    if kept.is_file():
        return json.loads(kept.read_text())
    corpus = scssl.Corpus.open(Path(folder) / data)
    pretext, overrides = ARMS[arm]
    overrides = [o.replace("FACTORS", f"{folder}/{data}.factors") for o in overrides]
    started = time.process_time()
    if pretext:
        overrides = [*overrides, "training.probe_every=1000"]
        model = scssl.pretrain(corpus, pretext=pretext, max_epochs=epochs, seed=seed, overrides=overrides)
    else:
        from scssl.study import PCAEncoder

        model = PCAEncoder(corpus.panel, n_components=50, seed=seed).fit(corpus)
    common = {
        "data": data.partition("-")[0],
        "arm": arm,
        "seed": seed,
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    codes = {split: embed(model, corpus, split) for split in ("train", "test")}
    labels = {split: corpus.obs(split)["cell_type"].astype(object) for split in ("train", "test")}
    known = {split: labels[split].notna().to_numpy() for split in labels}
    reference, query = (
        (codes[split][known[split]], labels[split][known[split]].to_numpy(dtype=str)) for split in codes
    )
    rows = [
        {**common, "on": "held-out donors", "labels": "10 per type", **few_labels(reference, query)},
        {**common, "on": "held-out donors", "labels": "all", **scores(reference, query)},
    ]
    if data == "immune":
        path = protocol.DATA / f"{TARGET}.h5ad"
        names = protocol.labels_of(path)
        own = model.embed(path)[names.notna().to_numpy()], names[names.notna()].to_numpy(dtype=str)
        rows.append({**common, "on": "pbmc3k", "labels": "10 per type", **few_labels(own, own)})
    # Broken off half-written, it would count as done.
    with whole(kept) as unfinished:
        unfinished.write_text(json.dumps(rows))
    return rows


def embed(model: Any, corpus: scssl.Corpus, split: Any) -> np.ndarray:
    if hasattr(model, "embed_corpus"):
        return model.embed_corpus(corpus, split=split)
    parts = []
    for shard in corpus.shards_of(split):
        rows = shard.rows(0, shard.n_cells)
        arrays = (rows.values.astype(np.int64), rows.indices.astype(np.int32), rows.indptr)
        X = sp.csr_matrix(arrays, shape=(shard.n_cells, len(corpus.panel)))
        parts.append(model.embed(ad.AnnData(X, var=pd.DataFrame(index=corpus.panel.ids))))
    return np.concatenate(parts)


def few_labels(reference: tuple, query: tuple) -> dict[str, float]:
    """Mean scores over draws of 10 labels per type; types with fewer than 15 reference cells are left out.

    Where reference and query are the same cells, those with a drawn label are not scored.
    """
    codes, labels = reference
    types, counts = np.unique(labels, return_counts=True)
    types = types[counts >= protocol.MIN_CELLS]
    found = []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        picked = np.concatenate([rng.choice(np.flatnonzero(labels == t), N_LABELS, replace=False) for t in types])
        rest = np.isin(query[1], types)
        if reference is query:
            rest[picked] = False
        found.append(scores((codes[picked], labels[picked]), (query[0][rest], query[1][rest])))
    return {name: round(float(np.mean([f[name] for f in found])), 4) for name in found[0]}


def scores(reference: tuple, query: tuple) -> dict[str, float]:
    """Macro-F1 of kNN and of a linear probe."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from scssl.metrics import classification_scores
    from scssl.tasks.annotate.knn import vote

    types, codes = np.unique(reference[1], return_inverse=True)
    nearest = types[vote(reference[0], codes, query[0], k=5).label]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(reference[0], reference[1])
    return {
        "knn": round(classification_scores(query[1], nearest).macro_f1, 4),
        "probe": round(classification_scores(query[1], probe.predict(query[0])).macro_f1, 4),
    }


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over seeds, lowest and highest, and the mean paired difference from PCA, per score."""
    table = pd.DataFrame(rows)
    out = []
    for (data, on, labels, arm), mine in table.groupby(["data", "on", "labels", "arm"], sort=False):
        entry: dict[str, Any] = {"data": data, "on": on, "labels": labels, "arm": arm}
        same = (table["data"] == data) & (table["on"] == on) & (table["labels"] == labels)
        pca = table[same & (table["arm"] == "PCA (50)")].set_index("seed")
        for score in ("knn", "probe"):
            values = mine.set_index("seed")[score]
            entry |= {
                score: round(float(values.mean()), 4),
                f"{score}_lowest": round(float(values.min()), 4),
                f"{score}_highest": round(float(values.max()), 4),
            }
            if len(pca):
                entry[f"{score}_minus_pca"] = round(float((values - pca[score]).mean()), 4)
        entry["cpu_seconds"] = round(float(mine["cpu_seconds"].mean()), 1)
        out.append(entry)
    return out


if __name__ == "__main__":
    main()
