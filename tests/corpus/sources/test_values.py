"""What the values of a matrix are, and refusing those that are no counts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scssl.corpus.sources.values import check_counts, describe_matrix, sample_rows, whole_cells
from scssl.errors import DataError


def counts(n_cells=200, n_genes=300, seed=0):
    rng = np.random.default_rng(seed)
    depth = rng.lognormal(0, 0.5, (n_cells, 1))
    return rng.poisson(depth * rng.gamma(0.4, 2, n_genes)).astype(np.float32)


def cp10k(X):
    return (1e4 * X / X.sum(axis=1, keepdims=True)).astype(np.float32)


def log2p1(X):
    return np.log2(X + 1)


def scaled(X):
    X = np.log1p(cp10k(X))
    return np.minimum((X - X.mean(0)) / (X.std(0) + 1e-3), 10)


def subset_of_logs(X):
    return np.log1p(cp10k(X))[:, :80]


def with_fractions(X):
    rng = np.random.default_rng(1)
    return X * rng.lognormal(0, 0.3, X.shape) * 40


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda X: X, "counts", r"raw counts \(whole numbers, up to"),
        (lambda X: X.astype(np.uint16), "counts", "raw counts"),
        (cp10k, "normalised", "normalised to 10,000 per cell, without logs"),
        (lambda X: np.log1p(cp10k(X)), "log1p", "log1p values of counts normalised to 10,000 per cell"),
        (lambda X: np.log1p(X), "log1p", "log1p values"),
        (lambda X: log2p1(cp10k(X)), "log1p", r"log2\(x \+ 1\) values of counts normalised to 10,000"),
        (lambda X: np.log10(cp10k(X) + 1), "log1p", r"log10\(x \+ 1\) values"),
        (subset_of_logs, "log1p", r"log1p values \(up to"),
        (scaled, "scaled", r"scaled values \(-"),
        (with_fractions, "other", "values of an unknown kind"),
        (lambda X: X * 0, "other", "nothing but zeros"),
    ],
)
def test_kinds(change, kind, words):
    found = describe_matrix(sp.csr_matrix(change(counts())))
    assert found.kind == kind
    import re

    assert re.search(words, str(found))


def test_what_can_be_restored():
    logs = describe_matrix(sp.csr_matrix(subset_of_logs(counts())))
    assert logs.restorable
    assert logs.target_sum is None
    assert describe_matrix(sp.csr_matrix(np.log1p(cp10k(counts())))).target_sum == pytest.approx(1e4, rel=1e-3)
    assert not describe_matrix(sp.csr_matrix(with_fractions(counts()))).restorable


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, r"1 missing \(NaN\)"), (np.inf, "1 infinite"), (-np.inf, "1 infinite"), (-1, "1 negative")],
)
def test_broken_values(value, words):
    X = counts()
    X[3, 7] = value
    found = describe_matrix(sp.csr_matrix(X))
    assert found.kind == "other"
    assert found.n_nan + found.n_infinite + found.n_negative == 1
    import re

    assert re.search(words, str(found))


def test_joined_data_are_told():
    X = counts()
    X[:50] *= 1.37
    found = describe_matrix(sp.csr_matrix(X))
    assert (found.joined, found.n_cells_whole) == (True, 150)
    assert not describe_matrix(sp.csr_matrix(counts())).joined
    assert whole_cells(sp.csr_matrix(X)).tolist() == [False] * 50 + [True] * 150


@pytest.mark.parametrize("layer", [None, "raw counts"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -2.0, 0.5])
def test_check_counts_names_file_layer_cell_and_value(value, layer):
    X = counts(10)
    X[4, 100] = value
    with pytest.raises(DataError) as caught:
        check_counts(sp.csr_matrix(X), file="a.h5ad", layer=layer, first_row=1000)
    message = str(caught.value)
    assert message.startswith(
        "a.h5ad: X holds no raw counts" if layer is None else "a.h5ad: layer 'raw counts' holds no"
    )
    assert f"the first such value is {value:.6g}, in cell 1,004" in message
    assert "scssl check a.h5ad" in message
    assert "\n" not in message


@given(
    st.lists(st.sampled_from([0.0, 1.0, 3.0, 70_000.0, 0.25, -1.0, np.nan, np.inf, -np.inf]), min_size=1, max_size=12)
)
def test_check_counts_against_a_slow_check(values):
    X = sp.csr_matrix(np.array([values]))
    good = all(np.isfinite(v) and v >= 0 and v == int(v) for v in values)
    if good:
        check_counts(X, file="f", layer=None, first_row=0)
    else:
        with pytest.raises(DataError):
            check_counts(X, file="f", layer=None, first_row=0)


def test_integer_types():
    check_counts(sp.csr_matrix(np.ones((2, 2), dtype=np.uint8)), file="f", layer=None, first_row=0)
    check_counts(sp.csr_matrix((2, 2)), file="f", layer=None, first_row=0)
    with pytest.raises(DataError, match="-1, in cell 1"):
        check_counts(sp.csr_matrix(np.array([[1, 0], [0, -1]])), file="f", layer=None, first_row=0)


def test_sample_comes_from_all_over_the_file():
    import anndata as ad

    from scssl.corpus.sources.source import open_source

    X = np.arange(1, 101, dtype=np.float32)[:, None] * np.ones((1, 2), dtype=np.float32)
    source = open_source(ad.AnnData(sp.csr_matrix(X)))
    numbers, sample = sample_rows(source, n_cells=20)
    assert sample.shape[0] == 20
    assert numbers[0] == 0
    assert numbers[-1] == 99
    assert sample[:, 0].toarray().ravel().tolist() == (numbers + 1).tolist()
    by_column = open_source(ad.AnnData(sp.csc_matrix(X)))
    assert sample_rows(by_column, n_cells=20)[0].tolist() == list(range(40, 60))
    assert sample_rows(source, n_cells=1000)[0].tolist() == list(range(100))
    assert sample_rows(source, n_cells=3)[1].shape[0] == 4
