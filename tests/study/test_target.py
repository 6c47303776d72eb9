"""What of a target is used, what is left out, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scssl
from scssl.errors import DataError
from scssl.study.target import read_target


@pytest.fixture
def target(two_studies):
    adata = two_studies[1].copy()
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(str)
    adata.obs["donor"] = adata.obs["donor"].astype(str)
    return adata


def read(target, corpus, **options):
    return read_target(target, corpus, **({"labels": "cell_type", "donor": "donor"} | options))


def test_cells_come_with_counts_labels_and_donors(target, tiny_corpus):
    found = read(target, tiny_corpus)
    assert found.notes == []
    assert [found.classes[code] for code in found.codes] == list(target.obs["cell_type"])
    assert [found.donor_names[code] for code in found.donors] == list(target.obs["donor"])
    np.testing.assert_array_equal(found.counts[:, found.panel.index_of(target.var_names)].toarray(), target.X.toarray())
    few = found.anndata(np.array([3, 1]))
    assert list(few.obs["label"]) == list(target.obs["cell_type"].iloc[[3, 1]])
    assert few.n_vars == found.genes.sum()


def test_what_cannot_be_judged_is_left_out_and_said(target, tiny_corpus):
    column = target.obs.columns.get_loc("cell_type")
    target.obs.iloc[0, column] = "unknown"
    target.obs.iloc[1, column] = np.nan
    target.obs.iloc[2, column] = "seen once"
    target.obs.iloc[3, target.obs.columns.get_loc("donor")] = "unknown"
    target.X.data[target.X.indptr[4] : target.X.indptr[5]] = 0
    found = read(target, tiny_corpus)
    assert list(found.rows) == list(range(5, target.n_obs))
    text = " ".join(found.notes)
    for said in (
        "2 cells without a label",
        "1 type (seen once) with a single cell",
        "1 cell without a donor",
        "without any count",
    ):
        assert said in text
    assert "seen once" not in found.classes


def test_types_and_donors_that_stand_alone_are_named(target, tiny_corpus):
    donors = sorted(set(target.obs["donor"]))
    target.obs.loc[target.obs["donor"] == donors[0], "cell_type"] = "only here"
    notes = " ".join(read(target, tiny_corpus).notes)
    assert f"1 donor ({donors[0]}) with cells of a single type" in notes
    assert "1 type (only here) that one donor has" in notes


def test_one_donor_is_said(target, tiny_corpus):
    target.obs["donor"] = "me"
    assert "There is one donor (me), so folds and intervals are over cells" in read(target, tiny_corpus).notes[0]


def test_data_sets_within_the_target(target, tiny_corpus):
    target.obs["site"] = np.where(np.arange(target.n_obs) % 2, "a", "b")
    found = read(target, tiny_corpus, source="site")
    assert (found.source_names, list(found.sources[:3])) == (["a", "b"], [1, 0, 1])
    one = read(target, tiny_corpus, source="study")
    assert one.sources is None
    assert "one data set" in one.notes[0]


def test_only_genes_that_the_corpus_measured_are_used(target, two_studies):
    part = two_studies[0][:, :100].copy()
    corpus = scssl.Corpus.from_anndata(part, genes="union", split_by="donor", test=0.0)
    wider = scssl.Corpus.from_anndata(part, genes="human", split_by="donor", test=0.0)
    for built in (corpus, wider):
        found = read(target, built)
        assert found.genes.sum() == 100
        assert found.counts[:, ~found.genes].sum() == 0
        assert found.counts.sum() == target.X[:, :100].sum()


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (lambda a: None, {"labels": "nope"}, "no column 'nope'"),
        (lambda a: None, {"donor": "nope"}, "no column 'nope' for --donor"),
        (lambda a: None, {"source": "nope"}, "no column 'nope' for --source"),
        (lambda a: a.obs.__setitem__("cell_type", "unknown"), {}, "has no labels"),
        (lambda a: a.obs.__setitem__("cell_type", "T"), {}, "nothing to tell apart"),
        (lambda a: a.obs.__setitem__("donor", pd.NA), {}, "names no donor"),
        (lambda a: setattr(a, "X", a.X.astype(np.float32).log1p()), {}, "log1p"),
        (lambda a: setattr(a, "var", pd.DataFrame(index=[f"x{i}" for i in range(a.n_vars)])), {}, "genes"),
    ],
    ids=["labels", "donor", "source", "unlabelled", "one type", "no donors", "log", "no shared genes"],
)
def test_mistakes(target, tiny_corpus, change, options, match):
    change(target)
    with pytest.raises(DataError, match=match):
        read(target, tiny_corpus, **options)
