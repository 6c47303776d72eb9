"""What a corpus shares with a file: cells, donors, data sets; against what the test itself put there."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.corpus import Corpus
from scssl.corpus.audit import audit, shared_cells
from scssl.datasets import simulate_atlas
from scssl.errors import DataError, FormatError, SettingsError

N_GENES = 200


@pytest.fixture(scope="module")
def cells():
    """400 cells of 10 donors in 2 studies, named by barcodes."""
    atlas = simulate_atlas(400, N_GENES, n_studies=2, n_donors=10, seed=5)
    rng = np.random.default_rng(5)
    # Few letters vary: many cells of one barcode.
    atlas.obs_names = [f"{''.join(rng.choice(list('ACGT'), 4))}ACGTACGTACGT-1_{i}" for i in range(400)]
    return atlas


@pytest.fixture(scope="module")
def corpus(cells, tmp_path_factory):
    """The first 300 cells."""
    folder = tmp_path_factory.mktemp("audit")
    cells[:300].write_h5ad(folder / "first.h5ad")
    return Corpus.build(folder / "first.h5ad", folder / "corpus", genes="union", source="study", seed=1)


def found_by_hand(corpus, data):
    """(FILE cell, source, split) of each pair of equal cells, from dense counts and without names."""
    ids = list(corpus.panel.ids)
    position = [ids.index(gene) for gene in data.var_names]
    mine = np.zeros((data.n_obs, len(ids)), dtype=int)
    mine[:, position] = data.X.toarray()
    shared = np.zeros(len(ids), dtype=bool)
    shared[position] = True
    pairs = set()
    for shard in corpus.shards:
        read = shard.rows(0, shard.n_cells)
        theirs = sp.csr_matrix(
            (read.values, read.indices.astype(int), read.indptr), (shard.n_cells, len(ids))
        ).toarray()
        sources = shard.codes["source"][:]
        for i, row in enumerate(mine):
            for j in np.flatnonzero((theirs[:, shared] == row[shared]).all(axis=1)):
                pairs.add((i, corpus.sources[sources[j]], shard.split))
    return pairs


@pytest.mark.parametrize("genes", [slice(None), slice(0, 80), slice(60, 120)])
def test_cells(corpus, cells, genes):
    """A file with cells 150 to 399, renamed, on other genes: 150 of them are in the corpus."""
    data = cells[150:, genes].copy()
    data.obs_names = [f"lane7:x{i}_{name.split('-')[0]}-7" for i, name in enumerate(data.obs_names)]
    before = data.copy()
    report = audit(corpus, data)
    pairs = found_by_hand(corpus, data)
    assert {cell for cell, _, _ in pairs} == set(range(150))
    assert report["n_cells"] == 250
    assert report["n_shared"] == 150
    assert report["share"] == pytest.approx(0.6)
    for split in ("train", "val", "test"):
        assert report["splits"][split] == len({cell for cell, _, s in pairs if s == split})
    assert len(report["sources"]) == 2
    assert report["sources"] == sorted(
        (
            {
                "name": name,
                "n_cells": len({cell for cell, source, _ in pairs if source == name}),
                "splits": {k: len({p[0] for p in pairs if p[1:] == (name, k)}) for k in ("train", "val", "test")},
            }
            for name in {source for _, source, _ in pairs}
        ),
        key=lambda entry: -entry["n_cells"],
    )
    assert shared_cells(corpus, data).tolist() == [True] * 150 + [False] * 100
    # Cells that only share a barcode were looked at, and told apart.
    assert report["n_same_name"] > 150
    assert (report["n_barcodes"], report["n_comparable"], report["n_genes"]) == (250, 250, data.n_vars)
    assert "150 of 250 cells of adata (60%) are in the corpus, from 2 sources" in report["verdict"]
    json.dumps(report, allow_nan=False)
    assert np.array_equal(data.X.toarray(), before.X.toarray())
    assert data.obs_names.equals(before.obs_names)


def test_cells_that_are_there_twice(cells):
    """In the file as in the corpus, each cell of the file counts once."""
    twice = anndata.concat({"a": cells[:40], "b": cells[20:60]}, index_unique="_")
    corpus = Corpus.from_anndata(twice.copy(), genes="union", split_by="cell", duplicates="keep")
    assert corpus.n_cells() == 80
    report = audit(corpus, twice)
    assert (report["n_cells"], report["n_shared"]) == (80, 80)
    assert report["sources"][0]["n_cells"] == 80
    assert 80 < sum(report["splits"].values()) <= 120
    assert report["sources"][0]["splits"] == report["splits"]


def test_in_memory_as_on_disk(cells, corpus):
    # Its shards hold the same cells in another order.
    memory = Corpus.from_anndata(cells[:300].copy(), genes="union", source="study", seed=1)
    one, other = audit(memory, cells[250:].copy()), audit(corpus, cells[250:].copy())
    assert (one.pop("corpus"), other.pop("corpus")) == (None, str(corpus.path))
    assert one == other


def test_nothing_shared(corpus, cells):
    report = audit(corpus, cells[300:].copy())
    assert (report["n_shared"], report["share"], report["sources"], report["advice"]) == (0, 0.0, [], [])
    assert report["verdict"].startswith("No cell of adata was found")
    # The donors have cells on both sides, none of them twice.
    donors = report["donors"]
    assert {entry["name"] for entry in donors["shared"]} == set(cells.obs["donor"][:300]) & set(
        cells.obs["donor"][300:]
    )
    assert all(entry["n_identical"] == 0 for entry in donors["shared"])
    assert "but no cell in common" in report["verdict"]


def test_other_counts_are_other_cells(corpus, cells):
    """The same barcodes with counts drawn anew."""
    data = cells[:100].copy()
    data.X = sp.csr_matrix(np.random.default_rng(0).poisson(data.X.toarray().mean(axis=0), data.shape))
    report = audit(corpus, data)
    assert (report["n_same_name"], report["n_shared"]) == (100, 0)


def test_a_few_altered_counts_do_not_hide_a_cell(corpus, cells):
    data = cells[:50].copy()
    dense = data.X.toarray()
    dense[:, :: N_GENES // 10] += 1
    data.X = sp.csr_matrix(dense)
    assert audit(corpus, data)["n_shared"] == 50


def test_donors(corpus, cells):
    data = cells[150:].copy()
    data.obs["donor"] = data.obs["donor"].astype(str)
    first, second, *others = sorted(set(data.obs["donor"][:150]))
    assert len(others) > 1
    data.obs["donor"] = data.obs["donor"].replace({first: "patient X", second: "Unknown"})
    data.obs.loc[data.obs_names[-1], "donor"] = None
    report = audit(corpus, data)
    there = corpus.obs()
    donors = report["donors"]
    assert (donors["column"], donors["file_column"]) == ("donor", "donor")
    names = set(data.obs["donor"].dropna()) - {"Unknown"}
    assert donors["n_file"] == len(names)
    for entry in donors["shared"]:
        mine, theirs = data.obs["donor"] == entry["name"], there["donor"] == entry["name"]
        assert (entry["n_file"], entry["n_corpus"]) == (mine.sum(), theirs.sum())
        assert entry["n_identical"] == mine[:150].sum()
        assert entry["splits"] == {s: (theirs & (there["split"] == s)).sum() for s in ("train", "val", "test")}
    assert {entry["name"] for entry in donors["shared"]} == names & set(there["donor"])
    n = int((cells.obs["donor"][150:300] == first).sum())
    assert donors["renamed"] == [{"file": "patient X", "corpus": first, "n_identical": n}]

    other = data[:, :].copy()
    other.obs = other.obs.rename(columns={"donor": "who"})
    assert audit(corpus, other)["donors"] is None
    assert audit(corpus, other, donor="who")["donors"]["shared"] == donors["shared"]
    with pytest.raises(SettingsError, match="no column 'nobody' for --donor"):
        audit(corpus, other, donor="nobody")


def test_corpus_without_donors(cells):
    by_cell = Corpus.from_anndata(cells[:100].copy(), genes="union", split_by="cell")
    assert audit(by_cell, cells[:50].copy())["donors"] is None
    with pytest.raises(SettingsError, match="no column of donors"):
        audit(by_cell, cells[:50].copy(), donor="donor")


def test_advice_can_be_followed(corpus, cells, tmp_path):
    """Building the corpus again with each condition leaves nothing shared."""
    cells[:300].write_h5ad(tmp_path / "first.h5ad")
    target = cells[250:300][cells.obs["study"][250:300] == cells.obs["study"].iloc[250]].copy()
    report = audit(corpus, target)
    conditions = [line.partition("--where ")[2].strip("'") for line in report["advice"] if "--where" in line]
    assert len(conditions) == 2
    for i, condition in enumerate(conditions):
        again = Corpus.build(
            tmp_path / "first.h5ad", tmp_path / f"c{i}", genes="union", source="study", where=condition, seed=1
        )
        assert again.n_cells() > 0
        assert audit(again, target)["n_shared"] == 0


def test_split_is_told_in_the_verdict(corpus, cells):
    there = corpus.obs()
    for split, words in (("train", "too good"), ("val", "those in val"), ("test", "did not learn from them.")):
        part = cells[there.index[there["split"] == split]].copy()
        report = audit(corpus, part)
        assert report["splits"] == {s: part.n_obs if s == split else 0 for s in ("train", "val", "test")}
        assert f"{split} split" in report["verdict"]
        assert words in report["verdict"]


def test_data_sets_of_the_same_name(cells, tmp_path):
    paths = []
    for name, part in (("a", cells[::4]), ("b", cells[1::4])):
        paths.append(tmp_path / f"{name}.h5ad")
        part.write_h5ad(paths[-1])
    by_file = Corpus.build(paths, tmp_path / "by_file", genes="union")
    (tmp_path / "other").mkdir()
    target = cells[2::4].copy()
    target.write_h5ad(tmp_path / "other" / "b.h5ad")
    report = audit(by_file, tmp_path / "other" / "b.h5ad")
    assert (report["n_shared"], report["datasets"]) == (0, ["b"])
    assert "source of the same name: 'b'" in report["verdict"]
    assert audit(by_file, target)["datasets"] == []

    by_study = Corpus.build(paths, tmp_path / "by_study", genes="union", source="study")
    some = target[target.obs["study"] == by_study.sources[1]].copy()
    assert audit(by_study, some)["datasets"] == [by_study.sources[1]]
    # Files without a source column have the file's name as source.
    report = audit(by_file, paths[0])
    assert report["sources"][0]["name"] == "a"
    assert report["advice"][0].endswith("build it again without a")


def test_names_without_barcodes(cells):
    data = cells[:60].copy()
    data.obs_names = [f"cell_{i}" for i in range(60)]
    corpus = Corpus.from_anndata(data, genes="union", split_by="cell")
    report = audit(corpus, data)
    assert (report["n_shared"], report["n_barcodes"]) == (60, 0)
    data.obs_names = [f"other_{i}" for i in range(60)]
    report = audit(corpus, data)
    assert report["n_shared"] == 0
    assert "60 cell names without a barcode" in report["verdict"]


def test_cells_without_counts(corpus, cells):
    data = cells[:20].copy()
    dense = data.X.toarray()
    dense[:5] = 0
    data.X = sp.csr_matrix(dense)
    report = audit(corpus, data)
    assert (report["n_shared"], report["n_comparable"]) == (15, 15)
    assert "5 cells with too few expressed genes" in report["verdict"]


def test_bad_input(corpus, cells, tmp_path):
    with pytest.raises(FormatError, match="no such folder"):
        audit(tmp_path / "none", cells)
    with pytest.raises(DataError, match="no such file"):
        audit(corpus, tmp_path / "none.h5ad")
    logged = cells[:20].copy()
    logged.X = logged.X.astype(np.float32)
    logged.X.data = np.log1p(logged.X.data)
    with pytest.raises(DataError, match="holds no raw counts"):
        audit(corpus, logged)
    logged.layers["counts"] = cells[:20].X.copy()
    assert audit(corpus, logged, layer="counts")["n_shared"] == 20
    with pytest.raises(DataError, match="has no layer 'none'"):
        audit(corpus, logged, layer="none")
    mouse = anndata.AnnData(sp.csr_matrix(np.ones((3, 80))), var=pd.DataFrame(index=mouse_genes(80)))
    with pytest.raises(DataError, match="mouse"):
        audit(corpus, mouse)
    elsewhere = simulate_atlas(50, 4000, seed=2)
    elsewhere = elsewhere[:, ~elsewhere.var_names.isin(corpus.panel.ids)].copy()
    with pytest.raises(DataError, match="genes of the panel"):
        audit(corpus, elsewhere)


def mouse_genes(n):
    from scssl.genes import load_panel

    return pd.Index(load_panel("mouse").symbols[:n])
