"""CellSource: the cells of one file (or of an AnnData in memory), read in chunks of rows."""

from __future__ import annotations

import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.corpus.sources.matrices import CellMatrix, Dense, RowCompressed, Unordered, column_compressed
from scssl.errors import DataError, FormatError, ScsslError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from anndata import AnnData

    from scssl.corpus.sources.soma import SomaCells


class CellSource:
    """Cells by features, with what the file says about both. Made by `open_source`.

    Attributes
    ----------
    name
        File stem, or ``"adata"``.
    path
        The file, None for an AnnData in memory.
    obs, var
        Annotation of the cells, and of the features of the chosen matrix; indices and text columns hold plain strings.
    columns
        Names of all obs columns of the file; `obs` has those of them that were asked for.
    layer
        Key of the chosen matrix.
    layers
        Keys under which matrices can be found: ``"X"``, ``"raw"``, ``"layers/<name>"``.
    """

    def __init__(
        self,
        matrix: CellMatrix,
        *,
        name: str,
        path: Path | None,
        obs: pd.DataFrame,
        var: pd.DataFrame,
        layer: str = "X",
        layers: list[str] | None = None,
        columns: list[str] | None = None,
        uns: Callable[[str], Any] | None = None,
        stack: ExitStack | None = None,
    ) -> None:
        self.name, self.path, self.layer = name, path, layer
        self.obs, self.var = plain_strings(obs), plain_strings(var)
        self.layers = ["X"] if layers is None else layers
        self.columns = [str(column) for column in self.obs.columns] if columns is None else columns
        self._matrix, self._uns, self._stack = matrix, uns, stack or ExitStack()
        for axis, n, table in (("cells", matrix.shape[0], self.obs), ("features", matrix.shape[1], self.var)):
            if len(table) != n:
                message = f"{self.file}: {layer} has {n:,} {axis} but their table has {len(table):,} rows; damaged file"
                raise FormatError(message)

    @property
    def file(self) -> str:
        """What to call this source in messages: its path, or its name."""
        return str(self.path) if self.path else self.name

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self._matrix.shape[0]

    @property
    def n_features(self) -> int:
        """Number of features of the chosen matrix."""
        return self._matrix.shape[1]

    @property
    def nnz(self) -> int | None:
        """Number of stored values, None for a dense matrix."""
        return self._matrix.nnz

    @property
    def by_column(self) -> bool:
        """True if the file is stored in another order than by cells (CSC, mtx), which is slower to read."""
        return isinstance(self._matrix, Unordered)

    def chunks(self, size: int = 4096) -> Iterator[tuple[slice, sp.csr_matrix]]:
        """Read all cells, in the order of the file, in bounded memory.

        Yields
        ------
        rows : slice
            Numbers of the cells.
        X : scipy.sparse.csr_matrix
            (at most `size`, n_features), sorted unique indices, values in the type of the file.
        """
        with Reading(f"{self.file}: {self.layer}"):
            yield from self._matrix.chunks(size)

    def rows(self, start: int, stop: int) -> sp.csr_matrix:
        """Read the cells start..stop-1, in the same form as a chunk; slow where the file is stored by columns."""
        with Reading(f"{self.file}: {self.layer}"):
            return self._matrix.rows(start, min(stop, self.n_cells))

    def uns(self, key: str) -> Any:
        """Read one entry of ``uns`` (``"a/b"`` for nested ones).

        Raises
        ------
        DataError
            If there is none of that name.
        """
        if self._uns is None:
            message = f"{self.file}: has no uns, so no uns[{key!r}]"
            raise DataError(message)
        return self._uns(key)

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"CellSource({self.file!r}, {self.n_cells:,} cells, {self.n_features:,} features, {self.layer})"


class Reading:
    """Turn what the file libraries raise in the middle of a damaged file into one message.

    Parameters
    ----------
    where
        What is read: the file, and the key in it if known.
    """

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and error.errno:
            # The system's own words, and not the file's fault: no permission, or no space for temporary files.
            return
        # Anything else that is not ours while bytes are decoded comes from the bytes: HDF5, zarr and gzip have no one
        # error class.
        kinds = (OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, zlib.error)
        if isinstance(error, kinds) and not isinstance(error, ScsslError):
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            message = f"{self._where} cannot be read ({reason}): damaged or truncated; copy or download it again"
            raise FormatError(message) from error


def open_source(
    source: str | Path | AnnData | SomaCells, *, layer: str | None = None, obs_columns: Sequence[str] | None = None
) -> CellSource:
    """Open cells for reading, whatever holds them; nothing but the annotation tables is loaded.

    Parameters
    ----------
    source
        ``.h5ad``, ``.zarr`` (AnnData), ``.h5mu`` (its RNA modality), a 10x ``.h5``, a 10x mtx folder (plain or
        gzipped), an AnnData in memory or backed, or a range of cells of a SOMA experiment.
    layer
        None or ``"X"`` for X, ``"raw"`` for ``.raw.X``, anything else for ``layers[...]``.
    obs_columns
        Columns of obs to load, None for all; the others stay in the file, which with millions of cells saves gigabytes
        of memory. Names that the file does not have are ignored.

    Raises
    ------
    DataError
        If the file is missing, empty or of another kind, or has no such layer; the message lists the layers it has.
    FormatError
        If the file is damaged.
    """
    if isinstance(source, str | Path):
        from scssl.corpus.sources import formats

        with Reading(str(source)):
            return formats.open_path(Path(source), layer=layer, obs_columns=obs_columns)
    from scssl.corpus.sources.soma import SomaCells

    if isinstance(source, SomaCells):
        return source.open(layer, obs_columns=obs_columns)
    return _open_anndata(source, layer=layer, obs_columns=obs_columns)


