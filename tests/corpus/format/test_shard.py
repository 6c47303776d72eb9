"""A shard on disk: the same bytes for anndata, for the loader, and for numpy."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.format import compressed
from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.format.shard import LARGEST_COUNT, FileVector, Shard, open_shard, smallest_dtype, write_shard
from scssl.errors import DataError, FormatError
from scssl.genes import GenePanel

# What zarr-python says of the delta filter when it opens a compressed shard.
pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")
CATEGORIES = {"source": ["s0", "s1"], "cell_type": ["B", "T"]}


def panel_of(n):
    ids = np.array([f"gene{i}" for i in range(n)], dtype=object)
    return GenePanel(ids=ids, symbols=ids, name="test")


def shard_of(X, *, split="val", first_cell=100, source=None, cell_type=None):
    X = sp.csr_matrix(X)
    n = X.shape[0]
    return Shard(
        split=split,
        first_cell=first_cell,
        values=X.data.astype(smallest_dtype(int(X.data.max(initial=0)))),
        indices=X.indices.astype(smallest_dtype(X.shape[1] - 1)),
        indptr=X.indptr.astype(np.int64),
        n_counts=np.asarray(X.astype(np.int64).sum(axis=1)).ravel(),
        codes={
            "source": np.zeros(n, dtype=np.int32) if source is None else source,
            "cell_type": np.full(n, -1, dtype=np.int32) if cell_type is None else cell_type,
        },
        names=np.array([f"cell-{i}é" for i in range(n)], dtype=object),
    )


def written(folder, X, *, compress=None, **options):
    shard = shard_of(X, **options)
    entry = write_shard(
        folder, shard, panel=panel_of(X.shape[1]), categories=CATEGORIES, splits=SPLITS, compress=compress
    )
    return shard, open_shard(folder, entry, columns=["cell_type"]), entry


@settings(max_examples=20, deadline=None)
@given(
    compress=st.sampled_from([None, "zstd"]),
    piece=st.sampled_from([1, 2, 7, compressed.PIECE]),
    n=st.integers(0, 12),
    n_genes=st.sampled_from([3, 70_000]),
    largest=st.sampled_from([1, 65_535, 65_536, LARGEST_COUNT]),
    seed=st.integers(0, 100),
)
def test_round_trip_through_files_and_through_anndata(compress, piece, n, n_genes, largest, seed):
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((n, 3)) < 0.6, rng.integers(1, largest, (n, 3), endpoint=True), 0)
    X = sp.csr_matrix(dense)
    X = sp.csr_matrix((X.data, X.indices * (n_genes // 3), X.indptr), shape=(n, n_genes))
    codes = {"source": rng.integers(0, 2, n).astype(np.int32), "cell_type": rng.integers(-1, 2, n).astype(np.int32)}
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(compressed, "PIECE", piece):
        path = Path(folder) / "shard.zarr"
        memory, disk, entry = written(path, X, compress=compress, **codes)
        assert entry.get("compress") == compress
        for field in ("values", "indices", "indptr", "n_counts"):
            on_disk = getattr(disk, field)[:]
            np.testing.assert_array_equal(on_disk, getattr(memory, field))
            assert on_disk.dtype == getattr(memory, field).dtype
        for column, expected in codes.items():
            np.testing.assert_array_equal(disk.codes[column][:], expected)
        assert disk.cell_names().tolist() == memory.names.tolist()
        assert (disk.n_cells, disk.n_nonzeros, disk.first_cell, disk.split) == (n, X.nnz, 100, "val")
        assert entry["data"] == ("uint16" if X.data.max(initial=0) <= 65_535 else "uint32")
        assert entry["indices"] == ("uint16" if n_genes <= 65_536 else "uint32")

        adata = ad.read_zarr(path)
        assert adata.shape == X.shape
        assert (adata.X != X).nnz == 0
        assert adata.X.data.dtype == entry["data"]
        assert adata.obs_names.tolist() == memory.names.tolist()
        assert adata.var_names.tolist() == adata.var["symbol"].tolist() == [f"gene{i}" for i in range(n_genes)]
        for column, expected in codes.items():
            names = [CATEGORIES[column][code] if code >= 0 else None for code in expected]
            assert [None if value != value else value for value in adata.obs[column]] == names
        assert adata.obs["split"].tolist() == ["val"] * n
        np.testing.assert_array_equal(adata.obs["n_counts"], memory.n_counts)


def test_the_chunk_file_is_the_array(tmp_path):
    X = np.array([[1, 0, 2], [0, 3, 0]])
    written(tmp_path / "s.zarr", X)
    assert np.fromfile(tmp_path / "s.zarr/X/data/c/0", dtype="<u2").tolist() == [1, 2, 3]
    assert np.fromfile(tmp_path / "s.zarr/X/indices/c/0", dtype="<u2").tolist() == [0, 2, 1]
    assert np.memmap(tmp_path / "s.zarr/X/indptr/c/0", dtype="<i8", mode="r").tolist() == [0, 2, 3]
    # All codes are 0 here, which zarr by itself would not have written.
    assert (tmp_path / "s.zarr/obs/source/codes/c/0").stat().st_size == 8


@pytest.mark.parametrize("compress", [None, "zstd"])
def test_rows_are_read_by_range(tmp_path, compress):
    rng = np.random.default_rng(0)
    X = sp.random(50, 30, density=0.3, random_state=rng, format="csr")
    X.data = rng.integers(1, 100, X.nnz)
    memory, disk, _ = written(tmp_path / "s.zarr", X, compress=compress)
    for shard in (memory, disk):
        rows = shard.rows(17, 23)
        got = sp.csr_matrix((rows.values, rows.indices, rows.indptr), shape=(6, 30))
        assert (got != X[17:23]).nnz == 0


def test_truncated_after_opening(tmp_path):
    path = tmp_path / "v"
    np.arange(5, dtype="<u2").tofile(path)
    vector = FileVector(path, np.dtype("<u2"), 10)
    assert vector[1:4].tolist() == [1, 2, 3]
    with pytest.raises(FormatError, match="truncated"):
        vector[3:9]


def test_counts_too_large():
    with pytest.raises(DataError, match="largest"):
        smallest_dtype(LARGEST_COUNT + 1)
