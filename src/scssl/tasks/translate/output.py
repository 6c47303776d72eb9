"""A prediction written as a modality of a MuData file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from scssl.corpus.sources.source import open_source
from scssl.errors import import_extra
from scssl.files import usual_permissions
from scssl.tasks.translate.targets import rna_of

if TYPE_CHECKING:
    from anndata import AnnData

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
    # Columns of obs stay with their modality, as they will by default from mudata 0.4 on.
    with mudata.set_options(pull_on_update=False):
        whole = mudata.read_h5mu(file) if file.suffix == ".h5mu" else mudata.MuData({"rna": _cells(file)})
        cells = pd.DataFrame(index=rna_of(whole).obs_names)  # type: ignore[union-attr]
        predicted = AnnData(results.obsm[key], obs=cells, var=pd.DataFrame(index=names))
        for other in others:
            predicted.layers[other.removeprefix(f"{key}_")] = results.obsm[other]
        predicted.uns["scssl"] = {results.task: results.settings}
        whole.mod[key] = predicted
        whole.update()
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.stem}-", suffix=".h5mu")
    os.close(handle)
    scratch = Path(name)
    try:
        with mudata.set_options(pull_on_update=False):
            whole.write(scratch)
        usual_permissions(scratch)
        scratch.replace(out)
    finally:
        scratch.unlink(missing_ok=True)


def _cells(file: Path) -> AnnData:
    import anndata

    if file.suffix == ".h5ad":
        return anndata.read_h5ad(file)
    if file.suffix == ".zarr":
        return anndata.read_zarr(file)
    with open_source(file) as source:
        return anndata.AnnData(source.rows(0, source.n_cells), obs=source.obs, var=source.var)
