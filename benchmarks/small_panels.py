"""Whether cells with few measured genes are comparable with others, and which of our two corrections makes them so.

    python -m benchmarks.small_panels

Two things go wrong with few genes. Counts per 10,000 are inflated, as the total runs over the few: scssl multiplies by
the share of a typical cell's counts that the measured genes carry. And what is not measured says nothing, so that every
cell lies near the mean: scssl weights the measured genes up by the share of the input's variance that they carry. Both
hold in pre-training and in use. Here models with both, without the first, and without the second (three seeds) are used
for zero-shot annotation: half of pbmc3k with all its genes labels the other half seen through 1,287 genes (those of
kang_ctrl_8donors_1287g, or drawn at random), and kang_ifnb_scgen, whose genes carry about a third of a cell's counts,
labels pbmc3k.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np

import scssl
from benchmarks import protocol
from scssl.genes import harmonise
from scssl.metrics import classification_scores
from scssl.nn import inputs
from scssl.nn.inputs import LEAST_SEEN
from scssl.tasks import Annotator
from scssl.tasks.annotate.knn import vote

SEEDS = (0, 1, 2)
EPOCHS = 20
ARMS = ("both", "totals not corrected", "not weighted up")
TARGET = "pbmc3k_10xv1"
KANG = "kang_ifnb_scgen"
MAP = Path(__file__).parent / "label_maps" / "pbmc3k_to_kang_ifnb_scgen.csv"


class Uncorrected(scssl.Corpus):
    """A corpus that takes every panel for a full one."""

    def gene_share(self):  # noqa: D102
        # A model that finds no share anywhere takes a query's panel for a full one too.
        return np.zeros(len(self.panel), dtype=np.float32)

    def measured_share(self):  # noqa: D102
        return np.ones(len(self.sources), dtype=np.float32)


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        protocol.build_corpus(Path(scratch) / "corpus", genes="hvg:3000")
        for seed, arm in itertools.product(SEEDS, ARMS):
            # At 1 the share of variance that is seen counts as all of it.
            inputs.LEAST_SEEN = 1.0 if arm == "not weighted up" else LEAST_SEEN
            corpus = (Uncorrected if arm == "totals not corrected" else scssl.Corpus).open(Path(scratch) / "corpus")
            model = scssl.pretrain(corpus, max_epochs=EPOCHS, seed=seed)
            for test, f1 in scores(model, seed=seed).items():
                rows.append({"test": test, "arm": arm, "seed": seed, "macro_f1": round(f1, 4)})
                print(rows[-1], flush=True)
    summary = []
    for test in dict.fromkeys(row["test"] for row in rows):
        for arm in ARMS:
            mine = [row["macro_f1"] for row in rows if row["test"] == test and row["arm"] == arm]
            summary.append(
                {
                    "test": test,
                    "arm": arm,
                    "macro_f1": round(float(np.mean(mine)), 4),
                    "lowest_seed": min(mine),
                    "highest_seed": max(mine),
                }
            )
    protocol.write(
        "small_panels", command="python -m benchmarks.small_panels", result={"summary": summary, "scores": rows}
    )
    for line in summary:
        print(line)


def scores(model: scssl.CellModel, *, seed: int) -> dict[str, float]:
    path = protocol.DATA / f"{TARGET}.h5ad"
    cells, names = ad.read_h5ad(path), protocol.labels_of(path)
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(names.notna().to_numpy()))
    reference, query = np.array_split(order, 2)
    types, labels = np.unique(names.iloc[order].astype(str), return_inverse=True)
    truth = types[labels[len(reference) :]]
    codes = model.embed(cells[reference].copy())

    on_panel = np.flatnonzero(harmonise(cells.var, model.panel).index >= 0)
    kang = set(ad.read_h5ad(protocol.DATA / "kang_ctrl_8donors_1287g.h5ad", backed="r").var_names)
    selections = {
        "all genes": cells.var_names,
        "1,287 genes of a Kang panel": cells.var_names[cells.var_names.isin(kang)],
        "1,287 genes at random": cells.var_names[np.sort(rng.choice(on_panel, 1287, replace=False))],
    }
    out = {}
    for test, genes in selections.items():
        seen = model.embed(cells[query][:, genes].copy())
        called = types[vote(codes, labels[: len(reference)], seen, k=5).label]
        out[f"half of pbmc3k labels the other half: {test}"] = classification_scores(truth, called).macro_f1
    annotator = Annotator(model).fit(protocol.DATA / f"{KANG}.h5ad", labels="cell_type")
    out["Kang labels pbmc3k"] = annotator.evaluate(path, truth="cell_type", label_map=MAP).macro_f1
    return out


if __name__ == "__main__":
    main()
