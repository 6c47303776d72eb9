"""Proteins or peaks of cells, wherever they are: in ``obsm``, a modality of a MuData, or among the features of X."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.corpus.sources.source import Reading, open_source
from scssl.errors import DataError, SettingsError
from scssl.genes.matching import other_features
from scssl.tasks.translate.feature_types import USUAL as USUAL_TYPES
from scssl.tasks.translate.feature_types import features

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anndata import AnnData
    from numpy.typing import NDArray

RNA: Final = ("rna", "RNA", "gex", "GEX")
USUAL: Final = {
    "protein": ("protein", "proteins", "protein_expression", "prot", "adt", "ADT", "antibody", "cite", "CITE"),
    "atac": ("atac", "ATAC", "peaks", "peak"),
}
"""Keys that are looked for where no target is named."""
FORMS: Final = "obsm:KEY, mod:NAME, mod:NAME/LAYER or features:TYPE"
NAMES: Final = {"protein": ("protein_names", "adt_names"), "atac": ("peak_names", "atac_names")}
"""Entries of ``uns`` that may hold the names of an array without any."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """Another modality of the cells of a file."""

    values: Any
    """(n_cells, n_features) float32 as given: an array, or a CSR matrix."""
    names: list[str]
    """(n_features,)."""
    rows: NDArray[np.int64]
    """(n_cells,) their places among the cells with RNA."""
    where: str
    """Where it was found, for messages: the file and the key."""
    spec: str
    """The same as an option: ``obsm:KEY``, ``mod:NAME`` or ``features:TYPE``."""


def read_target(data: Any, spec: str | None, *, to: str) -> Target:
    """Read the modality to predict.

    Parameters
    ----------
    data
        AnnData, MuData, or a file of either.
    spec
        ``obsm:KEY``, ``mod:NAME``, ``mod:NAME/LAYER``, or ``features:TYPE`` for features of X that
        ``var["feature_types"]`` calls so; None to look for the usual names.
    to
        ``"protein"`` or ``"atac"``.

    Raises
    ------
    DataError
        If it is not there, or its values cannot be used; the message says what there is.
    SettingsError
        If `spec` is written in another way.
    """
    kind, key, layer = _parse(spec)
    with _opened(data) as place:
        if spec is None:
            kind, key = place.guess(to)
        with Reading(f"{place.file}: {kind}:{key}"):
            if kind == "features":
                values, names = features(place.source, key, layer=None)
                rows = np.arange(len(place.cells))
            else:
                values, names, rows = place.obsm_of(key, to=to) if kind == "obsm" else place.mod_of(key, layer)
        return _checked(values, names, rows, where=f"{place.file}: {kind}[{key!r}]", spec=spec or f"{kind}:{key}")


def rna_of(data: Any) -> AnnData | Path | str:
    """Return what the RNA of some cells is read from: of a MuData in memory its modality `rna`, else the input.

    Raises
    ------
    DataError
        If a MuData has no RNA.
    """
    if not hasattr(data, "mod"):
        return data
    return data.mod[_rna_name(data.mod, "mudata")]


def _parse(spec: str | None) -> tuple[str, str, str | None]:
    if spec is None:
        return "", "", None
    kind, colon, key = spec.partition(":")
    key, _, layer = key.partition("/") if kind == "mod" else (key, "", "")
    if not colon or kind not in ("obsm", "mod", "features") or not key:
        message = f"target {spec!r} is not understood; write {FORMS}"
        raise SettingsError(message)
    return kind, key, layer or None


@dataclass(frozen=True, kw_only=True)
class _Place:
    """An AnnData or MuData, in memory or in an open file."""

    file: str
    cells: pd.Index
    rna: Any
    mods: Mapping[str, Any]
    source: Any
    """What the RNA is read from."""
    types: frozenset[str]
    """Types of the features of X that are no genes."""

    def guess(self, to: str) -> tuple[str, str]:
        """Find a usual name."""
        for kind, there in (("mod", self.mods), ("obsm", self._obsm())):
            for name in USUAL[to]:
                if name in there:
                    return kind, name
        for name in USUAL_TYPES[to]:
            if name in self.types:
                return "features", name
        message = f"{self.file}: has none of the usual names of {to} ({', '.join(USUAL[to])}); {self._there()}"
        raise DataError(message)

    def obsm_of(self, key: str, *, to: str) -> tuple[Any, list[str], NDArray[np.int64]]:
        obsm = self._obsm()
        if key not in obsm:
            message = f"{self.file}: has no obsm[{key!r}]; {self._there()}"
            raise DataError(message)
        values = _element(obsm[key])
        if isinstance(values, pd.DataFrame):
            names = [str(column) for column in values.columns]
            values = values.to_numpy()
        else:
            names = self._names(key, values.shape[1] if np.ndim(values) == 2 else 0, to=to)
        return values, names, np.arange(len(self.cells))

    def mod_of(self, name: str, layer: str | None) -> tuple[Any, list[str], NDArray[np.int64]]:
        if name not in self.mods:
            message = f"{self.file}: has no modality {name!r}; {self._there()}"
            raise DataError(message)
        mod = self.mods[name]
        layers = mod.layers if hasattr(mod, "layers") else mod.get("layers", {})
        if layer is not None and layer not in layers:
            message = f"{self.file}: modality {name!r} has no layer {layer!r}; it has: {', '.join(layers) or 'none'}"
            raise DataError(message)
        cells = _index(mod, "obs")
        if layer is not None:
            values = _element(layers[layer])
        else:
            values = _element(mod.X if hasattr(mod, "obs_names") else mod["X"])
        if cells.equals(self.cells):
            return values, list(_index(mod, "var")), np.arange(len(cells))
        if not (cells.is_unique and self.cells.is_unique):
            message = (
                f"{self.file}: cell names are repeated, so those of {name!r} cannot be matched to those of the RNA"
            )
            raise DataError(message)
        place = cells.get_indexer(self.cells)
        rows = np.flatnonzero(place >= 0)
        if not rows.size:
            message = f"{self.file}: no cell of modality {name!r} has RNA, by its name"
            raise DataError(message)
        return values[place[rows]], list(_index(mod, "var")), rows

    def _obsm(self) -> Mapping[str, Any]:
        found: Any = self.rna.obsm if hasattr(self.rna, "obsm") else self.rna.get("obsm", {})
        return found  # type: ignore[no-any-return]

    def _names(self, key: str, n: int, *, to: str) -> list[str]:
        uns: Any = self.rna.uns if hasattr(self.rna, "uns") else self.rna.get("uns", {})
        for entry in (f"{key}_names", *NAMES[to]):
            if entry in uns:
                names = np.asarray(_element(uns[entry])).ravel()
                if len(names) == n:
                    return [str(name) for name in names]
        return [f"{to}_{i + 1}" for i in range(n)]

    def _there(self) -> str:
        keys = [f"obsm:{key}" for key in self._obsm()] + [f"mod:{name}" for name in self.mods if name not in RNA]
        keys += [f"features:{name}" for name in sorted(self.types)]
        if keys:
            return f"name it with --target (target=), of: {', '.join(keys)}"
        return "it has no obsm, no modalities, and no features but genes"


@contextmanager
def _opened(data: Any) -> Iterator[_Place]:
    if not isinstance(data, str | Path):
        rna: Any = rna_of(data)
        mods = dict(data.mod) if hasattr(data, "mod") else {}
        name = "mudata" if mods else "adata"
        types = frozenset(other_features(rna.var)) - {""}
        yield _Place(file=name, cells=_index(rna, "obs"), rna=rna, mods=mods, source=rna, types=types)
        return
    path = Path(data)
    # Says what is wrong with a file that holds no cells.
    with open_source(path, obs_columns=[]) as source:
        cells = pd.Index(source.obs.index.astype(str), dtype=object)
        types = frozenset(other_features(source.var)) - {""}
    if path.is_dir() and not ((path / "zarr.json").is_file() or (path / ".zgroup").is_file()):
        # A 10x folder has features only.
        yield _in_file({}, path, cells, types)
        return
    if path.is_dir():
        import zarr

        yield _in_file(zarr.open_group(path, mode="r"), path, cells, types)
        return
    import h5py

    with h5py.File(path, mode="r") as file:
        yield _in_file(file, path, cells, types)


def _in_file(root: Any, path: Path, cells: pd.Index, types: frozenset[str]) -> _Place:
    mods = {name: root["mod"][name] for name in root["mod"]} if "mod" in root else {}
    rna = mods[_rna_name(mods, str(path))] if "mod" in root else root
    return _Place(file=str(path), cells=cells, rna=rna, mods=mods, source=path, types=types)


def _rna_name(mods: Mapping[str, Any], file: str) -> str:
    name = next((name for name in RNA if name in mods), None)
    if name is None:
        message = f"{file}: has no modality `rna`; its modalities are {', '.join(mods)}"
        raise DataError(message)
    return name


def _element(node: Any) -> Any:
    """Return what lies in a file's node; what is in memory is itself."""
    if hasattr(node, "attrs") and not isinstance(node, pd.DataFrame):
        from anndata.io import read_elem

        return read_elem(node)
    return node


