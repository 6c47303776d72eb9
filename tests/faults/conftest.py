"""Small good inputs, to be damaged in copies."""

from __future__ import annotations

import anndata
import pytest

import scssl
from tests.faults.commands import Base

N_CELLS, N_GENES = 90, 64


@pytest.fixture(scope="session")
def cells():
    """90 simulated cells of 3 types and 6 donors, 64 human genes."""
    atlas = scssl.datasets.simulate_atlas(N_CELLS, N_GENES, n_types=3, n_donors=6, seed=3)
    # Every column takes time to read, in some hundred commands.
    return anndata.AnnData(atlas.X, obs=atlas.obs[["cell_type", "donor"]].copy(), var=atlas.var[[]])


@pytest.fixture(scope="session")
def base(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    base = Base(*(folder / name for name in ("good.h5ad", "corpus", "model", "annotator", "search")))
    cells.write_h5ad(base.file)
    corpus = scssl.Corpus.build(base.file, base.corpus, genes="union", obs=["cell_type"])
    model = scssl.pretrain(
        corpus, preset="small", max_epochs=1, overrides=["architecture.hidden=[8]"], out=base.model, device="cpu"
    )
    annotator = scssl.tasks.Annotator(model, calibrate="never")
    annotator.fit(base.file, labels="cell_type", device="cpu").save(base.annotator)
    scssl.tasks.SimilarCells(model).fit(base.corpus, device="cpu").save(base.search)
    return base


@pytest.fixture
def out(tmp_path):
    """An empty folder for what must not be written."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
