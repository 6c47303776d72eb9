"""A prediction written as a modality of a MuData file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scssl.corpus.sources.source import open_source
from scssl.errors import import_extra
from scssl.files import whole
from scssl.tasks.translate.targets import rna_of

if TYPE_CHECKING:
    from pathlib import Path

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
        both = mudata.read_h5mu(file) if file.suffix == ".h5mu" else mudata.MuData({"rna": _cells(file)})
        cells = pd.DataFrame(index=rna_of(both).obs_names)  # type: ignore[union-attr]
        predicted = AnnData(results.obsm[key], obs=cells, var=pd.DataFrame(index=names))
        for other in others:
            predicted.layers[other.removeprefix(f"{key}_")] = results.obsm[other]
        predicted.uns["scssl"] = {results.task: results.settings}
        both.mod[key] = predicted
        both.update()
        with whole(out) as place:
            both.write(place)


def _cells(file: Path) -> AnnData:
    import anndata

    if file.suffix == ".h5ad":
        return anndata.read_h5ad(file)
    if file.suffix == ".zarr":
        return anndata.read_zarr(file)
    with open_source(file) as source:
        return anndata.AnnData(source.rows(0, source.n_cells), obs=source.obs, var=source.var)
