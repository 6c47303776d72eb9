"""Bringing batches together: scssl zero-shot and fine-tuned, PCA, Harmony and scVI, by scib-metrics, raw scores.

    OMP_NUM_THREADS=1 PEERS_PYTHON=... python -m benchmarks.integrate [--folder DIR] [--seeds 3] [--methods scVI]

Studies: sc_mixology (five cell lines known from their genotypes, five batches of two technologies), controls of Kang et
al. (eight donors as batches, 1,287 genes; 2,000 cells drawn) and PBMC of eight libraries from seven studies, which have
no labels, so that only mixing is scored. Models (3,000 variable genes, masked, 10 epochs) are pre-trained on the immune
corpus without these files, pbmc3k and pbmc4k, which share cells with the libraries. Development of the defaults used
simulated atlases, the eight libraries, and pbmc3k with lymphoid organs and a pancreatic tumour; sc_mixology and Kang
confirm.

All methods get the genes of the model's panel that the study has. PEERS_PYTHON is a Python with scvi-tools. What is
done is kept in DIR, so that an interrupted run goes on. Intervals: lowest and highest of three seeds (of pre-training
for scssl, of the method for the others); PCA and the limits have none.

Mapping: each batch in turn is left out, mapped to the others without training, and named by its five nearest cells.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import scssl
from benchmarks import protocol
from scssl.genes import harmonise
from scssl.metrics import classification_scores
from scssl.metrics.integration import MIXING, TYPES, integration_scores
from scssl.tasks import Integrator
from scssl.tasks.annotate.knn import vote
from scssl.tasks.integrate.controls import harmony, oracle, principal_components, shuffled

EPOCHS = 10
EXCLUDED = ("kang_ifnb_harmony", "kang_ifnb_scgen", "pbmc_8libraries_tidy", "pbmc3k_10xv1", "pbmc4k_asurat_2000c")
MAX_CELLS = 2000
SCVI = Path(__file__).parent / "peers" / "scvi_codes.py"
ONCE = ("PCA", "shuffled", "labels known")
"""Methods without a seed that matters."""
SCSSL = {
    "scssl, batches not moved": {"correct": "none"},
    "scssl, centred": {"correct": "centre"},
    "scssl, clusters (default)": {"correct": "clusters"},
    "scssl, fine-tuned, clusters": {"correct": "clusters", "mode": "finetune"},
}
METHODS = (*SCSSL, "Harmony on PCA", "scVI", *ONCE)


class Study(NamedTuple):
    """Cells of several batches."""

    name: str
    cells: ad.AnnData
    batch: str
    labels: np.ndarray | None


def studies() -> list[Study]:
    found = []
    for name, file, labelled in (
        ("sc_mixology", "sc_mixology_cell_lines", True),
        ("kang", "kang_ctrl_8donors_1287g", True),
        ("pbmc_8libraries", "pbmc_8libraries_tidy", False),
    ):
        cells = ad.read_h5ad(protocol.DATA / f"{file}.h5ad")
        if cells.n_obs > MAX_CELLS:
            cells = cells[np.sort(np.random.default_rng(0).choice(cells.n_obs, MAX_CELLS, replace=False))].copy()
        cells.obs_names_make_unique()
        labels = cells.obs["cell_type"].astype(str).to_numpy() if labelled else None
        found.append(Study(name, cells, "batch", labels))
    return found


def pretrained(folder: Path, *, seed: int) -> scssl.CellModel:
    path = folder / f"model-{seed}"
    if not path.exists():
        corpus = folder / "corpus"
        if not corpus.exists():
            scssl.Corpus.build(
                protocol.DATA / "human_immune_corpus.h5ad", corpus, genes="hvg:3000", source="file",
                measured="uns:measured", where=f"file not in {json.dumps(EXCLUDED)}", split_by="donor",
            )  # fmt: skip
        scssl.pretrain(scssl.Corpus.open(corpus), max_epochs=EPOCHS, seed=seed, loggers=["csv"]).save(path)
    return scssl.load(path)


def embed(method: str, study: Study, *, model: scssl.CellModel, pca: np.ndarray, seed: int, folder: Path) -> np.ndarray:
    batch = study.cells.obs[study.batch].astype(str).to_numpy()
    if method in SCSSL:
        return Integrator(model, batch=study.batch, **SCSSL[method]).fit(study.cells, seed=seed).fitted.embedding
    if method == "PCA":
        return pca
    if method == "Harmony on PCA":
        return harmony(pca, batch=batch, seed=seed)
    if method == "shuffled":
        return shuffled(pca, seed=seed)
    if method == "labels known":
        return oracle(study.labels, seed=seed)
    return scvi(study, model=model, seed=seed, folder=folder)


def scvi(study: Study, *, model: scssl.CellModel, seed: int, folder: Path) -> np.ndarray:
    genes = harmonise(study.cells.var, model.panel, file=study.name)
    counts = sp.csr_matrix(genes.apply(sp.csr_matrix(study.cells.X)), dtype=np.float32)[:, genes.measured]
    obs = pd.DataFrame({"source": study.cells.obs[study.batch].astype(str).to_numpy()})
    obs.index = obs.index.astype(str)
    path = folder / f"scvi-{study.name}-{seed}.h5ad"
    ad.AnnData(counts, obs=obs).write_h5ad(path)
    # 100 epochs, as in the other benchmarks; its own rule would give data this small 400.
    options = ["--latent", "10", "--epochs", "100", "--seed", str(seed)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([os.environ["PEERS_PYTHON"], SCVI, path, path, *options], check=True, env=environment)
    return np.load(f"{path}.npy")


def mapping(study: Study, *, model: scssl.CellModel, seed: int) -> list[dict[str, Any]]:
    """Leave each batch out and name its cells after those of the others; types that these lack are not asked for."""
    batch, rows = study.cells.obs[study.batch].astype(str).to_numpy(), []
    for correct in ("none", "centre", "clusters"):
        truth, found = [], []
        for left_out in np.unique(batch):
            new = batch == left_out
            known, codes = np.unique(study.labels[~new], return_inverse=True)
            integrator = Integrator(model, batch=study.batch, correct=correct).fit(study.cells[~new].copy(), seed=seed)
            placed = integrator.integrate(study.cells[new].copy()).embedding
            asked = np.isin(study.labels[new], known)
            votes = vote(integrator.fitted.embedding, codes, placed[asked], k=5)
            truth += study.labels[new][asked].tolist()
            found += known[votes.label].tolist()
        f1 = classification_scores(np.array(truth), np.array(found)).macro_f1
        rows.append({"study": study.name, "correct": correct, "seed": seed, "macro_f1": round(f1, 4)})
    return rows


def kept(path: Path, make) -> Any:
    """Return what a file holds, made first where it is not there."""
    if not path.exists():
        result = make()
        path.write_text(json.dumps(result))
    return json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="keeps corpus, models and scores")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default="", help="names, separated by semicolons; all by default")
    parser.add_argument("--studies", default="", help="names, separated by commas; all by default")
    given = parser.parse_args()
    part = bool(given.methods or given.studies)
    wanted = [m for m in METHODS if not given.methods or m in given.methods.split(";")]
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rows, mapped = [], []
        for study in studies():
            if given.studies and study.name not in given.studies.split(","):
                continue
            for seed in range(given.seeds):
                model = pretrained(folder, seed=seed)
                pca = principal_components(study.cells, panel=model.panel, rows=np.arange(study.cells.n_obs))
                for method in wanted:
                    if (method in ONCE and seed) or (method == "labels known" and study.labels is None):
                        continue

                    def run(study=study, method=method, model=model, pca=pca, seed=seed) -> dict[str, Any]:
                        started = time.process_time()
                        found = embed(method, study, model=model, pca=pca, seed=seed, folder=folder)
                        return one(study, found, before=pca) | {"seconds": round(time.process_time() - started, 1)}

                    name = f"{study.name}-{method}-{seed}.json".replace(" ", "_")
                    if method == "scVI" and "PEERS_PYTHON" not in os.environ and not (folder / name).exists():
                        continue
                    rows.append({"study": study.name, "method": method, "seed": seed, **kept(folder / name, run)})
                    print(rows[-1], flush=True)
                if study.labels is not None and not given.methods:
                    mapped += kept(
                        folder / f"map-{study.name}-{seed}.json",
                        lambda study=study, model=model, seed=seed: mapping(study, model=model, seed=seed),
                    )
    if part:
        return
    versions = {name: version(name) for name in ("scib-metrics", "harmonypy", "jax")}
    protocol.write(
        "integrate",
        command="OMP_NUM_THREADS=1 PEERS_PYTHON=... python -m benchmarks.integrate",
        result={
            "epochs": EPOCHS, "packages": versions, "summary": summarise(rows, by=("study", "method")),
            "mapping": summarise(mapped, by=("study", "correct")), "scores": rows,
        },
    )  # fmt: skip
    print(pd.DataFrame(summarise(rows, by=("study", "method"))).to_string())
    print(pd.DataFrame(summarise(mapped, by=("study", "correct"))).to_string())


def one(study: Study, embedding: np.ndarray, *, before: np.ndarray) -> dict[str, Any]:
    batch = study.cells.obs[study.batch].astype(str).to_numpy()
    scores = integration_scores(embedding, batch=batch, labels=study.labels, before=before)
    means = {"types": scores.type_score, "mixing": scores.mixing_score}
    return {
        name: None if value is None else round(value, 4)
        for name, value in {**means, **scores.types, **scores.mixing}.items()
    }


def summarise(rows: list[dict[str, Any]], *, by: tuple[str, str]) -> list[dict[str, Any]]:
    """Mean over seeds, with the lowest and the highest."""
    out = []
    for key in dict.fromkeys(tuple(row[name] for name in by) for row in rows):
        mine = [row for row in rows if tuple(row[name] for name in by) == key]
        line: dict[str, Any] = {**dict(zip(by, key, strict=True)), "seeds": len(mine)}
        for name in ("macro_f1", "types", "mixing", *TYPES, *MIXING):
            values = [row[name] for row in mine if row.get(name) is not None]
            if values:
                line[name] = round(float(np.mean(values)), 4)
                if name in ("macro_f1", "types", "mixing"):
                    line[f"{name}_seeds"] = [min(values), max(values)]
        out.append(line)
    return out


if __name__ == "__main__":
    main()
