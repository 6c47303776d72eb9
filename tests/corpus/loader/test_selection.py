"""Selections: the cells that pandas would choose, and errors that say what there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scssl.corpus import Corpus
from scssl.corpus.loader.selection import select
from scssl.errors import DataError, SettingsError

CONDITIONS = {
    'cell_type == "x"': lambda obs: obs["cell_type"] == "x",
    'cell_type in ["x", "z"] and source != "a"': lambda obs: obs["cell_type"].isin(["x", "z"]) & (obs["source"] != "a"),
    'cell_type != "x"': lambda obs: ~(obs["cell_type"] == "x"),
    'n_counts > 400 or donor == "q"': lambda obs: (obs["n_counts"] > 400) | (obs["donor"] == "q"),
    'not (donor in ["p", "q"]) and 10 < n_counts <= 500': lambda obs: (
        ~obs["donor"].isin(["p", "q"]) & (obs["n_counts"] > 10) & (obs["n_counts"] <= 500)
    ),
}


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("where", CONDITIONS)
def test_conditions(small_corpus, where, split):
    selection = select(small_corpus, split=split, where=where)
    expected = np.flatnonzero(CONDITIONS[where](small_corpus.obs(split)).to_numpy())
    assert 0 < expected.size < small_corpus.n_cells(split)
    np.testing.assert_array_equal(selection.cells, expected)
    assert selection.bounds.tolist() == [0, expected.size]
    assert selection.n_bytes == 4 * expected.size


@pytest.mark.parametrize("where", [None, 'source == "a"'])
@pytest.mark.parametrize("balance", ["cell_type", "source", "donor"])
def test_classes(small_corpus, balance, where):
    selection = select(small_corpus, split="train", balance=balance, where=where)
    obs = small_corpus.obs("train").reset_index(drop=True)
    obs = obs if where is None else obs[obs["source"] == "a"]
    groups = [group.index.tolist() for _, group in obs.groupby(balance, observed=True)]
    bounds = selection.bounds.tolist()
    assert [selection.cells[a:b].tolist() for a, b in itertools.pairwise(bounds)] == groups
    assert selection.n_cells == obs[balance].notna().sum()


def test_everything_takes_no_memory(small_corpus):
    selection = select(small_corpus, split="train")
    assert selection.cells is None
    assert selection.n_bytes == 0
    assert selection.n_cells == small_corpus.n_cells("train")


def test_from_disk(corpus_dir):
    corpus = Corpus.open(corpus_dir)
    obs = corpus.obs("train")
    name = obs["cell_type"].cat.categories[0]
    selection = select(corpus, split="train", where=f"cell_type == {name!r}")
    np.testing.assert_array_equal(selection.cells, np.flatnonzero(obs["cell_type"] == name))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"where": 'cell_type == "B cell"'}, SettingsError, "none of its 83 cells.*'cell_type == \"B cell\"'"),
        ({"where": 'tissue == "blood"'}, SettingsError, "'tissue' is no column.*source, cell_type, donor, n_counts"),
        ({"where": "cell_type =="}, SettingsError, "is not a condition"),
        ({"where": "cell_type == 3"}, DataError, "cell_type.*holds text"),
        ({"balance": "tissue"}, SettingsError, "balance='tissue' is no column.*source, cell_type, donor"),
        ({"balance": "n_counts"}, SettingsError, "balance='n_counts' is no column"),
        ({"balance": "donor", "where": "n_counts < 0"}, SettingsError, "none of its 83 cells.*with a 'donor'"),
        ({"balance": "donor", "max_repeats": 0}, SettingsError, "max_repeats=0"),
    ],
)
def test_impossible_selections(small_corpus, options, error, message):
    with pytest.raises(error, match=message):
        select(small_corpus, split="train", **options)
