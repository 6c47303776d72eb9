"""Matrices of cells read by rows: every layout gives the same rows, in bounded memory, and damage is told."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.sources import matrices
from scssl.corpus.sources.matrices import Dense, RowCompressed, canonical, column_compressed, usable_dtype
from scssl.errors import FormatError


def is_canonical(X):
    fresh = sp.csr_matrix((X.data, X.indices, X.indptr), shape=X.shape)
    return fresh.has_canonical_format


def rows_of(matrix, size):
    """Stack chunks, checking that they are consecutive and canonical."""
    at, parts = 0, []
    for rows, X in matrix.chunks(size):
        assert (rows.start, rows.stop - rows.start) == (at, X.shape[0])
        assert X.shape[0] == min(size, matrix.shape[0] - at)
        assert is_canonical(X)
        at = rows.stop
        parts.append(X.toarray())
    assert at == matrix.shape[0]
    return np.concatenate(parts)


def wrap(dense, layout):
    if layout == "csr":
        X = sp.csr_matrix(dense)
        return RowCompressed(X.data, X.indices, X.indptr, X.shape, where="f: X")
    if layout == "csc":
        X = sp.csc_matrix(dense)
        return column_compressed(X.data, X.indices, X.indptr, X.shape, where="f: X")
    return Dense(dense, where="f: X")


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(1, 35),
    st.sampled_from(["csr", "csc", "dense"]),
    st.sampled_from([np.uint8, np.uint16, np.int64, np.float32, np.float16, np.bool_, ">f4"]),
    st.integers(0, 5),
)
def test_every_layout_gives_the_same_rows(n_cells, n_features, size, layout, kind, seed):
    dense = np.random.default_rng(seed).poisson(0.4, (n_cells, n_features)).astype(kind)
    if layout != "dense" and kind in (np.float16, ">f4"):
        dense = dense.astype(np.float32)  # scipy has no sparse matrices of these types
    matrix = wrap(dense, layout)
    assert np.array_equal(rows_of(matrix, size), dense.astype(float))
    start, stop = n_cells // 3, n_cells
    assert np.array_equal(matrix.rows(start, stop).toarray(), dense[start:stop].astype(float))


@pytest.mark.parametrize("layout", ["csc", "dense"])
def test_blocks_smaller_than_the_matrix(monkeypatch, layout):
    """With a tiny block size, CSC goes through its files and dense matrices through several reads."""
    monkeypatch.setattr(matrices, "BLOCK_VALUES", 50)
    rng = np.random.default_rng(1)
    dense = rng.poisson(0.5, (97, 13)).astype(np.int64)
    dense[20:50] = 0  # whole buckets without values
    dense[3, 4] = 2**40  # types other than float must survive the files
    for size in (1, 7, 10, 200):
        matrix = wrap(dense, layout)
        assert np.array_equal(rows_of(matrix, size), dense)
        assert next(matrix.chunks(size))[1].dtype == np.int64


def test_temporary_files_are_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(matrices, "BLOCK_VALUES", 50)
    monkeypatch.setattr(matrices.tempfile, "tempdir", str(tmp_path))
    chunks = wrap(np.ones((40, 10)), "csc").chunks(5)
    next(chunks)
    assert any(tmp_path.iterdir())
    chunks.close()
    assert not any(tmp_path.iterdir())


def test_unsorted_and_repeated_indices_are_put_right():
    data, indices = np.array([200, 1, 100, 5], dtype=np.uint8), np.array([2, 0, 2, 1])
    matrix = RowCompressed(data, indices, np.array([0, 3, 4]), (2, 3), where="f: X")
    assert rows_of(matrix, 2).tolist() == [[1, 0, 300], [0, 5, 0]]
    assert (data.tolist(), indices.tolist()) == ([200, 1, 100, 5], [2, 0, 2, 1])  # the caller's arrays stay as they are
    by_column = column_compressed(data, np.array([0, 1, 1, 0]), np.array([0, 1, 3, 4]), (2, 3), where="f: X")
    assert rows_of(by_column, 2).tolist() == [[200, 0, 5], [0, 101, 0]]


def test_canonical_leaves_repeats_in_neighbouring_rows_alone():
    X = sp.csr_matrix((np.array([1, 2, 3], dtype=np.uint8), [2, 0, 0], [0, 1, 1, 3]), shape=(3, 3))
    out = canonical(X)
    assert out.toarray().tolist() == [[0, 0, 1], [0, 0, 0], [5, 0, 0]]
    apart = sp.csr_matrix((np.array([1, 2, 3], dtype=np.uint8), [2, 2, 0], [0, 1, 3]), shape=(2, 3))
    assert canonical(apart).dtype == np.uint8


@pytest.mark.parametrize(
    ("indices", "indptr", "words"),
    [
        ([0, 1, 5], [0, 2, 3], "column indices beyond the 3 features"),
        ([0, 1, -1], [0, 2, 3], "column indices beyond"),
        ([0, 1, 2], [0, 2], "indptr does not fit 2 cells"),
        ([0, 1, 2], [0, 3, 2], "indptr does not fit"),
        ([0, 1, 2], [0, 2, 9], "3 values are stored where 9 are announced"),
    ],
)
def test_damage_by_row(indices, indptr, words):
    with pytest.raises(FormatError, match=words) as caught:
        RowCompressed(np.ones(3), np.array(indices), np.array(indptr), (2, 3), where="a.h5ad: X").rows(0, 2)
    assert "a.h5ad: X" in str(caught.value)


def test_damage_by_column():
    with pytest.raises(FormatError, match="indptr does not fit 3 features"):
        column_compressed(np.ones(3), np.zeros(3), np.array([0, 3]), (2, 3), where="f")
    broken = column_compressed(np.ones(3), np.array([0, 1, 7]), np.array([0, 1, 2, 3]), (2, 3), where="f")
    with pytest.raises(FormatError, match="indices beyond the 2 cells"):
        list(broken.chunks(10))


def test_usable_dtype():
    assert usable_dtype(np.ones(2, dtype=bool)).dtype == np.uint8
    assert usable_dtype(np.ones(2, dtype=np.float16)).dtype == np.float32
    assert usable_dtype(np.ones(2, dtype=">i4")).dtype == np.dtype("=i4")
    same = np.ones(2)
    assert usable_dtype(same) is same


@pytest.mark.slow
def test_memory_of_reading_by_column_stays_bounded(tmp_path):
    """40 million values (640 MB as triplets) pass through in far less memory than they take."""
    import subprocess
    import sys

    code = """
import numpy as np
from pathlib import Path
from scssl.corpus.sources.matrices import column_compressed
n_cells, n_features, per = 200_000, 2_000, 20_000
class Lazy:  # made up as it is read, so that only the reader's own memory counts
    def __init__(self, kind, make): self.shape, self.dtype, self.make = (n_features * per,), np.dtype(kind), make
    def __len__(self): return self.shape[0]
    def __getitem__(self, part): return self.make(np.arange(part.start, part.stop)).astype(self.dtype)
indices = Lazy("int32", lambda i: (i % per) * 10 + (i // per) % 10)
data = Lazy("uint16", lambda i: i % 7 + 1)
def peak():
    # Not ru_maxrss, which starts at what the parent process had.
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
before = peak()
total = n = 0
matrix = column_compressed(data, indices, np.arange(n_features + 1) * per, (n_cells, n_features), where="x")
for rows, X in matrix.chunks(4096):
    total, n = total + int(X.data.sum(dtype=np.int64)), n + X.nnz
assert n == n_features * per
print((peak() - before) / 1024)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(out.stdout) < 400