def _open_anndata(adata: AnnData, *, layer: str | None, obs_columns: Sequence[str] | None) -> CellSource:
    if not hasattr(adata, "filename"):
        message = f"cells are an AnnData or the path of a file, not {type(adata).__name__}"
        raise DataError(message)
    path = Path(adata.filename) if adata.filename else None
    name = path.stem if path else "adata"
    layers = [*(["X"] if adata.X is not None else []), *(["raw"] if adata.raw is not None else [])]
    layers += [f"layers/{key}" for key in sorted(adata.layers)]
    key = choose_layer(layer, layers, file=name, n_cells=adata.n_obs)
    if key == "raw":
        values, var = adata.raw.X, adata.raw.var
    else:
        values, var = (adata.X if key == "X" else adata.layers[key.removeprefix("layers/")]), adata.var

    def uns(entry: str) -> Any:
        return lookup_uns(adata.uns, entry, file=name)

    columns = [str(column) for column in adata.obs.columns]
    chosen = [obs_columns is None or column in obs_columns for column in columns]
    return CellSource(
        memory_matrix(values, where=f"{name}: {key}"),
        name=name,
        path=path,
        obs=adata.obs.loc[:, chosen].copy(),  # not to be changed through the source
        var=var.copy(),
        layer=key,
        layers=layers,
        columns=columns,
        uns=uns,
    )


def memory_matrix(values: Any, *, where: str) -> CellMatrix:
    """Wrap a matrix that is in memory (or backed and sliceable by rows)."""
    if sp.issparse(values):
        if values.format == "csc":
            return column_compressed(values.data, values.indices, values.indptr, values.shape, where=where)
        values = values.tocsr()
        return RowCompressed(values.data, values.indices, values.indptr, values.shape, where=where)
    return Dense(values, where=where)


def choose_layer(layer: str | None, layers: list[str], *, file: str, n_cells: int) -> str:
    """Return the key of the matrix asked for, as listed in `layers`, or say what there is."""
    wanted = "X" if layer in (None, "X", ".X") else "raw" if layer in ("raw", "raw/X", ".raw") else None
    if wanted is None:
        wanted = f"layers/{str(layer).removeprefix('layers/')}"
    if wanted not in layers:
        there = ", ".join(_spell(key) for key in layers) or "no matrix at all"
        what = "X" if wanted == "X" else f"layer {layer!r}"
        message = f"{file}: has no {what}; there is: {there}"
        raise DataError(message)
    if n_cells == 0:
        message = f"{file}: holds no cells"
        raise DataError(message)
    return wanted


def _spell(key: str) -> str:
    return {"X": "X", "raw": "raw (--layer raw)"}.get(key, f"--layer {key.removeprefix('layers/')}")


def lookup_uns(uns: Mapping[str, Any], key: str, *, file: str) -> Any:
    """Follow ``"a/b"`` into nested mappings."""
    value: Any = uns
    for part in key.split("/"):
        if not hasattr(value, "keys") or part not in value:
            there = ", ".join(sorted(map(str, uns.keys()))) or "nothing"
            message = f"{file}: has no uns[{key!r}]; uns holds: {there}"
            raise DataError(message)
        value = value[part]
    return value


def plain_strings(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose index, text columns and text categories are plain Python strings, without pandas' own types.

    Files written by anndata >= 0.13 with pandas 3 bring nullable strings, which anndata 0.12 then cannot write.
    What is plain already is shared with `table`, not copied: with millions of cells that would double the memory.
    """
    out = table.copy(deep=False)
    for name in table.columns:
        plain = _plain_column(table[name])
        if plain is not None:
            out[name] = plain.array
    out.index = pd.Index(np.array([str(i) for i in table.index], dtype=object), dtype=object, name=table.index.name)
    return out


def _plain_column(column: pd.Series) -> pd.Series | None:
    """Return a column without pandas' own types, or None if it has none."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = column.cat.categories
        if isinstance(categories.dtype, pd.StringDtype) or categories.dtype.kind == "U":
            return column.cat.rename_categories(pd.Index(np.array(categories, dtype=object), dtype=object))
    elif isinstance(column.dtype, pd.StringDtype):
        return column.astype(object).where(column.notna(), None)
    elif isinstance(column.dtype, pd.api.extensions.ExtensionDtype):
        # Nullable numbers and booleans: numpy's own type where nothing is missing, else numbers with NaN.
        kind = np.dtype(float) if column.isna().any() else getattr(column.dtype, "numpy_dtype", np.dtype(object))
        return pd.Series(column.to_numpy(dtype=kind, na_value=np.nan), index=column.index)
    return None
