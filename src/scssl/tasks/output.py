"""Results of a task, written beside the cells: into an AnnData, or into a copy of the input file in bounded memory."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl import keys
from scssl.corpus.sources.formats import anndata_kind
from scssl.corpus.sources.source import open_source, plain_strings
from scssl.errors import DataError, SettingsError
from scssl.files import whole, why_unwritable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData


SPARE_BYTES = 1 << 18
"""What the settings and the structure of a file take, at most."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a task learned about some cells, under the names it will have in the AnnData."""

    task: str
    """Name of the task: its settings go to ``uns["scssl"][task]``."""
    settings: dict[str, Any]
    """Settings, versions and provenance: plain values. In the AnnData a name with ``/``, such as that of a cell type,
    has ``|`` for it: a slash would divide it in the file."""
    obs: dict[str, pd.Series | np.ndarray | pd.Categorical] = field(default_factory=dict)
    """Per-cell columns, each (n_cells,)."""
    obsm: dict[str, np.ndarray] = field(default_factory=dict)
    """Per-cell arrays, each (n_cells, n)."""
    layers: dict[str, np.ndarray] = field(default_factory=dict)
    """Values of every feature of ``X`` in every cell, each (n_cells, n_vars). May be memory-mapped, as may `obsm`."""
    var: dict[str, np.ndarray] = field(default_factory=dict)
    """Per-feature columns, each (n_vars,)."""

    @property
    def n_bytes(self) -> int:
        """About what they take in a file."""
        arrays = sum(array.nbytes for array in (*self.obsm.values(), *self.layers.values(), *self.var.values()))
        return arrays + sum(8 * len(column) for column in self.obs.values())

    def into(self, adata: AnnData) -> None:
        """Write into an AnnData in memory; columns of the same name are replaced."""
        for name, column in self.obs.items():
            adata.obs[name] = _of_index(column, adata.obs.index)
        for name, array in self.obsm.items():
            adata.obsm[name] = np.asarray(array)
        for name, array in self.layers.items():
            adata.layers[name] = np.asarray(array)
        for name, array in self.var.items():
            adata.var[name] = array
        others = adata.uns.get(keys.SETTINGS)
        adata.uns[keys.SETTINGS] = {
            **(others if isinstance(others, Mapping) else {}),
            self.task: undivided(self.settings),
        }


def undivided(value: Any) -> Any:
    """Return plain values with ``|`` for every ``/`` in the names of tables, of any depth.

    Parameters
    ----------
    value
        Plain values.

    Examples
    --------
    >>> undivided({"T": 1, "T/NK": {"a/b/c": [2]}})
    {'T': 1, 'T|NK': {'a|b|c': [2]}}
    """
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, content in value.items():
        name = str(key).replace("/", "|")
        while name in found:
            name += "|"
        found[name] = undivided(content)
    return found


def prepare_output(
    out: Path,
    *,
    file: Path,
    overwrite: bool,
    key_added: str | None = None,
    also: Sequence[Path] = (),
    kinds: Sequence[str] = (".h5ad",),
) -> Path:
    """Check, before any work, that results can be written to `out`.

    Parameters
    ----------
    out
        File to write; must end in one of `kinds`.
    file
        The input, which is never changed.
    overwrite
        Allow `out` to exist.
    key_added
        Name for the results that the user chose.
    also
        Other files that are read, and so never changed either.
    kinds
        How the name may end.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    SettingsError
        If `out` is of another kind, is the input itself, exists, or cannot be written, or the name is not possible.
    """
    if key_added in (".", "..") or "/" in (key_added or ""):
        message = f"--key-added {key_added!r} is not possible; give a name without '/'"
        raise SettingsError(message)
    problem = None
    if not out.name.endswith(tuple(kinds)):
        problem = f"results are written as {' or '.join(kinds)}; give a name that ends so"
    elif out.exists() and any(path.exists() and out.samefile(path) for path in (file, *also)):
        problem = "this is the input, which is never changed; give another name"
    elif inside := next((p for p in (file, *also) if p.is_dir() and out.resolve().is_relative_to(p.resolve())), None):
        problem = f"this lies in the input, {inside}, which is never changed; choose another folder"
    elif out.is_dir():
        problem = "this is a folder; give the name of a file"
    elif out.exists() and not overwrite:
        problem = "exists already; choose another name, or add --overwrite"
    else:
        problem = why_unwritable(out)
    if problem:
        message = f"{out}: {problem}"
        raise SettingsError(message)
    return out


def write_results(file: Path, out: Path, results: Results) -> None:
    """Write the input plus the results to `out`, which appears only when complete.

    An HDF5 file of an AnnData is copied byte for byte and the results are added to the copy, so memory does not grow
    with the matrix; other formats are read whole.

    Parameters
    ----------
    file
        Input: .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder.
    out
        .h5ad to write, checked by `prepare_output`.
    results
        What to add.

    Raises
    ------
    DataError
        If the disk has no room for it.
    """
    with whole(out) as place:
        if anndata_kind(file) == "h5ad":
            _check_space(out, file.stat().st_size + results.n_bytes)
            shutil.copyfile(file, place)
            _add_to_h5ad(place, results)
        else:
            adata = _read_whole(file)
            results.into(adata)
            _check_space(out, sys.getsizeof(adata))
            adata.write_h5ad(place)


def _check_space(out: Path, n_bytes: int) -> None:
    # Beforehand, because HDF5 brings the whole process down when the disk runs full under it.
    needed, free = n_bytes + SPARE_BYTES, shutil.disk_usage(out.parent).free
    if needed > free:
        message = (
            f"{out}: {needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free there. Free some space, or "
            "choose an --out on another disk"
        )
        raise DataError(message)


def _add_to_h5ad(path: Path, results: Results) -> None:
    import h5py
    from anndata.io import read_elem, write_elem

    with h5py.File(path, "r+") as store:
        for table, columns in (("obs", results.obs), ("var", results.var)):
            if table == "var" and not columns:
                continue
            if isinstance(store[table], h5py.Dataset):
                # Written by anndata < 0.7, as one table: rewritten in today's form to take columns.
                write_elem(store, table, plain_strings(read_elem(store[table])))
            group = store[table]
            order = [name for name in group.attrs["column-order"] if name not in columns]
            for name, column in columns.items():
                write_elem(group, name, column.array if isinstance(column, pd.Series) else column)
            group.attrs["column-order"] = np.array([*order, *columns], dtype=h5py.string_dtype())
        for place, arrays in (("obsm", results.obsm), ("layers", results.layers)):
            for name, array in arrays.items():
                # A memory map as what anndata knows, an array; nothing is copied.
                write_elem(_mapping(store, place), name, np.asarray(array))
        write_elem(_mapping(_mapping(store, "uns"), keys.SETTINGS), results.task, undivided(results.settings))


def _mapping(parent: Any, name: str) -> Any:
    if name in parent and not hasattr(parent[name], "keys"):
        del parent[name]  # something else of that name
    if name not in parent:
        parent.create_group(name).attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
    return parent[name]


def _read_whole(file: Path) -> AnnData:
    from anndata import AnnData, read_zarr

    if anndata_kind(file) == "zarr":
        return read_zarr(file)
    with open_source(file) as source:
        return AnnData(source.rows(0, source.n_cells), obs=source.obs, var=source.var)


def _of_index(column: Any, index: pd.Index) -> pd.Series:
    return pd.Series(column.array if isinstance(column, pd.Series) else column, index=index)
