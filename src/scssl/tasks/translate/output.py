"""A prediction written as a modality of a MuData file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scssl.corpus.sources.source import open_source
from scssl.errors import import_extra
from scssl.files import usual_permissions
from scssl.tasks.translate.targets import rna_of

if TYPE_CHECKING:
    from scssl.tasks.output import Results


def write_mudata(file: Path, out: Path, results: Results, *, names: list[str]) -> None:
    """Write the input and the prediction, which appears beside the modalities that the input had, to `out`.

    The input is read whole. `out` appears only when complete.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder.
    out
        .h5mu to write.
    results
        First of its ``obsm``: the prediction.
    names
        Features.

    Raises
    ------
    MissingExtraError
        If mudata is not installed.
    """
    from anndata import AnnData

    mudata = import_extra("mudata", extra="mudata")
    key, *others = results.obsm
    mods = _modalities(file, mudata)
    rna = rna_of(next(iter(mods.values())) if len(mods) == 1 else _Modalities(mods))
    # A class of its own names for the whole, so that no column is taken for that of another modality.
    predicted = AnnData(results.obsm[key], obs=pd.DataFrame(index=rna.obs_names), var=pd.DataFrame(index=names))  # type: ignore[union-attr]
    for other in others:
        predicted.layers[other.removeprefix(f"{key}_")] = results.obsm[other]
    predicted.uns["scssl"] = {results.task: results.settings}
    whole = mudata.MuData({**mods, key: predicted})
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.stem}-", suffix=".h5mu")
    os.close(handle)
    scratch = Path(name)
    try:
        whole.write(scratch)
        usual_permissions(scratch)
        scratch.replace(out)
    finally:
        scratch.unlink(missing_ok=True)


class _Modalities:
    def __init__(self, mod: dict[str, Any]) -> None:
        self.mod = mod


def _modalities(file: Path, mudata: Any) -> dict[str, Any]:
    import anndata

    if file.suffix == ".h5mu":
        return dict(mudata.read_h5mu(file).mod)
    if file.suffix == ".h5ad":
        return {"rna": anndata.read_h5ad(file)}
    if file.suffix == ".zarr":
        return {"rna": anndata.read_zarr(file)}
    with open_source(file) as source:
        return {"rna": anndata.AnnData(source.rows(0, source.n_cells), obs=source.obs, var=source.var)}
