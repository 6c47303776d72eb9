"""The tasks of `benchmarks.annotate`: references, queries, and pre-training corpora that hold no cell of the query."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import scipy.sparse as sp

import scssl
from benchmarks import protocol
from scssl.tasks.annotate.labels import read_label_map

MAPS = Path(__file__).parent / "label_maps"
KANG, PBMC, PDAC, LYMPH = (
    "kang_ctrl_8donors_1287g", "pbmc3k_10xv1", "pdacA_indrop_moncada", "human_lymph_ref_330",
)  # fmt: skip
KANG_IN_CORPUS, DC = "kang_ifnb_harmony", "zilionis_lung_tumor_DC913"
CORPUS_REFERENCES = {
    "kang": (KANG, "kang", (PBMC, DC, LYMPH, PDAC)),
    "pbmc3k": (PBMC, "pbmc3k", (KANG_IN_CORPUS, DC, LYMPH, PDAC)),
    "pdacA": (PDAC, "tissue", (KANG_IN_CORPUS, PBMC, DC)),
    "lymph_ref": (LYMPH, "tissue", (KANG_IN_CORPUS, PBMC, DC)),
}
"""By name of the query's label map: its file, the corpus to pre-train on, and the labelled files of the immune corpus,
none of the query's, that measured enough genes together."""
N_GENES, FOLDS = 3000, 2
EXCLUDED = {
    "kang": "file in OTHERS",
    "pbmc3k": f"file != '{PBMC}' and batch != '{protocol.COPIES_OF_TARGETS}'",
    "tissue": f'file not in ["{PDAC}", "{LYMPH}"]',
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A labelled reference and a query, on the same genes."""

    name: str
    part: int
    """Fold, where a task has several; together they hold every cell of the query once."""
    corpus: str
    reference: Path
    query: Path


def list_tasks(folder: Path, *, seed: int) -> list[Task]:
    """Write the files of all tasks; the seed draws the folds over donors."""
    kang, pbmc = _read(KANG), _read(PBMC)
    tasks = []
    donors = np.random.default_rng(seed).permutation(kang.obs["donor"].unique().astype(str))
    for part in range(FOLDS):
        held = kang.obs["donor"].isin(donors[part::FOLDS]).to_numpy()
        tasks.append(_write(folder, "kang_donors", kang[~held], kang[held], corpus="kang", part=part, seed=seed))
    named = _renamed(pbmc, "pbmc3k_to_kang_ctrl_8donors_1287g")
    tasks.append(_write(folder, "pbmc3k_to_kang", named, kang, corpus="kang", seed=seed))
    tasks.append(_write(folder, "kang_to_pbmc3k", kang, named, corpus="pbmc3k", seed=seed))
    immune = ad.read_h5ad(protocol.DATA / "human_immune_corpus.h5ad")
    for name, (file, corpus, sources) in CORPUS_REFERENCES.items():
        query = _renamed(_read(file), f"{name}_to_corpus")
        reference = _labelled(immune, sources)
        tasks.append(_write(folder, f"corpus_to_{name}", reference, query, corpus=corpus, seed=seed))
    return tasks


def build_corpora(folder: Path) -> dict[str, Path]:
    """Build the three pre-training corpora, where they are not there yet."""
    immune = protocol.DATA / "human_immune_corpus.h5ad"
    files = ad.read_h5ad(immune, backed="r").obs["file"].astype(str)
    others = json.dumps(sorted({file for file in files if not file.startswith("kang_")}))
    found = {}
    for name, where in EXCLUDED.items():
        path = folder / f"corpus-{name}"
        if not (path / "corpus.json").is_file():
            scssl.Corpus.build(
                immune, path, genes=f"hvg:{N_GENES}", source="file", measured="uns:measured",
                where=where.replace("OTHERS", others), split_by="donor",
            )  # fmt: skip
        found[name] = path
    return found


def _read(name: str) -> ad.AnnData:
    adata = ad.read_h5ad(protocol.DATA / f"{name}.h5ad")
    adata.obs["label"], adata.obs["batch"] = adata.obs["cell_type"].astype(str), name
    return adata[~adata.obs["label"].str.lower().isin(["unknown", "unassigned", "nan"]).to_numpy()].copy()


def _labelled(immune: ad.AnnData, files: tuple[str, ...]) -> ad.AnnData:
    """Return the labelled immune cells of some files, on the genes that all of these measured."""
    measured = immune.uns["measured"][list(files)].all(axis=1)
    rows = immune.obs["file"].isin(files) & (immune.obs["cell_type"] != "unknown")
    rows &= ~immune.obs["cell_type"].astype(str).str.startswith("other: ")
    cells = immune[rows.to_numpy(), measured.reindex(immune.var_names).to_numpy(dtype=bool)].copy()
    cells.obs["label"], cells.obs["batch"] = cells.obs["cell_type"].astype(str), cells.obs["file"]
    return cells


def _renamed(adata: ad.AnnData, label_map: str) -> ad.AnnData:
    names = read_label_map(MAPS / f"{label_map}.csv")
    adata.obs["label"] = [names.get(label, label) or "" for label in adata.obs["label"]]
    return adata[(adata.obs["label"] != "").to_numpy()].copy()


def _write(
    folder: Path, name: str, reference: ad.AnnData, query: ad.AnnData, *, corpus: str, seed: int, part: int = 0
) -> Task:
    """Write both on the genes that both have; cells of types that the reference lacks are not asked about."""
    genes = reference.var_names[reference.var_names.isin(query.var_names)]
    kept = query.obs["label"].isin(reference.obs["label"].unique()).to_numpy()
    paths = {}
    for role, adata in (("reference", reference[:, genes]), ("query", query[kept][:, genes])):
        paths[role] = folder / f"{name}-{part}-{seed}-{role}.h5ad"
        obs = adata.obs[["label", "batch", "donor"]].astype(str)
        # Numbered: names of cells of different files may be the same.
        obs.index = [f"cell{i}" for i in range(len(obs))]
        if not paths[role].is_file():
            X = sp.csr_matrix(adata.X).astype(np.float32)
            ad.AnnData(X, obs=obs, var=adata.var[[]]).write_h5ad(paths[role])
    return Task(name=name, part=part, corpus=corpus, **paths)
