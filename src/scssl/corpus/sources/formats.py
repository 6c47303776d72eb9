"""Which kind of file a path is, and how AnnData groups (.h5ad, .zarr, .h5mu) become a CellSource."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import pandas as pd

from scssl.corpus.sources.matrices import CellMatrix, Dense, RowCompressed, column_compressed
from scssl.corpus.sources.source import CellSource, choose_layer, lookup_uns
from scssl.errors import DataError, FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scssl.corpus.sources.source import CellSource as Source

KINDS: Final = ".h5ad, .zarr, .h5mu, a 10x .h5, or a folder with matrix.mtx"
_RNA: Final = ("rna", "RNA", "gex", "GEX")


def open_path(path: Path, *, layer: str | None = None, obs_columns: Sequence[str] | None = None) -> Source:
    """Open a file or folder of cells, told apart by what it holds rather than by its name; see `open_source`."""
    from scssl.corpus.sources import tenx

    if not path.exists():
        message = f"{path}: no such file"
        raise DataError(message)
    if path.is_dir():
        if (path / "zarr.json").is_file() or (path / ".zgroup").is_file():
            return _open_zarr(path, layer=layer, obs_columns=obs_columns)
        if tenx.is_mtx_folder(path):
            return tenx.open_mtx_folder(path, layer=layer)
        message = f"{path}: this folder holds no cells that scssl can read; it reads {KINDS}"
        if (path / "genes.tsv").is_file() and (path / "train").is_dir():
            message = f"{path}: not a corpus any more, its corpus.json is missing. Copy it again, or build it again"
        raise DataError(message)
    if path.stat().st_size == 0:
        message = f"{path}: the file is empty (0 bytes)"
        raise DataError(message)
    return _open_hdf5(path, layer=layer, obs_columns=obs_columns)


def anndata_kind(path: Path) -> Literal["h5ad", "zarr"] | None:
    """Return how an AnnData lies in a file that `open_path` opens; None if it is something else (10x, MuData)."""
    if path.is_dir():
        import zarr

        is_zarr = (path / "zarr.json").is_file() or (path / ".zgroup").is_file()
        return "zarr" if is_zarr and _is_anndata(zarr.open_group(path, mode="r")) else None
    import h5py

    with h5py.File(path, mode="r") as file:
        return "h5ad" if _is_anndata(file) else None


def _is_anndata(group: Any) -> bool:
    return {"obs", "var"} <= set(group) and "mod" not in group


def _open_hdf5(path: Path, *, layer: str | None, obs_columns: Sequence[str] | None) -> Source:
    import h5py

    from scssl.corpus.sources import tenx

    with path.open("rb") as stream:
        start = stream.read(2)
    # Not by the first bytes: MuData puts a text before the HDF5 signature.
    if not h5py.is_hdf5(path):
        hint = "a compressed file: decompress it first" if start == b"\x1f\x8b" else "not an HDF5 file"
        if path.name.startswith("matrix.mtx") or path.name.endswith((".mtx", ".mtx.gz")):
            hint = f"one file of a 10x folder: give the folder, {path.parent}"
        message = f"{path}: {hint}; scssl reads {KINDS}"
        raise DataError(message)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(path, mode="r"))
        except OSError as error:
            message = f"{path}: truncated or damaged HDF5 file ({_first_line(error)}); copy or download it again"
            raise FormatError(message) from error
        kept = stack.pop_all()
    try:
        if "mod" in file and "rna" not in file:
            return _open_modality(file, path=path, layer=layer, obs_columns=obs_columns, stack=kept)
        if tenx.is_tenx_file(file):
            return tenx.open_file(file, path=path, layer=layer, stack=kept)
        if "obs" not in file or "var" not in file:
            raise _not_cells(path, sorted(file))
        if not hasattr(file["obs"], "keys") or "raw.X" in file or "h5sparse_format" in _attributes(file, "X"):
            kept.close()
            return _open_old(path, layer=layer, obs_columns=obs_columns)
        return open_group(file, path=path, layer=layer, obs_columns=obs_columns, stack=kept)
    except BaseException:
        kept.close()
        raise


def _not_cells(path: Path, keys: list[str]) -> DataError:
    if "barcode_idx" in keys or "molecule_info" in keys:
        hint = "a 10x molecule_info file: give filtered_feature_bc_matrix.h5, which lies in the same folder"
    else:
        hint = f"neither an AnnData nor a 10x matrix (it holds: {', '.join(keys[:8]) or 'nothing'})"
    return DataError(f"{path}: {hint}; scssl reads {KINDS}")


def _open_zarr(path: Path, *, layer: str | None, obs_columns: Sequence[str] | None) -> Source:
    import zarr

    try:
        group = zarr.open_group(path, mode="r")
        keys = set(group.keys())
    except (OSError, ValueError, KeyError) as error:
        message = f"{path}: cannot be opened as zarr ({_first_line(error)})"
        raise FormatError(message) from error
    if "mod" in keys:
        return _open_modality(group, path=path, layer=layer, obs_columns=obs_columns, stack=ExitStack())
    if {"obs", "var"} <= keys:
        return open_group(group, path=path, layer=layer, obs_columns=obs_columns, stack=ExitStack())
    message = f"{path}: a zarr folder, but not an AnnData (it holds: {', '.join(sorted(keys)[:8]) or 'nothing'})"
    raise DataError(message)


class _Table(NamedTuple):
    """The columns that were asked for, and the names of all there are."""

    frame: pd.DataFrame
    columns: list[str]


def open_group(
    group: Any,
    *,
    path: Path,
    layer: str | None,
    stack: ExitStack,
    obs_columns: Sequence[str] | None = None,
    more: _Table | None = None,
) -> Source:
    """Open an AnnData that lies in an HDF5 or zarr group.

    Parameters
    ----------
    obs_columns
        Columns of obs to load, None for all.
    more
        Further obs columns, by cell name.
    """
    layers = ["X"] if "X" in group and _attributes(group, "X").get("encoding-type") != "null" else []
    layers += ["raw"] if "raw" in group and "X" in group["raw"] else []
    layers += [f"layers/{name}" for name in sorted(group.get("layers", ()))]
    obs, columns = _read_table(group, "obs", path=path, only=obs_columns)
    key = choose_layer(layer, layers, file=str(path), n_cells=len(obs))
    var, _ = _read_table(group, "raw/var" if key == "raw" else "var", path=path)
    if more is not None and more.frame.index.is_unique:
        obs = obs.join(more.frame[[name for name in more.frame.columns if name not in obs.columns]])
        columns += [name for name in more.columns if name not in columns]
    matrix = _matrix(group["raw/X" if key == "raw" else key], where=f"{path}: {key}")

    def uns(entry: str) -> Any:
        from anndata.io import read_elem

        return lookup_uns(read_elem(group["uns"]) if "uns" in group else {}, entry, file=str(path))

    return CellSource(
        matrix,
        name=path.stem,
        path=path,
        obs=obs,
        var=var,
        layer=key,
        layers=layers,
        columns=columns,
        uns=uns,
        stack=stack,
    )


def _read_table(group: Any, key: str, *, path: Path, only: Sequence[str] | None = None) -> _Table:
    """Read a table, or its index and those of the columns `only` that it has."""
    from anndata.io import read_elem

    try:
        table = read_elem(group[key]) if only is None else _read_columns(group[key], only)
    # anndata and the libraries below it raise whatever comes to hand on a damaged table.
    except Exception as error:
        message = f"{path}: {key} cannot be read ({_first_line(error)})"
        raise FormatError(message) from error
    if not isinstance(table, pd.DataFrame):
        message = f"{path}: {key} is not a table; this is not an AnnData file"
        raise DataError(message)
    columns = _columns(group[key])
    if columns is not None:
        return _Table(table, columns)
    return _Table(table if only is None else table[[c for c in table.columns if c in only]], list(table.columns))


def _columns(node: Any) -> list[str] | None:
    """Names of a table's columns, None if it is written in an older way, which only anndata itself can read."""
    attributes = dict(node.attrs)
    if (attributes.get("encoding-type"), attributes.get("encoding-version")) != ("dataframe", "0.2.0"):
        return None
    return [str(name) for name in attributes["column-order"]]


