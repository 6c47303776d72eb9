"""A shard: cells of one split, as one AnnData-Zarr v3 group whose arrays are also plain binary files.

Every array that the loader reads is stored uncompressed, little-endian and in one chunk, so its file ``c/0`` *is* the
array: a range of cells is read with one seek per array, and ``anndata.read_zarr`` opens the same bytes. Of a compressed
shard this holds but for ``X/data`` and ``X/indices``, see `ZarrVector`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from scssl.corpus.format.compressed import ZarrVector, write_compressed
from scssl.errors import DataError, FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import zarr
    from numpy.typing import DTypeLike, NDArray

    from scssl.genes import GenePanel

SOURCE: Final = "source"
SPLIT: Final = "split"
N_COUNTS: Final = "n_counts"
RESERVED: Final = (SOURCE, SPLIT, N_COUNTS, "_index")
"""``obs`` columns that the format itself writes."""

CODE_DTYPE: Final = np.dtype("<i4")
TOTAL_DTYPE: Final = np.dtype("<i8")
INDPTR_DTYPE: Final[np.dtype[Any]] = np.dtype("<i8")
COUNT_DTYPES: Final[dict[str, np.dtype[Any]]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
"""What a shard's counts and gene indices may be stored as."""
LARGEST_COUNT: Final = np.iinfo(np.int32).max
"""Batches carry counts as int32."""


@dataclass(frozen=True)
class FileVector:
    """A one-dimensional array that stays in its file; slicing reads the asked range (no mapping, no open file kept)."""

    path: Path
    dtype: np.dtype
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, part: slice) -> NDArray[Any]:
        start, stop, _ = part.indices(self.length)
        out = np.fromfile(self.path, dtype=self.dtype, count=stop - start, offset=start * self.dtype.itemsize)
        if out.size != stop - start:
            message = f"{self.path}: ends before element {stop:,} of {self.length:,}; the file was truncated"
            raise FormatError(message)
        return out


Vector = FileVector | ZarrVector | np.ndarray


@dataclass(frozen=True)
class Rows:
    """Consecutive cells of a shard, compressed by row."""

    values: NDArray[Any]
    """(n_nonzeros,) raw counts, in the shard's dtype."""
    indices: NDArray[Any]
    """(n_nonzeros,) position of the gene in the panel, in the shard's dtype."""
    indptr: NDArray[np.int64]
    """(n_cells + 1,), starting at 0."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Cells of one split, on disk or in memory."""

    split: str
    first_cell: int
    """Number of the first cell in the corpus; the others follow."""
    values: Vector
    indices: Vector
    indptr: Vector
    n_counts: Vector
    """(n_cells,) int64, total raw counts over the measured panel genes."""
    codes: Mapping[str, Vector]
    """Per obs column, ``source`` included, (n_cells,) int32 category codes, -1 if missing."""
    names: NDArray[Any] | Path
    """(n_cells,) cell names, or the shard's folder to read them from."""

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.n_counts)

    @property
    def n_nonzeros(self) -> int:
        """Number of stored counts."""
        return len(self.values)

    def rows(self, start: int, stop: int) -> Rows:
        """Read the counts of cells `start` to `stop`."""
        indptr = self.indptr[start : stop + 1]
        first, last = int(indptr[0]), int(indptr[-1])
        if first < 0 or last > self.n_nonzeros or np.any(np.diff(indptr) < 0):
            key = "X/indptr"
            raise self._altered(key)
        return Rows(self.values[first:last], self.indices[first:last], indptr - first)

    def read_codes(self, column: str, part: slice = slice(None), *, n_names: int) -> NDArray[Any]:
        """Read the codes of an obs column, -1 to `n_names` - 1."""
        codes = self.codes[column][part]
        if codes.size and (codes.min() < -1 or codes.max() >= n_names):
            key = f"obs/{column}/codes"
            raise self._altered(key)
        return codes

    def check_genes(self, rows: Rows, *, n_genes: int) -> Rows:
        """Return rows that were read, once their genes are known to be on the panel."""
        if rows.indices.size and rows.indices.max() >= n_genes:
            key = "X/indices"
            raise self._altered(key)
        return rows

    def _altered(self, key: str) -> FormatError:
        where = self.names / key if isinstance(self.names, Path) else key
        message = f"{where}: holds values that cannot be: the file was altered. Build the corpus again"
        return FormatError(message)

    def cell_names(self) -> NDArray[np.object_]:
        """(n_cells,) names of the cells."""
        if isinstance(self.names, Path):
            import zarr

            from scssl.corpus.sources.source import Reading

            with Reading(f"{self.names}: obs/_index"):
                names = np.asarray(zarr.open_array(self.names / "obs" / "_index", mode="r")[:], dtype=object)
            if len(names) != self.n_cells:
                key = "obs/_index"
                raise self._altered(key)
            return names
        return np.asarray(self.names, dtype=object)


def smallest_dtype(largest: int, *, file: str = "the cells") -> str:
    """Return the key of `COUNT_DTYPES` that holds values up to `largest`."""
    if largest > LARGEST_COUNT:
        message = f"{file}: a count of {largest:,} is larger than {LARGEST_COUNT:,}, the largest that a corpus can hold"
        raise DataError(message)
    return "uint16" if largest <= np.iinfo(np.uint16).max else "uint32"


