"""Whether small gene panels are comparable: pbmc3k with all its genes as reference, with few genes as query.

    python -m benchmarks.small_panels

Counts per 10,000 are inflated when the total runs over the few genes of a targeted panel. scssl multiplies by the share
of a typical cell's counts that the measured genes carry. The same models are used with and without that correction of
the query. Reference: half of the cells with all genes; query: the other half with the genes of a 1,287-gene panel (that
of kang_ctrl_8donors_1287g), or with as many genes drawn at random.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import anndata as ad
import numpy as np

import scssl
from benchmarks import protocol
from scssl import log
from scssl.genes import harmonise
from scssl.metrics import classification_scores
from scssl.tasks.knn import vote

SEEDS = (0, 1, 2)
EPOCHS = 20
TARGET = "pbmc3k_10xv1"


def main() -> None:
    log.configure()
    rows = []
    panels = {"Kang's 1,287 genes": kang_genes(), "1,287 genes at random": None}
    with tempfile.TemporaryDirectory() as scratch:
        corpus = protocol.build_corpus(Path(scratch) / "corpus", genes="hvg:3000")
        for seed in SEEDS:
            model = scssl.pretrain(corpus, max_epochs=EPOCHS, seed=seed)
            for name, genes in panels.items():
                for corrected in (True, False):
                    rows.append(
                        {
                            "panel": name,
                            "corrected": corrected,
                            "seed": seed,
                            **score(model, genes, corrected=corrected, seed=seed),
                        }
                    )
                    print(rows[-1], flush=True)
    summary = []
    for name in panels:
        for corrected in (True, False):
            mine = [row for row in rows if row["panel"] == name and row["corrected"] == corrected]
            summary.append(
                {
                    "panel": name,
                    "corrected": corrected,
                    "macro_f1": round(float(np.mean([row["macro_f1"] for row in mine])), 4),
                    "lowest": round(min(row["macro_f1"] for row in mine), 4),
                    "highest": round(max(row["macro_f1"] for row in mine), 4),
                    "shift": round(float(np.mean([row["shift"] for row in mine])), 3),
                }
            )
    protocol.write(
        "small_panels", command="python -m benchmarks.small_panels", result={"summary": summary, "scores": rows}
    )
    for line in summary:
        print(line)


def kang_genes() -> set[str]:
    return set(ad.read_h5ad(protocol.DATA / "kang_ctrl_8donors_1287g.h5ad", backed="r").var_names)


def score(model: scssl.CellModel, genes: set[str] | None, *, corrected: bool, seed: int) -> dict:
    adata = ad.read_h5ad(protocol.DATA / f"{TARGET}.h5ad")
    names = protocol.labels_of(protocol.DATA / f"{TARGET}.h5ad")
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(names.notna().to_numpy()))
    reference, query = np.array_split(order, 2)
    if genes is None:
        measured = np.flatnonzero(harmonise(adata.var, model.panel).index >= 0)
        chosen = adata.var_names[np.sort(rng.choice(measured, min(1287, len(measured)), replace=False))]
    else:
        chosen = adata.var_names[adata.var_names.isin(genes)]
    codes = model.embed(adata[reference].copy())
    share = model.encoder.gene_share.clone()
    if not corrected:
        # With equal weight on one measured gene and none elsewhere every panel carries a share of 1.
        model.encoder.gene_share.zero_()
    few = model.embed(adata[query][:, chosen].copy())
    model.encoder.gene_share.copy_(share)
    full = model.embed(adata[query].copy())
    types, labels = np.unique(names.iloc[order].astype(str), return_inverse=True)
    truth = labels[len(reference) :]
    votes = vote(codes, labels[: len(reference)], few, k=5)
    scores = classification_scores(types[truth], types[votes.label])
    spread = np.linalg.norm(full - full.mean(axis=0), axis=1).mean()
    return {
        "n_genes": len(chosen),
        "macro_f1": round(scores.macro_f1, 4),
        # How far a cell moves when most of its genes are taken away, in units of the spread between cells.
        "shift": round(float(np.linalg.norm(few - full, axis=1).mean() / spread), 3),
    }


if __name__ == "__main__":
    main()
