"""Targets and corpora of the replication: each corpus once without the target's cells and once with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import scssl
from benchmarks import protocol

KANG = "kang_ctrl_8donors_1287g"
N_GENES = 3000


@dataclass(frozen=True, kw_only=True)
class Target:
    """Labelled cells of several donors, and the folders of two corpora on one panel."""

    name: str
    file: Path
    """The target's cells."""
    without: Path
    """Corpus that holds no cell of the target's donors."""
    inside: Path
    """The same corpus with all cells of the target as well, without their labels."""

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return names and donors of the target's cells."""
        obs = ad.read_h5ad(self.file, backed="r").obs
        return obs["cell_type"].to_numpy(dtype=str), obs["donor"].to_numpy(dtype=str)


def kang(folder: Path) -> Target:
    """Control cells of eight donors (Kang et al. 2018), and the immune corpus without its other Kang files."""
    immune = ad.read_h5ad(protocol.DATA / "human_immune_corpus.h5ad")
    cells = ad.read_h5ad(protocol.DATA / f"{KANG}.h5ad")
    cells.obs["file"] = KANG
    cells.obs["donor"] = "kang " + cells.obs["donor"].astype(str)
    files = immune.obs["file"].astype(str)
    others = sorted(set(files) - {f for f in files if f.startswith("kang_")})
    measured = immune.uns["measured"].copy()
    both = ad.concat([immune, cells], join="outer", index_unique="-", keys=["immune", KANG], fill_value=0)
    table = measured.reindex(index=both.var_names, fill_value=False)
    table[KANG] = both.var_names.isin(cells.var_names)
    both.uns["measured"] = table
    both.obs = both.obs[["cell_type", "donor", "file"]].astype(str).astype("category")
    path, target = folder / "kang-both.h5ad", folder / "kang-target.h5ad"
    both.write_h5ad(path)
    cells.write_h5ad(target)
    kept = ", ".join(f'"{f}"' for f in others)
    without = _build(path, folder / "kang-without", genes=f"hvg:{N_GENES}", where=f"file in [{kept}]", measured=True)
    inside = _build(path, folder / "kang-inside", genes=without.path, where=None, measured=True)
    return Target(name="kang", file=target, without=without.path, inside=inside.path)


def simulated(folder: Path, *, seed: int) -> Target:
    """Four studies with batch effects, of six donors each; the fourth is the target."""
    atlas = scssl.datasets.simulate_atlas(
        8000, 2000, n_types=12, n_studies=4, n_donors=24, batch_effect=0.5, seed=200 + seed
    )
    atlas.obs["file"] = atlas.obs["study"].astype(str)
    name = sorted(atlas.obs["file"].unique())[-1]
    path, target = folder / f"simulated-{seed}-both.h5ad", folder / f"simulated-{seed}-target.h5ad"
    atlas.write_h5ad(path)
    atlas[(atlas.obs["file"] == name).to_numpy()].copy().write_h5ad(target)
    base = folder / f"simulated-{seed}"
    without = _build(path, Path(f"{base}-without"), genes="union", where=f"file != {name!r}", measured=False)
    inside = _build(path, Path(f"{base}-inside"), genes=without.path, where=None, measured=False)
    return Target(name="simulated", file=target, without=without.path, inside=inside.path)


def _build(path: Path, folder: Path, *, genes: str | Path, where: str | None, measured: bool) -> scssl.Corpus:
    if (folder / "corpus.json").is_file():
        return scssl.Corpus.open(folder)
    return scssl.Corpus.build(
        path,
        folder,
        genes=genes,
        source="file",
        measured="uns:measured" if measured else None,
        where=where,
        split_by="donor",
        val=0.1,
        test=0.0,
    )


def draw_donors(donors: np.ndarray, *, draw: int) -> dict[str, np.ndarray]:
    """Split cells by donor into train, validation and test, 70 : 15 : 15 as in the paper, at least one donor each."""
    names = np.random.default_rng(draw).permutation(pd.unique(np.sort(donors)))
    n = max(1, round(0.15 * len(names)))
    parts = {"test": names[:n], "val": names[n : 2 * n], "train": names[2 * n :]}
    return {part: np.flatnonzero(np.isin(donors, who)) for part, who in parts.items()}