def _index(mod: Any, table: str) -> pd.Index:
    names: Any = getattr(mod, f"{table}_names") if hasattr(mod, f"{table}_names") else _element(mod[table]).index
    return pd.Index([str(name) for name in names], dtype=object)


def _checked(values: Any, names: list[str], rows: NDArray[np.int64], *, where: str, spec: str) -> Target:
    """Turn values into float32, dense or compressed by row, and refuse what cannot be learned from."""
    sparse = sp.issparse(values)
    if not sparse:
        values = np.asarray(values)
    if values.ndim != 2 or values.dtype.kind not in "biuf" or 0 in values.shape:
        message = f"{where}: is {values.dtype} of shape {values.shape}; a table of numbers, cells x features, is needed"
        raise DataError(message)
    repeated = pd.Index(names)[pd.Index(names).duplicated()]
    if len(repeated):
        message = f"{where}: {len(repeated)} names occur more than once, e.g. {repeated[0]!r}; make them unique"
        raise DataError(message)
    values = sp.csr_matrix(values, dtype=np.float32) if sparse else values.astype(np.float32)
    stored = values.data if sparse else values
    if not np.isfinite(stored).all():
        cell, feature = next(iter(np.argwhere(~np.isfinite(values.toarray() if sparse else values))))
        message = (
            f"{where}: {int((~np.isfinite(stored)).sum()):,} values are missing or infinite, the first in cell "
            f"{cell}, {names[feature]!r}; leave such cells or features out"
        )
        raise DataError(message)
    return Target(values=values, names=names, rows=rows, where=where, spec=spec)