def _read_columns(node: Any, only: Sequence[str]) -> Any:
    from anndata.io import read_elem

    columns = _columns(node)
    if columns is None:
        return read_elem(node)
    name = node.attrs["_index"]
    index = pd.Index(read_elem(node[name]), name=None if name == "_index" else name)
    chosen = [column for column in columns if column in only]
    return pd.DataFrame({column: read_elem(node[column]) for column in chosen}, index=index, columns=chosen)


def _matrix(node: Any, *, where: str) -> CellMatrix:
    attributes = dict(node.attrs)
    kind = attributes.get("encoding-type", "array")
    if kind == "array":
        if len(node.shape) != 2:
            message = f"{where} has {len(node.shape)} dimensions, not 2"
            raise FormatError(message)
        return Dense(node, where=where)
    if kind not in ("csr_matrix", "csc_matrix"):
        message = f"{where} is stored as {kind!r}, which is no matrix of numbers"
        raise DataError(message)
    n_cells, n_features = (int(n) for n in attributes["shape"])
    missing = {"data", "indices", "indptr"} - set(node)
    if missing:
        message = f"{where} lacks its {', '.join(sorted(missing))}; the file is damaged"
        raise FormatError(message)
    for name in ("data", "indices"):
        # zarr reads a chunk that is not there as zeros, which stored values are not.
        chunks = getattr(node[name], "nchunks", 0)
        if chunks and node[name].nchunks_initialized < chunks:
            message = f"{where}: parts of its {name} are missing; the copy is incomplete: copy or download it again"
            raise FormatError(message)
    build = RowCompressed if kind == "csr_matrix" else column_compressed
    return build(node["data"], node["indices"], node["indptr"], (n_cells, n_features), where=where)


