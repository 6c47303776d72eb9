"""Markers against a plain loop: Welch's t of every gene in every group, the groups taking turns."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from scssl.report.markers import EXPRESSED, FEWEST_CELLS, log_expression, marker_genes, variable_genes


def slow_markers(X, groups, n):
    names, counts = np.unique([g for g in groups if g is not None], return_counts=True)
    known = np.array([g is not None for g in groups])
    ranked = []
    for name in names[np.argsort(-counts, kind="stable")]:
        own, others = X[groups == name], X[known & (groups != name)]
        if min(len(own), len(others)) < FEWEST_CELLS:
            continue
        score = []
        for gene in range(X.shape[1]):
            a, b = own[:, gene], others[:, gene]
            error = max(np.sqrt(a.var() / len(a) + b.var() / len(b)), 1e-9)
            t = (a.mean() - b.mean()) / error
            score.append(t if (a > 0).mean() >= EXPRESSED and t > 0 else -np.inf)
        order = sorted(range(X.shape[1]), key=lambda gene: (-score[gene], gene))
        ranked.append([gene for gene in order if score[gene] > 0])
    found = []
    for turn in range(X.shape[1]):
        for genes in ranked:
            if turn < len(genes) and genes[turn] not in found and len(found) < n:
                found.append(genes[turn])
    return found


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
def test_markers_are_those_of_the_slow_way(seed, n):
    rng = np.random.default_rng(seed)
    groups = rng.choice(np.array(["a", "b", "c", None], dtype=object), 80, p=[0.5, 0.3, 0.1, 0.1])
    X = rng.gamma(0.6, 1.0, (80, 10)) * (rng.random((80, 10)) < 0.6)
    X[groups == "b", 3] += 2
    assert marker_genes(sp.csr_matrix(X), groups, n=n).tolist() == slow_markers(X, groups, n)


def test_the_rank_is_that_of_welch():
    rng = np.random.default_rng(1)
    X, groups = rng.random((60, 5)), np.repeat(np.array(["a", "b"], dtype=object), [40, 20])
    t = ttest_ind(X[:40], X[40:], equal_var=False).statistic
    # The groups have no gene of higher mean in common: each gene is the marker of one.
    found = marker_genes(sp.csr_matrix(X), groups, n=5).tolist()
    assert [gene for gene in found if t[gene] > 0] == [gene for gene in np.argsort(-t) if t[gene] > 0]


@pytest.mark.parametrize("groups", [["a"] * 40, [None] * 40, ["a"] * 38 + ["b"] * 2])
def test_where_there_is_nothing_to_set_apart_there_are_none(groups):
    X = sp.random(40, 6, density=0.5, format="csr", random_state=0)
    assert len(marker_genes(X, np.array(groups, dtype=object))) == 0


def test_variable_genes_are_sorted_by_variance():
    X = np.random.default_rng(0).random((50, 7)) * np.array([1, 5, 0, 2, 4, 3, 0])
    np.testing.assert_array_equal(variable_genes(sp.csr_matrix(X), n=3), np.argsort(-X.var(axis=0))[:3])
    assert len(variable_genes(sp.csr_matrix(X), n=7)) == 5


def test_log_expression_is_log1p_of_counts_per_ten_thousand():
    counts = np.random.default_rng(0).poisson(1.0, (20, 9))
    counts[3] = 0
    expected = np.log1p(1e4 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    given_counts = sp.csr_matrix(counts)
    np.testing.assert_allclose(log_expression(given_counts).toarray(), expected, rtol=1e-6)
    np.testing.assert_array_equal(given_counts.toarray(), counts)
