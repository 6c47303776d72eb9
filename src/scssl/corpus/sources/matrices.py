"""Matrices of cells by features, wherever they lie, read as blocks of rows in bounded memory."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Triplets = tuple[np.ndarray, np.ndarray, np.ndarray]

BLOCK_VALUES: Final = 4_000_000
"""Stored values handled at a time where the order on disk is not that of the rows (reading them takes about 250 MB)."""


class CellMatrix(ABC):
    """A (n_cells, n_features) matrix that can be read by rows.

    Attributes
    ----------
    shape
        Cells and features.
    nnz
        Number of stored values, None for a dense matrix.
    where
        File and key, for messages.
    """

    def __init__(self, shape: tuple[int, int], *, nnz: int | None, where: str) -> None:
        self.shape = (int(shape[0]), int(shape[1]))
        self.nnz = nnz
        self.where = where

    @abstractmethod
    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        """Read the rows start..stop-1: sorted unique column indices within each row, duplicates summed."""

    def chunks(self, size: int) -> Iterator[tuple[slice, sp.csr_matrix]]:
        """Read all rows in order, `size` at a time."""
        for start in range(0, self.shape[0], size):
            stop = min(start + size, self.shape[0])
            yield slice(start, stop), self.rows(start, stop)

    def _damaged(self, what: str) -> FormatError:
        message = f"{self.where}: {what}; the file is damaged: write, copy or download it again"
        return FormatError(message)


class RowCompressed(CellMatrix):
    """CSR arrays (or the CSC arrays of the transpose, as in 10x files), in memory or on disk."""

    def __init__(self, data: Any, indices: Any, indptr: Any, shape: tuple[int, int], *, where: str) -> None:
        super().__init__(shape, nnz=int(data.shape[0]), where=where)
        self._data, self._indices = data, indices
        self._indptr = np.asarray(indptr[:], dtype=np.int64)
        if len(self._indptr) != self.shape[0] + 1 or np.any(np.diff(self._indptr) < 0) or self._indptr[0] != 0:
            what = f"indptr does not fit {self.shape[0]:,} cells"
            raise self._damaged(what)
        if not self._indptr[-1] == data.shape[0] == indices.shape[0]:
            what = f"{data.shape[0]:,} values are stored where {self._indptr[-1]:,} are announced"
            raise self._damaged(what)

    def rows(self, start: int, stop: int) -> sp.csr_matrix:  # noqa: D102
        first, last = self._indptr[start], self._indptr[stop]
        indices = np.asarray(self._indices[first:last])
        if len(indices) and (indices.max() >= self.shape[1] or indices.min() < 0):
            what = f"column indices beyond the {self.shape[1]:,} features"
            raise self._damaged(what)
        indptr = self._indptr[start : stop + 1] - first
        data = usable_dtype(np.asarray(self._data[first:last]))
        # scipy wants both index arrays of one type, and signed.
        index_type = np.int32 if last - first < np.iinfo(np.int32).max else np.int64
        arrays = (data, indices.astype(index_type, copy=False), indptr.astype(index_type, copy=False))
        return canonical(sp.csr_matrix(arrays, shape=(stop - start, self.shape[1])))


class Dense(CellMatrix):
    """A two-dimensional array, or anything that gives arrays or sparse matrices when sliced by rows."""

    def __init__(self, array: Any, *, where: str) -> None:
        super().__init__(array.shape, nnz=None, where=where)
        self._array = array

    def rows(self, start: int, stop: int) -> sp.csr_matrix:  # noqa: D102
        step = max(1, BLOCK_VALUES // max(self.shape[1], 1))
        parts = [self._read(first, min(first + step, stop)) for first in range(start, stop, step)]
        return sp.vstack(parts, format="csr") if len(parts) > 1 else parts[0]

    def _read(self, start: int, stop: int) -> sp.csr_matrix:
        block = self._array[start:stop]
        if hasattr(block, "compute"):  # dask
            block = block.compute()
        if sp.issparse(block):
            block = sp.csr_matrix(block)
            block.data = usable_dtype(block.data)
            return canonical(block)
        return sp.csr_matrix(usable_dtype(np.asarray(block)))


class Unordered(CellMatrix):
    """Stored values that come in another order than by row (CSC, Matrix Market).

    A small matrix is sorted in memory. A large one is written once, value by value, into one temporary file per block
    of rows, each of which fits in memory; this takes 12 to 16 bytes of temporary disk per stored value.

    Parameters
    ----------
    blocks
        Gives all (row, column, value) triplets, in arrays of at most about `BLOCK_VALUES`, each time it is called.
    """

    def __init__(
        self, blocks: Callable[[], Iterable[Triplets]], shape: tuple[int, int], *, nnz: int, where: str
    ) -> None:
        super().__init__(shape, nnz=nnz, where=where)
        self._blocks = blocks

    def rows(self, start: int, stop: int) -> sp.csr_matrix:  # noqa: D102
        kept = []
        for row, column, value in self._blocks():
            inside = (row >= start) & (row < stop)
            kept.append((row[inside] - start, column[inside], value[inside]))
        return self._assemble(kept, stop - start)

    def chunks(self, size: int) -> Iterator[tuple[slice, sp.csr_matrix]]:  # noqa: D102
        n_cells = self.shape[0]
        assert self.nnz is not None
        n_buckets = max(1, -(-self.nnz // BLOCK_VALUES))
        height = max(1, round(n_cells / n_buckets / size)) * size
        if height >= n_cells:
            yield from _cut(self._assemble(list(self._blocks()), n_cells), 0, size)
            return
        with tempfile.TemporaryDirectory(prefix="scssl-") as folder:
            buckets = _Buckets(Path(folder), height=height, n_cells=n_cells)
            for triplets in self._blocks():
                self._check(*triplets[:2])
                buckets.add(*triplets)
            for number in range(buckets.n):
                first = number * height
                yield from _cut(self._assemble([buckets.read(number)], min(height, n_cells - first)), first, size)

    def _check(self, row: np.ndarray, column: np.ndarray) -> None:
        for index, n, name in ((row, self.shape[0], "cells"), (column, self.shape[1], "features")):
            if len(index) and (index.min() < 0 or index.max() >= n):
                what = f"indices beyond the {n:,} {name}"
                raise self._damaged(what)

    def _assemble(self, triplets: list[Triplets], n_rows: int) -> sp.csr_matrix:
        row, column, value = (
            (np.concatenate(part) for part in zip(*triplets, strict=True))
            if triplets
            else (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
        )
        if len(row) and (row.min() < 0 or row.max() >= n_rows):
            what = f"indices beyond the {self.shape[0]:,} cells"
            raise self._damaged(what)
        if len(column) and (column.min() < 0 or column.max() >= self.shape[1]):
            what = f"indices beyond the {self.shape[1]:,} features"
            raise self._damaged(what)
        order = np.lexsort((column, row))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_rows))])
        # Built by hand: scipy's own conversion from triplets sums duplicates in the stored type, which may overflow.
        matrix = sp.csr_matrix((usable_dtype(value[order]), column[order], indptr), shape=(n_rows, self.shape[1]))
        return canonical(matrix)


class _Buckets:
    """Triplets on disk, in one file per block of rows and array."""

    def __init__(self, folder: Path, *, height: int, n_cells: int) -> None:
        self._folder, self._height = folder, height
        self.n = -(-n_cells // height)
        self._types: tuple[np.dtype, ...] = (np.dtype(np.int32), np.dtype(np.int32), np.dtype(np.float32))

    def add(self, row: np.ndarray, column: np.ndarray, value: np.ndarray) -> None:
        triplet = (row.astype(np.int32), column.astype(np.int32), usable_dtype(value))
        self._types = tuple(part.dtype for part in triplet)
        number = row // self._height
        order = np.argsort(number, kind="stable")
        edges = np.searchsorted(number[order], np.arange(self.n + 1))
        triplet = (triplet[0] % self._height, *triplet[1:])
        for bucket in np.flatnonzero(np.diff(edges)):
            chosen = order[edges[bucket] : edges[bucket + 1]]
            for name, part in zip("rcv", triplet, strict=True):
                with (self._folder / f"{bucket}.{name}").open("ab") as file:
                    file.write(part[chosen].tobytes())

    def read(self, number: int) -> Triplets:
        paths = (self._folder / f"{number}.{name}" for name in "rcv")
        row, column, value = (
            np.fromfile(path, dtype=kind) if path.exists() else np.empty(0, kind)
            for path, kind in zip(paths, self._types, strict=True)
        )
        return row, column, value


def column_compressed(data: Any, indices: Any, indptr: Any, shape: tuple[int, int], *, where: str) -> Unordered:
    """Read CSC arrays (of cells by features) by blocks of columns."""
    starts = np.asarray(indptr[:], dtype=np.int64)
    fits = len(starts) == shape[1] + 1 and np.all(np.diff(starts) >= 0)
    if not (fits and starts[-1] == data.shape[0] == indices.shape[0]):
        message = (
            f"{where}: indptr does not fit {shape[1]:,} features and {data.shape[0]:,} values; the file is damaged"
        )
        raise FormatError(message)

    def blocks() -> Iterator[Triplets]:
        for first in range(0, int(starts[-1]), BLOCK_VALUES):
            last = min(first + BLOCK_VALUES, int(starts[-1]))
            column = np.searchsorted(starts, np.arange(first, last), side="right") - 1
            yield np.asarray(indices[first:last]), column, np.asarray(data[first:last])

    return Unordered(blocks, shape, nnz=int(data.shape[0]), where=where)


def canonical(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Sort the column indices of each row and sum duplicates, in a type that holds the sums."""
    if matrix.has_canonical_format:
        return matrix
    matrix = matrix.copy()  # the arrays may be the caller's own
    matrix.sort_indices()
    same_row = np.ones(max(matrix.nnz - 1, 0), dtype=bool)
    edges = matrix.indptr[1:-1]
    same_row[edges[(edges > 0) & (edges < matrix.nnz)] - 1] = False
    if np.any((np.diff(matrix.indices) == 0) & same_row):
        if matrix.data.dtype.kind in "iu":
            matrix = matrix.astype(np.int64)
        matrix.sum_duplicates()
    matrix.has_canonical_format = True
    return matrix


def usable_dtype(values: np.ndarray) -> np.ndarray:
    """Return values in native byte order and in a type that scipy's sparse matrices take."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype == np.float16:
        return values.astype(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _cut(block: sp.csr_matrix, offset: int, size: int) -> Iterator[tuple[slice, sp.csr_matrix]]:
    for start in range(0, block.shape[0], size):
        stop = min(start + size, block.shape[0])
        yield slice(offset + start, offset + stop), block[start:stop]
