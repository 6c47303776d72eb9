"""Copies of cells: barcodes out of names, and sketches against the plain definition on whole cells and on sketches."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scssl.corpus.build import copies
from scssl.corpus.build.copies import Sketch, barcode_keys, find_copies, gene_order, matching_pairs, sketch


@pytest.mark.parametrize(
    "same",
    [
        ["AAACATACAACCAC-1", "donor1_AAACATACAACCAC", "file:AAACATACAACCAC-1-0", "a:b:GATTACA_AAACATACAACCAC-1_ctrl"],
        ["AACGTGAT_AAACATCG-3", "AACGTGAT-AAACATCG", "s1.AACGTGAT.AAACATCG", "lib:AACGTGAT+AAACATCG"],
        ["cell_7", "file:cell_7", "a:b:cell_7"],
        ["AAACATACAACCAC-TTTGCATGCCTCAC", "AAACATACAACCAC", "ACGTACGTACGT_AAACATACAACCAC"],
        ["sci_RNA_A_001_TCTCTCATCC", "f:sci_RNA_A_001_TCTCTCATCC"],
    ],
)
def test_names_of_one_barcode(same):
    assert len(set(barcode_keys(same).tolist())) == 1


def test_names_of_different_barcodes():
    names = [
        "AAACATACAACCAC-1",
        "AAACATACAACCAG-1",
        "AAACATACAAC-1",
        "AACGTGAT_AAACATCG",
        "cell_7",
        "cell_70",
        "7",
        "é",
        "",
    ]
    assert len(set(barcode_keys(names).tolist())) == len(names)


def test_keys_are_the_same_everywhere():
    # Written down once: a change would make keys that were stored unusable.
    expected = [8383765293015586106, 5964928980009752274]
    keys = barcode_keys(np.array(["AAACATACAACCAC-1", "cell_7"], dtype=object))
    assert keys.dtype == np.uint64
    assert keys.tolist() == expected
    assert barcode_keys([]).shape == (0,)


def test_order_depends_on_the_gene_alone():
    genes = [f"ENSG{i:011d}" for i in range(500)]
    rank = gene_order(genes)
    assert sorted(rank.tolist()) == list(range(500))
    part = gene_order(genes[::-3])
    assert np.array_equal(np.argsort(part), np.argsort(rank[::-3]))
    # A random order: it has nothing to do with that of the panel.
    assert abs(np.corrcoef(rank, np.arange(500))[0, 1]) < 0.2


def test_genes_of_small_panels_come_first():
    genes = [f"ENSG{i:011d}" for i in range(300)]
    measured = np.ones((3, 300), dtype=bool)
    measured[1, 20:] = False
    measured[2, :200] = False
    rank, plain = gene_order(genes, measured), gene_order(genes)
    tiers = [np.arange(20), np.arange(200, 300), np.arange(20, 200)]
    assert all(rank[a].max() < rank[b].min() for a, b in pairwise(tiers))
    assert all(np.array_equal(np.argsort(rank[t]), np.argsort(plain[t])) for t in tiers)


def slow_sketch(X, rank, n_entries):
    genes, counts = [], []
    for row in X.toarray():
        first = sorted((rank[g], g) for g in np.flatnonzero(row))[:n_entries]
        pad = n_entries - len(first)
        genes.append([int(g) for _, g in first] + [-1] * pad)
        counts.append([min(int(row[g]), 2**31 - 1) for _, g in first] + [0] * pad)
    return genes, counts


@pytest.mark.parametrize("density", [0.0, 0.005, 0.05, 0.5])
@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.float32])
def test_sketch(density, dtype):
    rng = np.random.default_rng(3)
    # Cells of very different depth: some need more than one round.
    dense = (rng.random((40, 400)) < density * rng.exponential(size=(40, 1))) * rng.integers(1, 60_000, (40, 400))
    if dtype == np.int64 and density:
        dense[dense > 59_000] = 2**40
    X = sp.csr_matrix(dense.astype(dtype))
    rank = gene_order([str(i) for i in range(400)])
    made = sketch(X, rank, n_entries=8)
    genes, counts = slow_sketch(X, rank, 8)
    assert (made.genes.dtype, made.counts.dtype) == (np.int32, np.int32)
    assert made.genes.tolist() == genes
    assert made.counts.tolist() == counts


def test_sketch_of_untidy_rows():
    # Stored zeros, indices out of order.
    X = sp.csr_matrix((np.array([5, 0, 3, 0], dtype=np.uint16), [2, 0, 1, 3], [0, 3, 3, 4]), shape=(3, 4))
    made = sketch(X, np.arange(4, dtype=np.int32), n_entries=2)
    assert made.genes.tolist() == [[1, 2], [-1, -1], [-1, -1]]
    assert made.counts.tolist() == [[3, 5], [0, 0], [0, 0]]


def test_join():
    rank = np.arange(5, dtype=np.int32)
    X = sp.random(9, 5, density=0.5, format="csr", random_state=0)
    X.data[:] = np.arange(1, X.nnz + 1)
    whole = sketch(X, rank, n_entries=3)
    joined = Sketch.join(sketch(X[a:b], rank, n_entries=3) for a, b in [(0, 4), (4, 4), (4, 9)])
    assert joined.n_cells == 9
    assert np.array_equal(joined.genes, whole.genes)
    assert np.array_equal(joined.counts, whole.counts)


def slow_entries(cell, other, sketches, source, measured, reach):
    return {
        (g, c)
        for g, c in zip(sketches.genes[cell].tolist(), sketches.counts[cell].tolist(), strict=True)
        if g >= 0 and sketches.rank[g] <= reach and measured[source[cell], g] and measured[source[other], g]
    }


def slow_alike(a, b, sketches, source, measured):
    """The definition in the docstring of `matching_pairs`."""
    ends = [sketches.genes[i, -1] for i in (a, b)]
    reach = min(sketches.rank[g] if g >= 0 else np.inf for g in ends)
    mine = slow_entries(a, b, sketches, source, measured, reach)
    other = slow_entries(b, a, sketches, source, measured, reach)
    both, either = len(mine & other), len(mine | other)
    return both >= copies.MIN_EQUAL and both >= copies.MIN_SHARE * either


def slow_pairs(keys, source, sketches, measured):
    found = set()
    for a, b in combinations(range(len(keys)), 2):
        if keys[a] != keys[b]:
            continue
        if np.count_nonzero(keys == keys[a]) > copies.LARGEST_GROUP:
            same = [np.array_equal(t[a], t[b]) for t in (sketches.genes, sketches.counts)]
            alike = all(same) and np.count_nonzero(sketches.genes[a] >= 0) >= copies.MIN_EQUAL
        else:
            alike = slow_alike(a, b, sketches, source, measured)
        if alike:
            found.add((a, b))
    return found


def slow_copies(n, pairs):
    copy_of = [-1] * n
    for cell in range(n):
        earlier = [a for a, b in pairs if b == cell]
        if earlier:
            first = min(earlier)
            copy_of[cell] = first if copy_of[first] < 0 else copy_of[first]
    return copy_of


def make_cells(seed, n_genes, n_sources, n_cells, *, altered):
    """Cells of few kinds, in several sources that measured different genes, some counts altered, few barcodes."""
    rng = np.random.default_rng(seed)
    measured = rng.random((n_sources, n_genes)) < rng.choice([0.4, 0.8, 1.0], size=(n_sources, 1))
    truth = (rng.random((5, n_genes)) < rng.choice([0.1, 0.4, 0.9], size=(5, 1))) * rng.integers(1, 4, (5, n_genes))
    truth[0] = 0
    which, source = rng.integers(0, 5, n_cells), rng.integers(0, n_sources, n_cells)
    counts = np.where(rng.random((n_cells, n_genes)) < altered, rng.integers(0, 4, (n_cells, n_genes)), truth[which])
    X = sp.csr_matrix(counts * measured[source])
    # Often the same key for different cells, sometimes other keys for the same one.
    keys = (which // 2 + 3 * (rng.random(n_cells) < 0.1)).astype(np.uint64)
    return X, keys, source, measured


@given(
    seed=st.integers(0, 2**32),
    n_genes=st.sampled_from([8, 20, 80]),
    n_entries=st.sampled_from([4, 12, 17]),
    large=st.sampled_from([3, 128]),
    altered=st.sampled_from([0.0, 0.05, 0.2]),
    ordered=st.booleans(),
)
def test_against_the_definition(seed, n_genes, n_entries, large, altered, ordered):
    X, keys, source, measured = make_cells(seed, n_genes, 4, 25, altered=altered)
    rank = gene_order([str(i) for i in range(n_genes)], measured if ordered else None)
    sketches = sketch(X, rank, n_entries=n_entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "LARGEST_GROUP", large)
        patch.setattr(copies, "_PAIRS_AT_ONCE", 7)
        expected = slow_pairs(keys, source, sketches, measured)
        found = [
            pair for parts in matching_pairs(keys, source, sketches, measured) for pair in zip(*parts, strict=True)
        ]
        assert len(set(found)) == len(found)
        assert set(found) <= expected
        if large == 128:
            assert set(found) == expected
        copy_of = find_copies(keys, source, sketches, measured)
    assert copy_of.dtype == np.int64
    assert copy_of.tolist() == slow_copies(25, expected)


def test_whole_cells_and_sketches_agree():
    """Sketches say of long cells what a look at all their counts says."""
    rng = np.random.default_rng(0)
    n_genes, n = 3000, 60
    measured = np.ones((3, n_genes), dtype=bool)
    measured[1] = rng.random(n_genes) < 0.3
    measured[2] = False
    measured[2, rng.choice(n_genes, 100, replace=False)] = True
    truth = (rng.random((n, n_genes)) < 0.3) * rng.geometric(0.5, (n, n_genes))
    source = np.repeat([0, 1, 2], n)
    X = sp.csr_matrix(np.tile(truth, (3, 1)) * measured[source])
    # Two different cells with each barcode in each source.
    keys = np.tile(np.arange(n) // 2, 3).astype(np.uint64)
    rank = gene_order([str(i) for i in range(n_genes)], measured)
    copy_of = find_copies(keys, source, sketch(X, rank), measured)
    assert copy_of.tolist() == [-1] * n + list(range(n)) * 2


def test_cells_with_few_genes_are_no_copies():
    X = sp.csr_matrix(np.ones((2, copies.MIN_EQUAL - 1), dtype=int))
    keys, source = np.zeros(2, dtype=np.uint64), np.array([0, 1])
    rank = gene_order([str(i) for i in range(X.shape[1])])
    assert find_copies(keys, source, sketch(X, rank), np.ones((2, X.shape[1]), dtype=bool)).tolist() == [-1, -1]


def test_no_cells():
    none = sketch(sp.csr_matrix((0, 5)), np.arange(5, dtype=np.int32))
    assert find_copies(np.zeros(0, np.uint64), np.zeros(0, int), none, np.ones((1, 5), dtype=bool)).shape == (0,)


def test_real_copies(real_data):
    """The Kang files hold each other's cells, on 1,275, 2,485 and 100 panel genes; pbmc3k holds none of them."""
    from scssl.corpus.sources.source import open_source
    from scssl.genes import harmonise, load_panel

    panel = load_panel("human")
    names = ["kang_ctrl_8donors_1287g", "kang_ctrl_5donors_2511g", "kang_distinct_100g", "pbmc3k_10xv1"]
    keys, source, cells, measured = [], [], [], []
    for code, name in enumerate(names):
        with open_source(real_data / "cells" / f"{name}.h5ad") as file:
            genes = harmonise(file.var, panel)
            cells.append(sp.vstack([genes.apply(X) for _, X in file.chunks()], format="csr"))
            keys.append(barcode_keys(file.obs.index))
            source.append(np.full(file.n_cells, code))
            measured.append(genes.measured)
    table = np.stack(measured)
    rank = gene_order(panel.ids, table)
    X = sp.vstack([X.astype(np.int64) for X in cells], format="csr")
    sketches = sketch(X, rank)
    code = np.concatenate(source)
    key = np.concatenate(keys)
    copy_of = find_copies(key, code, sketches, table)
    found = [int((copy_of[code == i] >= 0).sum()) for i in range(4)]
    assert found == [0, 8684, 3873, 0]

    # What the whole cells say, one pair at a time.
    rows = [dict(zip(X.indices[a:b].tolist(), X.data[a:b].tolist(), strict=True)) for a, b in pairwise(X.indptr)]
    expected = set()
    earlier: dict[int, list[int]] = {}
    for cell, number in enumerate(key.tolist()):
        for other in earlier.setdefault(number, []):
            shared = table[code[cell]] & table[code[other]]
            mine, its = ({(g, c) for g, c in rows[i].items() if shared[g]} for i in (cell, other))
            if len(mine & its) >= copies.MIN_EQUAL and len(mine & its) >= copies.MIN_SHARE * len(mine | its):
                expected.add(cell)
        earlier[number].append(cell)
    assert set(np.flatnonzero(copy_of >= 0).tolist()) == expected
