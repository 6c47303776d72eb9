"""What `Corpus.info` says, against a count by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.corpus import Corpus
from scssl.corpus.summary import count_values, is_known
from scssl.datasets import simulate_atlas

SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def cells():
    atlas = simulate_atlas(300, 150, n_donors=8, seed=4)
    atlas.obs["donor"] = atlas.obs["donor"].astype(object)
    atlas.obs["cell_type"] = atlas.obs["cell_type"].astype(object)
    atlas.obs.iloc[:20, atlas.obs.columns.get_loc("donor")] = None
    atlas.obs.iloc[20:30, atlas.obs.columns.get_loc("donor")] = "unknown"
    atlas.obs.iloc[30:37, atlas.obs.columns.get_loc("cell_type")] = None
    atlas.obs.iloc[37:40, atlas.obs.columns.get_loc("cell_type")] = "Unassigned"
    dense = atlas.X.toarray()
    dense[290:] = 0
    atlas.X = sp.csr_matrix(dense)
    # The same cell twice.
    atlas.obs_names = [f"{'ACGT'[i % 4]}CGTACGTACGTA-{i}" for i in range(300)]
    atlas.X = sp.csr_matrix(np.vstack([dense[:100], dense[:1], dense[101:]]))
    return atlas


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_numbers(cells, tmp_path, where):
    settings = {"genes": "union", "obs": ["cell_type"], "where": "condition != 'x'", "min_genes": 2}
    if where == "memory":
        corpus = Corpus.from_anndata(cells.copy(), **settings)
    else:
        cells.write_h5ad(tmp_path / "a.h5ad")
        corpus = Corpus.build(tmp_path / "a.h5ad", tmp_path / "c", **settings)
    obs, info = corpus.obs(), json.loads(json.dumps(corpus.info(), allow_nan=False))
    assert info["cells"] == len(obs) == sum(info["splits"].values())
    known = obs[~obs["donor"].isna() & ~obs["donor"].astype(str).str.match(r"\(no |unknown")]
    assert info["donors"] == {
        "column": "donor",
        "n_values": known["donor"].nunique(),
        "splits": {split: known.loc[known["split"] == split, "donor"].nunique() for split in SPLITS},
        "n_unknown": len(obs) - len(known),
    }
    assert info["donors"]["n_unknown"] == 30
    types = obs["cell_type"].astype(object).replace("Unassigned", None)
    assert info["types"]["column"] == "cell_type"
    assert info["types"]["n_values"] == types.nunique()
    assert info["types"]["n_unknown"] == types.isna().sum() == 10
    # Ten cells without counts, one that was there before.
    assert sum(info["left_out"].values()) == 300 - len(obs) == 11
    assert info["left_out"]["copies"] == 1
    assert info["memory"]["bytes"] > 0


def test_count_values(cells):
    corpus = Corpus.from_anndata(cells.copy(), genes="union", obs=["cell_type"], split_by="cell")
    counts, missing = count_values(corpus, "cell_type")
    obs = corpus.obs()
    for i, split in enumerate(SPLITS):
        part = obs.loc[obs["split"] == split, "cell_type"]
        expected = part.value_counts().reindex(corpus.categories["cell_type"]).to_numpy()
        assert counts[i].tolist() == expected.tolist()
        assert missing[i] == part.isna().sum()


def test_without_donors_and_types(cells):
    info = Corpus.from_anndata(cells.copy(), genes="union", split_by="cell", val=0, test=0).info()
    assert (info["donors"], info["types"]) == (None, None)
    info = Corpus.from_anndata(cells.copy(), genes="union", obs=["condition"], split_by="cell").info()
    assert info["types"] is None


def test_where_is_counted(cells):
    first = cells.obs["condition"].iloc[0]
    corpus = Corpus.from_anndata(cells.copy(), genes="union", where=f"condition == {first!r}")
    n = int((cells.obs["condition"] != first).sum())
    assert corpus.info()["left_out"]["by the condition"] == n


def test_known_values():
    assert [is_known(name) for name in ("d1", "unknown", " Unassigned", "NA", "(no donor: a)")] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_no_category_has_no_values():
    atlas = simulate_atlas(60, 80, seed=1)
    atlas.obs["label"] = pd.Categorical([None] * 60)
    info = Corpus.from_anndata(atlas, genes="union", obs=["label"]).info()
    assert info["types"] is None
    assert info["columns"]["label"] == 0
