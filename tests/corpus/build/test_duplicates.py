"""Copies across files: found on disk as in memory, the richest one kept, and counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.corpus import Corpus
from scssl.corpus.build import duplicates
from scssl.corpus.build.duplicates import RECORD, key_ranges, read_range

OPTIONS = {"genes": "union", "obs": ["cell_type"]}


@pytest.fixture
def files(atlas, tmp_path):
    """Three files: 300 cells; 200 of which half are copies, with fewer genes; 150 of which some are in both."""
    cells = {"rich": (0, 300, 300), "poor": (200, 400, 150), "third": (350, 500, 250)}
    for name, (start, stop, n_genes) in cells.items():
        part = atlas[start:stop, :n_genes].copy()
        part.obs_names = [f"{name}_{'ACGT' * 3}{_letters(i)}-1" for i in range(start, stop)]
        part.write_h5ad(tmp_path / f"{name}.h5ad")
    return [tmp_path / f"{name}.h5ad" for name in ("poor", "rich", "third")]


def _letters(number):
    return "".join("ACGT"[number // 4**place % 4] for place in range(5))


def test_copies_are_dropped_and_the_richest_kept(files, tmp_path):
    corpus = Corpus.build(files, tmp_path / "c", **OPTIONS)
    obs = corpus.obs()
    barcodes = [name.partition("_")[2] for name in obs.index]
    assert len(set(barcodes)) == len(barcodes) == 500
    assert obs["source"].value_counts().to_dict() == {"rich": 300, "third": 150, "poor": 50}
    report = {entry["name"]: entry for entry in corpus.report["sources"]}
    assert {name: entry["n_copies"] for name, entry in report.items()} == {"poor": 150, "rich": 0, "third": 0}
    assert {name: sum(entry["n_cells"].values()) for name, entry in report.items()} == {
        "poor": 50,
        "rich": 300,
        "third": 150,
    }
    # The totals are those of the cells that stayed.
    train = obs["split"] == "train"
    for code, source in enumerate(corpus.sources):
        expected = obs.loc[train & (obs["source"] == source), "n_counts"].sum()
        assert corpus.gene_counts[code].sum() == expected
    assert corpus.verify() == []
    numbers = np.concatenate([np.arange(s.first_cell, s.first_cell + s.n_cells) for s in corpus.shards])
    np.testing.assert_array_equal(numbers, np.arange(500))
    assert Corpus.build(files, tmp_path / "all", **OPTIONS, duplicates="keep").n_cells() == 650


def test_many_ranges_find_the_same(files, tmp_path, monkeypatch):
    whole = Corpus.build(files, tmp_path / "c", **OPTIONS).obs()
    monkeypatch.setattr(duplicates, "CELLS_AT_ONCE", 40)
    assert Corpus.build(files, tmp_path / "d", **OPTIONS).obs().equals(whole)


def test_a_file_that_was_joined_with_itself(atlas):
    import anndata as ad

    adata = ad.concat([atlas, atlas[:100]], merge="same", index_unique="-")
    adata.obs_names = [f"{'ACGT' * 3}{_letters(i)}-1" for i in range(600)] + [
        f"{'ACGT' * 3}{_letters(i)}-2" for i in range(100)
    ]
    for source in ("study", None):
        corpus = Corpus.from_anndata(adata, **OPTIONS, source=source)
        assert corpus.n_cells() == 600
        assert sum(entry["n_copies"] for entry in corpus.report["sources"]) == 100
        assert sum(entry["n_counts"] for entry in corpus.report["sources"]) == atlas.X.sum()


def test_whole_shards_may_vanish(atlas, tmp_path):
    """A source whose cells are all copies leaves no cell, and no empty shard."""
    for name in ("a", "b"):
        atlas.copy().write_h5ad(tmp_path / f"{name}.h5ad")
    corpus = Corpus.build([tmp_path / "a.h5ad", tmp_path / "b.h5ad"], tmp_path / "c", **OPTIONS)
    assert corpus.obs()["source"].value_counts().to_dict() == {"a": 600, "b": 0}
    assert all(shard.n_cells for shard in corpus.shards)


@given(st.integers(1, 2_000_000), st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_every_key_is_in_one_range(n_cells, keys):
    ranges = key_ranges(n_cells)
    assert (ranges[0][0], ranges[-1][1]) == (0, 2**64 - 1)
    assert all(sum(first <= key <= last for first, last in ranges) == 1 for key in [0, 2**64 - 1, *keys])


def test_ranges_of_files(tmp_path):
    rng = np.random.default_rng(0)
    found = np.zeros(1000, dtype=RECORD)
    found["key"] = np.sort(rng.integers(0, 2**64, 1000, dtype=np.uint64))
    found["key"][[0, -1]] = 0, 2**64 - 1
    np.save(tmp_path / "a.npy", found)
    ranges = key_ranges(10_000_000)
    assert len(ranges) > 10
    joined = np.concatenate([part for first, last in ranges for part in read_range([tmp_path / "a.npy"], first, last)])
    np.testing.assert_array_equal(joined["key"], found["key"])
