"""What is of the target is found in a corpus, and really left out or added."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import scssl
from scssl.errors import DataError
from scssl.study.leakage import find_leaks, leakage_table, share_of, take, with_target, without_target


@pytest.fixture(scope="module")
def both(two_studies):
    """A corpus of all cells, those of the target among them."""
    return build(ad.concat(two_studies, merge="same"))


def build(adata, **settings):
    given = {"genes": "union", "obs": ["cell_type"], "source": "study", "split_by": "donor", "test": 0.2} | settings
    return scssl.Corpus.from_anndata(adata, **given)


def cells_of(corpus):
    """All cells of a corpus: split -> (names, dense counts)."""
    found = {}
    for shard in corpus.shards:
        rows = shard.rows(0, shard.n_cells)
        X = sp.csr_matrix((rows.values, rows.indices, rows.indptr), shape=(shard.n_cells, len(corpus.panel)))
        found.setdefault(shard.split, []).append((shard.cell_names(), X.toarray()))
    return {split: tuple(np.concatenate(p) for p in zip(*parts, strict=True)) for split, parts in found.items()}


def test_donors_of_the_target_are_left_out(both, two_studies, tmp_path):
    corpus_cells, target = two_studies
    leaks = find_leaks(both, target, donor="donor")
    assert leaks["n_shared"] == target.n_obs
    assert set(leaks["excluded"]["donors"]) == set(target.obs["donor"].astype(str))
    table = leakage_table(leaks).set_index("name")
    assert table.loc["", "cells_in_both"] == target.n_obs
    for name, n in target.obs["donor"].astype(str).value_counts().items():
        assert tuple(table.loc[name]) == ("donor", n, True)
    left = without_target(both, leaks["excluded"], folder=tmp_path)
    names = np.concatenate([left.obs(split).index for split in ("train", "val", "test") if left.n_cells(split)])
    assert set(names) == set(corpus_cells.obs_names)
    # What remains is as it was, in the same splits, and readable as any corpus.
    before, after = cells_of(both), cells_of(left)
    for split, (cells, counts) in after.items():
        place = {name: row for row, name in enumerate(before[split][0])}
        np.testing.assert_array_equal(counts, before[split][1][[place[name] for name in cells]])
    batches = list(left.loader(split="train", batch_size=50, seed=1))
    assert sum(batch.n_cells for batch in batches) == left.n_cells("train")
    seen = sum(int(batch.values.long().sum()) for batch in batches)
    assert seen == after["train"][1].sum() == left.gene_counts.sum()
    np.testing.assert_array_equal(left.gene_counts.sum(0), after["train"][1].sum(0))
    assert left.fingerprint != both.fingerprint


def test_nothing_to_leave_out_leaves_the_corpus_as_it_is(tiny_corpus, two_studies, tmp_path):
    leaks = find_leaks(tiny_corpus, two_studies[1], donor="donor")
    assert (leaks["n_shared"], leaks["excluded"]["donors"], leaks["excluded"]["sources"]) == (0, [], [])
    assert without_target(tiny_corpus, leaks["excluded"], folder=tmp_path) is tiny_corpus


def test_namesakes_go_and_so_do_renamed_donors(both, two_studies, tmp_path):
    target = two_studies[1][:60].copy()
    true = set(target.obs["donor"].astype(str))
    target.obs["donor"] = target.obs["donor"].astype(str) + " renamed"
    other = str(two_studies[0].obs["donor"].iloc[0])
    target.obs.loc[target.obs_names[0], "donor"] = other
    excluded = find_leaks(both, target, donor="donor")["excluded"]
    assert set(excluded["donors"]) == true | {other}


def test_without_donors_whole_sources_go(two_studies, tmp_path):
    corpus = build(ad.concat(two_studies, merge="same"), split_by="cell", val=0.1)
    excluded = find_leaks(corpus, two_studies[1], donor="donor")["excluded"]
    assert excluded == {"column": None, "donors": [], "sources": [str(two_studies[1].obs["study"].iloc[0])]}
    left = without_target(corpus, excluded, folder=tmp_path)
    assert left.n_cells() == two_studies[0].n_obs


def test_a_corpus_of_nothing_else_is_refused(two_studies, tmp_path):
    corpus = build(two_studies[1])
    excluded = find_leaks(corpus, two_studies[1], donor="donor")["excluded"]
    with pytest.raises(DataError, match="--arm included"):
        without_target(corpus, excluded, folder=tmp_path)


def test_cells_of_the_target_are_added_once_and_without_labels(tiny_corpus, both, two_studies):
    target = two_studies[1]
    joined = with_target(tiny_corpus, target)
    assert joined.n_cells() == tiny_corpus.n_cells() + target.n_obs
    assert joined.n_cells("train") == tiny_corpus.n_cells("train") + target.n_obs
    obs = joined.obs("train")
    mine = obs["source"] == "target"
    assert set(obs.index[mine]) == set(target.obs_names)
    assert obs.loc[mine, "cell_type"].isna().all()
    names, counts = cells_of(joined)["train"]
    place = {name: row for row, name in enumerate(names)}
    expected = np.zeros((target.n_obs, len(joined.panel)), dtype=int)
    expected[:, joined.panel.index_of(target.var_names)] = target.X.toarray()
    np.testing.assert_array_equal(counts[[place[name] for name in target.obs_names]], expected)
    np.testing.assert_array_equal(joined.gene_counts.sum(0), counts.sum(0))
    assert sum(batch.n_cells for batch in joined.loader(split="train", batch_size=64)) == joined.n_cells("train")
    assert with_target(both, target) is both


def test_a_share_of_the_cells_is_nested_and_keeps_validation(tiny_corpus, tmp_path):
    few, many = (share_of(tiny_corpus, f, folder=tmp_path / str(f), seed=0) for f in (0.2, 0.6))
    n = tiny_corpus.n_cells("train")
    assert abs(few.n_cells("train") - 0.2 * n) < 25
    assert set(few.obs("train").index) < set(many.obs("train").index)
    assert few.n_cells("val") == tiny_corpus.n_cells("val")
    assert share_of(tiny_corpus, 1.0, folder=tmp_path, seed=0) is tiny_corpus
    with pytest.raises(DataError, match="too little"):
        share_of(tiny_corpus, 0.0001, folder=tmp_path / "none", seed=0)


def test_shards_without_a_cell_go(both, tmp_path):
    left = take(both, lambda shard: np.full(shard.n_cells, shard.split == "val"), folder=tmp_path)
    assert [shard.split for shard in left.shards] == ["val"]
    assert left.gene_counts.sum() == 0