def _open_modality(
    group: Any, *, path: Path, layer: str | None, obs_columns: Sequence[str] | None, stack: ExitStack
) -> Source:
    """Open the RNA of a MuData file; obs columns that only the whole has are added."""
    names = list(group["mod"])
    name = next((name for name in _RNA if name in names), None)
    if name is None:
        message = f"{path}: has no modality `rna`; its modalities are {', '.join(names)}"
        raise DataError(message)
    more = None
    if "obs" in group:
        whole, columns = _read_table(group, "obs", path=path, only=obs_columns)
        # MuData repeats the modalities' own columns as "rna:column".
        own = [column for column in columns if ":" not in column]
        more = _Table(whole[[column for column in whole.columns if column in own]], own)
    rna = group["mod"][name]
    return open_group(rna, path=path, layer=layer, obs_columns=obs_columns, stack=stack, more=more)


def _open_old(path: Path, *, layer: str | None, obs_columns: Sequence[str] | None) -> Source:
    """Open a file from before anndata 0.7, whose tables only anndata itself can read: wholly into memory."""
    import anndata

    from scssl.corpus.sources.source import open_source

    try:
        adata = anndata.read_h5ad(path)
    except Exception as error:
        message = f"{path}: an AnnData file of an old format that cannot be read ({_first_line(error)})"
        raise FormatError(message) from error
    source = open_source(adata, layer=layer, obs_columns=obs_columns)
    source.name, source.path = path.stem, path
    return source


def _attributes(group: Any, key: str) -> dict[str, Any]:
    return dict(group[key].attrs) if key in group else {}


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
