"""Names cells with one of the peers, trained on the same reference; runs in a Python that has them.

    PEERS_PYTHON -m benchmarks.peers.annotators celltypist|xgboost|scanvi REFERENCE.h5ad QUERY.h5ad OUT.json --seed 0

Both files hold raw counts on the same genes; ``obs["label"]`` of the reference has the names, ``obs["batch"]`` of both
the batches that scANVI is told. OUT gets a list of names, one per cell of the query, and the CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import anndata as ad
import numpy as np

UNKNOWN = "(unknown)"
TOP_GENES = 2000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("method", choices=list(METHODS))
    parser.add_argument("reference")
    parser.add_argument("query")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    reference, query = ad.read_h5ad(given.reference), ad.read_h5ad(given.query)
    started = time.process_time()
    names = METHODS[given.method](reference, query, seed=given.seed)
    found = {"names": [str(name) for name in names], "cpu_seconds": round(time.process_time() - started, 1)}
    given.out.write_text(json.dumps(found))


def celltypist(reference, query, *, seed):  # noqa: ARG001 (has none)
    """CellTypist's logistic regression with its feature selection, no majority voting."""
    import celltypist as package

    for adata in (reference, query):
        adata.X = log_normalise(adata.X)
    model = package.train(reference, labels="label", n_jobs=1, feature_selection=True, check_expression=False)
    return package.annotate(query, model=model, majority_voting=False).predicted_labels["predicted_labels"]


def xgboost(reference, query, *, seed):
    """Boosted trees on log1p CP10k, classes weighing the same."""
    from xgboost import XGBClassifier

    names, codes, n = np.unique(reference.obs["label"].astype(str), return_inverse=True, return_counts=True)
    trees = XGBClassifier(
        n_estimators=200, max_depth=6, learning_rate=0.1, subsample=0.8, colsample_bytree=0.5, tree_method="hist",
        random_state=seed, n_jobs=1,
    )  # fmt: skip
    weight = (len(codes) / (len(names) * n))[codes]
    trees.fit(log_normalise(reference.X), codes, sample_weight=weight)
    return names[trees.predict(log_normalise(query.X))]


def scanvi(reference, query, *, seed):
    """ScVI and then scANVI of the reference's most variable genes, adapted to the query without labels."""
    import scanpy as sc
    import scvi

    scvi.settings.seed = seed
    if reference.n_vars > TOP_GENES:
        values = reference.copy()
        values.X = log_normalise(values.X)
        sc.pp.highly_variable_genes(values, n_top_genes=TOP_GENES)
        kept = values.var["highly_variable"].to_numpy()
        reference, query = reference[:, kept].copy(), query[:, kept].copy()
    reference.obs["told"], query.obs["told"] = reference.obs["label"].astype(str), UNKNOWN
    scvi.model.SCVI.setup_anndata(reference, batch_key="batch", labels_key="told")
    quiet = {"enable_progress_bar": False, "logger": False, "accelerator": "cpu"}
    base = scvi.model.SCVI(reference, n_layers=2, n_latent=30)
    base.train(max_epochs=60, **quiet)
    model = scvi.model.SCANVI.from_scvi_model(base, unlabeled_category=UNKNOWN, labels_key="told")
    # A last batch of a single cell, as 100 per label may leave one, cannot be normalised: it is left out.
    whole = {"datasplitter_kwargs": {"drop_last": True}}
    model.train(max_epochs=20, n_samples_per_label=100, **whole, **quiet)
    new = scvi.model.SCANVI.load_query_data(query, model)
    new.train(max_epochs=60, plan_kwargs={"weight_decay": 0.0}, **quiet)
    return new.predict()


def log_normalise(counts):
    """log1p of counts per 10,000."""
    counts = counts.tocsr().astype(np.float32)
    totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0)
    counts.data = np.log1p(counts.data * np.repeat((1e4 / totals).astype(np.float32), np.diff(counts.indptr)))
    return counts


METHODS = {"celltypist": celltypist, "xgboost": xgboost, "scanvi": scanvi}

if __name__ == "__main__":
    main()