def open_shard(folder: Path, entry: Mapping[str, Any], *, columns: Sequence[str]) -> Shard:
    """Open a shard written by `write_shard`, reading nothing yet.

    Parameters
    ----------
    folder
        The shard's folder.
    entry
        Its entry in the manifest.
    columns
        Names of the categorical ``obs`` columns, without ``source``.
    """
    n_cells, n_nonzeros = int(entry["n_cells"]), int(entry["n_nonzeros"])
    packed = _is_packed(entry.get("compress"), n_nonzeros)

    def counts(key: str, dtype: np.dtype[Any]) -> Vector:
        kind = ZarrVector if packed else FileVector
        return kind(folder / key / "c" / "0", dtype, n_nonzeros)

    def vector(key: str, dtype: np.dtype[Any], length: int) -> FileVector:
        return FileVector(folder / key / "c" / "0", dtype, length)

    return Shard(
        split=entry["split"],
        first_cell=int(entry["first_cell"]),
        values=counts("X/data", COUNT_DTYPES[entry["data"]]),
        indices=counts("X/indices", COUNT_DTYPES[entry["indices"]]),
        indptr=vector("X/indptr", INDPTR_DTYPE, n_cells + 1),
        n_counts=vector(f"obs/{N_COUNTS}", TOTAL_DTYPE, n_cells),
        codes={column: vector(f"obs/{column}/codes", CODE_DTYPE, n_cells) for column in (SOURCE, *columns)},
        names=folder,
    )


def write_shard(
    folder: Path,
    shard: Shard,
    *,
    panel: GenePanel,
    categories: Mapping[str, Sequence[str]],
    splits: Sequence[str],
    compress: Literal["zstd"] | None = None,
) -> dict[str, Any]:
    """Write an in-memory shard as an AnnData-Zarr v3 group.

    Parameters
    ----------
    folder
        Where to; must not exist.
    shard
        The cells. ``values`` and ``indices`` are stored in the dtype they have.
    panel
        The genes.
    categories
        Per ``obs`` column, ``source`` included, the names of its codes.
    splits
        Names of all splits, the categories of ``obs["split"]``.
    compress
        ``"zstd"`` packs the counts and their genes into about a quarter of the space; None stores them as they are.

    Returns
    -------
    dict
        What `open_shard` needs: ``split``, ``first_cell``, ``n_cells``, ``n_nonzeros``, ``data``, ``indices``, and
        ``compress`` if it is not None.
    """
    import zarr

    root = zarr.create_group(folder, zarr_format=3, attributes=_encoding("anndata", "0.1.0"))
    for empty in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
        root.create_group(empty, attributes=_encoding("dict", "0.1.0"))

    X = root.create_group("X", attributes={**_encoding("csr_matrix", "0.1.0"), "shape": [shard.n_cells, len(panel)]})
    for name, counts in (("data", shard.values), ("indices", shard.indices)):
        if _is_packed(compress, shard.n_nonzeros):
            attributes = _encoding("array", "0.2.0")
            write_compressed(X, name, counts[:], differences=name == "indices", attributes=attributes)
        else:
            _write_vector(folder, X, name, counts, None)
    _write_vector(folder, X, "indptr", shard.indptr, INDPTR_DTYPE)

    columns = [SOURCE, SPLIT, N_COUNTS, *(c for c in shard.codes if c != SOURCE)]
    obs = root.create_group("obs", attributes=_frame(columns))
    _write_strings(obs, "_index", shard.cell_names())
    _write_vector(folder, obs, N_COUNTS, shard.n_counts, TOTAL_DTYPE)
    for column, codes in shard.codes.items():
        _write_categorical(folder, obs, column, codes, categories[column])
    split = np.full(shard.n_cells, list(splits).index(shard.split), dtype=CODE_DTYPE)
    _write_categorical(folder, obs, SPLIT, split, splits)

    var = root.create_group("var", attributes=_frame(["symbol"]))
    _write_strings(var, "_index", panel.ids)
    _write_strings(var, "symbol", panel.symbols)
    return {
        "split": shard.split,
        "first_cell": shard.first_cell,
        "n_cells": shard.n_cells,
        "n_nonzeros": shard.n_nonzeros,
        "data": np.asarray(shard.values[:0]).dtype.name,
        "indices": np.asarray(shard.indices[:0]).dtype.name,
        **({} if compress is None else {"compress": compress}),
    }


def _is_packed(compress: str | None, n_nonzeros: int) -> bool:
    """Say whether counts are compressed; where there are none, zarr would write no file."""
    return compress is not None and n_nonzeros > 0


def _encoding(kind: str, version: str) -> dict[str, Any]:
    return {"encoding-type": kind, "encoding-version": version}


def _frame(columns: list[str]) -> dict[str, Any]:
    return {**_encoding("dataframe", "0.2.0"), "_index": "_index", "column-order": columns}


def _write_vector(root: Path, group: zarr.Group, name: str, values: Vector, dtype: DTypeLike | None) -> None:
    values = np.ascontiguousarray(values[:], dtype=dtype)
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(max(1, values.size),),
        compressors=None,
        filters=None,
        fill_value=0,
        attributes=_encoding("array", "0.2.0"),
    )
    # The chunk is written here and not by zarr, which leaves out chunks that are all zero.
    chunk = root / array.path / "c" / "0"
    chunk.parent.mkdir(parents=True, exist_ok=True)
    values.tofile(chunk)


def _write_strings(group: zarr.Group, name: str, values: Sequence[str] | NDArray[Any]) -> None:
    strings = np.asarray([str(v) for v in values], dtype=object)
    array = group.create_array(
        name,
        shape=strings.shape,
        dtype="string",
        chunks=(max(1, strings.size),),
        attributes=_encoding("string-array", "0.2.0"),
    )
    array[:] = strings


def _write_categorical(root: Path, obs: zarr.Group, name: str, codes: Vector, categories: Sequence[str]) -> None:
    group = obs.create_group(name, attributes={**_encoding("categorical", "0.2.0"), "ordered": False})
    _write_vector(root, group, "codes", codes, CODE_DTYPE)
    _write_strings(group, "categories", categories)
