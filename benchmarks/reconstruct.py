"""Whether pre-training helps to reconstruct expression, on counts that no method could see.

    OMP_NUM_THREADS=1 PEERS_PYTHON=... python -m benchmarks.reconstruct

Kang's controls (8 donors: 4 are the reference, 4 the query) and pbmc3k (one donor: half of the cells each), which the
corpus does not hold. Masked models of log values (mse) and of counts (nb) are pre-trained on the immune corpus without
them, then used as they are (zero-shot), trained further on the reference (fine-tuned), or replaced by the same network
that learns from the reference alone (scratch). Half of the counts of each query cell are seen, the other half scored;
20 % of the measured genes of each cell are hidden; or a fifth of the genes is taken out of the query whole, as if its
panel lacked them (`absent_genes`). Baselines see the seen counts of the query. scVI, trained on the reference, takes
part if PEERS_PYTHON names a Python that has scvi-tools; hidden genes look like zeros to it. Three seeds draw
everything: cells, donors, weights, what is held out. Intervals are Student's over seeds, of the difference to
neighbours in the same seed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import torch
from scipy import stats

import scssl
from benchmarks import protocol
from benchmarks.absent_genes import Absent, cells_like, cells_of
from scssl import log
from scssl.genes import GenePanel, harmonise
from scssl.tasks import Reconstructor
from scssl.tasks.reconstruct.baselines import Predicted
from scssl.tasks.reconstruct.moments import log_moments

if TYPE_CHECKING:
    from scssl.metrics import ReconstructionScores
    from scssl.tasks.reconstruct.scoring import Held

TARGETS = {"kang": "kang_ctrl_8donors_1287g", "pbmc3k": "pbmc3k_10xv1"}
EXCLUDED = (
    f"file not in ['pbmc3k_10xv1', 'kang_ifnb_harmony', 'kang_ifnb_scgen'] and batch != {protocol.COPIES_OF_TARGETS!r}"
)
SEEDS = (0, 1, 2)
VARIABLE, EPOCHS = 1200, 6
"""Variable genes of the corpus, beside the genes that Kang measured; passes over it."""
CELLS = 1000
"""Of reference and query, at most, each."""
ARMS = (("mse", "zero_shot"), ("mse", "finetune"), ("nb", "zero_shot"), ("nb", "finetune"), ("nb", "scratch"))
STEPS = {"finetune": 300, "scratch": 600}
SCORES = (
    "weighted_explained_variance", "gene_explained_variance", "gene_pearson", "cell_pearson",
    "nonzero_weighted_explained_variance", "nonzero_gene_pearson", "poisson_deviance", "nb_deviance",
)  # fmt: skip
AGAINST = ("kNN smoothing", "neighbours in the corpus", "neighbours in the reference")
"""One of them in each case."""
LACKING, HAVING = "absent, from the reference too", "absent, reference has them"
SCRIPT = Path(__file__).parent / "peers" / "scvi_reconstruct.py"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--name", default="reconstruct")
    args = parser.parse_args()
    log.configure(quiet=True)
    torch.set_num_threads(1)
    started = time.perf_counter()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        corpus = build_corpus(Path(scratch) / "corpus")
        for seed in SEEDS[: args.seeds]:
            models = {
                loss: scssl.pretrain(
                    corpus, max_epochs=EPOCHS, seed=seed, overrides=[f"task.loss={loss}"], device="cpu", loggers=["csv"]
                )
                for loss in ("mse", "nb")
            }
            for target in TARGETS:
                rows += scored(target, models, corpus=cells_of(corpus), seed=seed)
                print(f"seed {seed}, {target}: {time.perf_counter() - started:.0f} s", flush=True)
        cells = {split: corpus.n_cells(split) for split in ("train", "val")}
    table = pd.DataFrame(rows)
    summary = summarise(table)
    print(summary.to_string())
    result = {
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "corpus_cells": cells,
        "summary": summary.round(4).to_dict(orient="records"),
        "rows": table.round(5).to_dict(orient="records"),
    }
    command = "OMP_NUM_THREADS=1 PEERS_PYTHON=... python -m benchmarks.reconstruct"
    protocol.write(args.name, command=command, result=result)


def build_corpus(folder: Path) -> scssl.Corpus:
    """Build the corpus without the targets, on its most variable genes and those that Kang measured."""

    def build(genes: str | Path, out: str) -> scssl.Corpus:
        return scssl.Corpus.build(
            protocol.DATA / "human_immune_corpus.h5ad", folder / out, genes=genes, obs=["cell_type", "donor"],
            source="file", measured="uns:measured", where=EXCLUDED, unlabelled=["unknown"], split_by="donor",
            val=0.05, test=0,
        )  # fmt: skip

    human = GenePanel.builtin("human")
    var = ad.read_h5ad(protocol.DATA / f"{TARGETS['kang']}.h5ad", backed="r").var
    kang = human.ids[harmonise(var, human, file="kang").measured]
    folder.mkdir()
    genes = folder / "genes.txt"
    genes.write_text("\n".join(dict.fromkeys([*kang, *build(f"hvg:{VARIABLE}", "variable").panel.ids])))
    return build(genes, "corpus")


def divided(target: str, *, seed: int) -> tuple[ad.AnnData, ad.AnnData]:
    """Return reference and query: other donors, or other cells where there is one donor only."""
    cells = ad.read_h5ad(protocol.DATA / f"{TARGETS[target]}.h5ad")
    rng = np.random.default_rng(seed)
    unit = cells.obs["donor"].astype(str).to_numpy() if target == "kang" else cells.obs_names.to_numpy()
    names = rng.permutation(np.unique(unit))
    first = np.isin(unit, names[: len(names) // 2])
    parts = [np.flatnonzero(first), np.flatnonzero(~first)]
    return tuple(cells[np.sort(rng.permutation(part)[:CELLS])].copy() for part in parts)


def plain(scores: ReconstructionScores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in SCORES}


def fitted(model: scssl.CellModel, mode: str, reference: ad.AnnData, *, seed: int) -> Reconstructor:
    options = {}
    if mode != "zero_shot":
        steps = max(1, len(reference) // 64)
        options["epochs"] = -(-STEPS[mode] // steps)
    return Reconstructor(model, mode=mode, **options).fit(reference, seed=seed, device="cpu")


def scored(target: str, models: dict[str, scssl.CellModel], *, corpus: tuple, seed: int) -> list[dict]:
    """Score all methods on a target; rows of plain values."""
    reference, query = divided(target, seed=seed)
    found: dict[tuple[str, str], dict] = {}
    absent = Absent(query, models["nb"], seed=seed)
    found[LACKING, AGAINST[1]] = plain(absent.by_neighbours(*corpus, seed=seed))
    found[HAVING, AGAINST[2]] = plain(absent.by_neighbours(*cells_like(reference, absent.panel), seed=seed))
    for loss, mode in ARMS:
        arm = fitted(models[loss], mode, reference, seed=seed)
        named = f"{mode.replace('_', '-')}, {loss}"
        if mode != "scratch":
            fewer = arm if mode == "zero_shot" else fitted(models[loss], mode, absent.without(reference), seed=seed)
            found[LACKING, named] = plain(absent.by_model(fewer.fitted.model))
        if mode != "zero_shot":
            found[HAVING, named] = plain(absent.by_model(arm.fitted.model))
        for how in ("thinned", "hidden"):
            peers = {}
            if not found.get((how, "scVI")) and os.environ.get("PEERS_PYTHON"):
                peers["scVI"] = lambda held: scvi(held, reference, models[loss], seed=seed)  # noqa: B023
            scores = arm.evaluate(query, hold_out=how, labels="cell_type", seed=seed, device="cpu", others=peers)
            for name, values in scores.scores.items():
                own = name == arm.mode
                key = (how, named if own else name)
                if key not in found:
                    more = {"errors_over_sd": scores.settings["errors_over_sd"]} if own else {}
                    found[key] = plain(values) | more
    return [
        {"target": target, "seed": seed, "hold_out": how, "method": method, **values}
        for (how, method), values in found.items()
    ]


def scvi(held: Held, reference: ad.AnnData, model: scssl.CellModel, *, seed: int):
    """Train scVI on the reference, and let it predict from the seen counts."""
    measured = held.sample.measured
    genes = harmonise(reference.var, model.panel, file="reference")
    counts = genes.apply(reference.X.tocsr())[:, measured].astype(np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / "reference.h5ad", Path(scratch) / "seen.h5ad"]
        var = pd.DataFrame(index=list(model.panel.ids[measured]))
        counts = counts[np.asarray(counts.sum(axis=1)).ravel() > 0]
        for path, values in zip(paths, (counts, held.split.seen[:, measured]), strict=True):
            obs = pd.DataFrame(index=[str(i) for i in range(values.shape[0])])
            ad.AnnData(values.tocsr(), obs=obs, var=var).write_h5ad(path)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [os.environ["PEERS_PYTHON"], str(SCRIPT), *map(str, paths), "--seed", str(seed)]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found = np.load(f"{paths[1]}.npz")
        share, theta = found["share"], torch.from_numpy(found["theta"])

    def method(cells: slice) -> Predicted:
        total = torch.from_numpy(held.split.expected_total[cells].astype(np.float32))[:, None]
        mean = total * torch.from_numpy(share[cells])
        expected, _ = log_moments(mean, theta=theta, zero=None, scale=held.scale / total)
        return Predicted(expected.numpy(), share[cells])

    return method


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds, and the difference to neighbours with its interval."""
    rows = []
    for (target, how), part in table.groupby(["target", "hold_out"], sort=False):
        base = part[part["method"].isin(AGAINST)].set_index("seed")
        for method, group in part.groupby("method", sort=False):
            values = group.set_index("seed")
            row = {"target": target, "hold_out": how, "method": method, **values[list(SCORES)].mean()}
            for score in ("weighted_explained_variance", "nb_deviance"):
                difference = (values[score] - base[score]).to_numpy()
                n = len(difference)
                half = float(stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
                middle = float(difference.mean())
                row |= {f"{score}_vs_knn": middle, f"{score}_low": middle - half, f"{score}_high": middle + half}
            rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
