"""Which data sets recipes are chosen on, which they are confirmed on, and the corpora that hold none of their cells.

Development: pbmc3k, human_lymph_ref and pdacA, which earlier versions' defaults were chosen on too, and two simulated
atlases. Confirmation: Kang's controls (eight donors, 1,287 genes), sc_mixology (cell lines, five batches, two
technologies), the NeurIPS 2021 bone marrow starter (1,000 genes at random), Darmanis' brain (another tissue, reads
instead of molecules), and simulated atlases of other seeds. Every choice is made on development data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import scssl
from benchmarks import protocol

if TYPE_CHECKING:
    from pathlib import Path

Role = Literal["development", "confirmation"]
SIMULATED_CELLS, SIMULATED_GENES, STUDIES = 12_000, 2_000, 6
GENES = "hvg:3000"
OWN = "own:"
"""Stands before the name of the target whose genes a corpus is on."""
BATCH_EFFECTS = {"weak": 0.2, "strong": 0.8}
"""Spread of every gene's log expression between studies and batches: little, or as much as between cell types."""


@dataclass(frozen=True)
class Target:
    """A labelled data set that the corpus does not hold.

    `groups` is the obs column that reference and query differ in; empty where all cells are of one donor and batch.
    """

    name: str
    file: str
    groups: str = ""
    labels: str = "cell_type"
    min_cells: int = protocol.MIN_CELLS

    def path(self, folder: Path) -> Path:
        """Return its file: real ones lie with the data, simulated ones in the work folder."""
        return folder / self.file if self.name.startswith("simulated") else protocol.DATA / self.file


REAL = {
    "development": (
        Target("pbmc3k", "pbmc3k_10xv1.h5ad"),
        Target("lymph", "human_lymph_ref_330.h5ad"),
        Target("pdacA", "pdacA_indrop_moncada.h5ad"),
    ),
    "confirmation": (
        Target("kang", "kang_ctrl_8donors_1287g.h5ad", groups="donor"),
        Target("sc_mixology", "sc_mixology_cell_lines.h5ad", groups="batch"),
        Target("bone marrow", "neurips21_bmmc_cite_starter.h5ad", groups="donor", min_cells=25),
        Target("brain", "darmanis_human_brain.h5ad"),
    ),
}
EXCLUDED = {
    "development": "file not in ['pbmc3k_10xv1', 'human_lymph_ref_330', 'pdacA_indrop_moncada'] "
    "and batch != 'GSE115189'",
    "confirmation": "file not in ['kang_ifnb_harmony', 'kang_ifnb_scgen']",
}
"""The Kang files share cells; GSE115189 is a second count of cells of pbmc3k."""


def seed_of_atlas(role: Role, seed: int) -> int:
    """Return the seed that an atlas is drawn with: none is used in both roles."""
    return {"development": 300, "confirmation": 5000}[role] + seed


def corpora_of(role: Role, *, seed: int) -> list[str]:
    """Return the corpora of a role; the seed draws the simulated atlases."""
    return [f"{role}-real"] + [f"{role}-{kind}-{seed}" for kind in sorted(BATCH_EFFECTS)]


def targets_of(corpus: str) -> tuple[Target, ...]:
    """Return what models of a corpus are scored on."""
    role, _, rest = corpus.partition("-")
    if rest == "real":
        return REAL[role]
    kind = rest.partition("-")[0]
    return (Target(f"simulated, {kind}", f"{corpus}.target.h5ad", groups="donor"),)


def open_corpus(corpus: str, folder: Path, *, genes: str = GENES, cells: int = 0) -> scssl.Corpus:
    """Open a corpus, which is built (with its target, if simulated) where it is not there yet.

    Parameters
    ----------
    corpus
        Name from `corpora_of`.
    folder
        Work folder.
    genes
        Panel; "own:TARGET" for the most variable genes of a target. Simulated corpora take all their genes.
    cells
        Cells to keep, drawn over all sources; 0 for all. More of a simulated atlas than it usually has are drawn anew,
        with the same types, programmes and studies.
    """
    role, _, rest = corpus.partition("-")
    real = rest == "real"
    genes = genes if real else "union"
    path = folder / f"{corpus}{f'.{cells}' if cells else ''}.{genes.replace(':', '').replace(' ', '_')}"
    if path.exists():
        return scssl.Corpus.open(path)
    if genes.startswith(OWN):
        genes = str(own_genes(genes.removeprefix(OWN), folder))
    common = {"genes": genes, "obs": ["cell_type", "donor"], "measured": "uns:measured"}
    common |= {"split_by": "donor", "val": 0.05, "test": 0}
    if real:
        where = {"where": EXCLUDED[role], "unlabelled": ["unknown"]}
        source = protocol.DATA / "human_immune_corpus.h5ad"
        if cells:
            # Genes are chosen by the cells that are left, as they would be by who has no more.
            source = some_cells(source, folder / f"{corpus}.{cells}.h5ad", where=EXCLUDED[role], cells=cells)
        return scssl.Corpus.build(source, path, source="file", **common, **where)
    kind, _, seed = rest.partition("-")
    source = folder / f"{corpus}{f'.{cells}' if cells else ''}.h5ad"
    simulate(source, batch_effect=BATCH_EFFECTS[kind], seed=seed_of_atlas(role, int(seed)), n_cells=cells)
    return scssl.Corpus.build(source, path, source="study", **common)


def own_genes(target: str, folder: Path, *, n: int = 3000) -> Path:
    """Write the genes of a target whose log values vary most, all that it measured if these are fewer."""
    import anndata as ad

    from scssl.tasks.pca import PCAEncoder

    found = next(t for targets in REAL.values() for t in targets if t.name == target)
    encoder = PCAEncoder("human", n_components=2, n_top_genes=n).fit(ad.read_h5ad(found.path(folder)))
    out = folder / f"genes.{target.replace(' ', '_')}.txt"
    out.write_text("\n".join(encoder.panel.ids[encoder.genes]) + "\n")
    return out


def some_cells(file: Path, out: Path, *, where: str, cells: int) -> Path:
    """Write a random draw of the cells of a file that a filter lets through."""
    import anndata as ad
    import numpy as np

    adata = ad.read_h5ad(file)
    left = np.flatnonzero(adata.obs.eval(where.replace("batch", "`batch`")).to_numpy())
    adata[np.sort(np.random.default_rng(0).choice(left, cells, replace=False))].write_h5ad(out)
    return out


def simulate(out: Path, *, batch_effect: float, seed: int, n_cells: int = 0) -> None:
    """Draw an atlas; write all its studies but the last, and the last beside them as the target.

    The target is that of the atlas of the usual size, whatever the size of the corpus.
    """
    usual = not n_cells
    total = SIMULATED_CELLS if usual else round(n_cells * STUDIES / (STUDIES - 1))
    atlas = scssl.datasets.simulate_atlas(
        total,
        SIMULATED_GENES,
        n_types=16,
        n_studies=STUDIES,
        n_donors=36,
        batch_effect=batch_effect,
        unmeasured=0.1,
        seed=seed,
    )
    studies = atlas.obs["study"].astype(str)
    last = sorted(studies.unique())[-1]
    if usual:
        target = atlas[studies == last, atlas.uns["measured"][last].to_numpy()].copy()
        del target.uns["measured"]
        target.write_h5ad(out.with_suffix(".target.h5ad"))
    atlas[studies != last].write_h5ad(out)
