"""Results in files that are no .h5ad: .h5mu and .zarr, put into the form that a page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scssl import keys
from scssl.corpus.sources.source import Reading
from scssl.errors import FormatError, import_extra

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

FORMS = (".h5mu", ".zarr")


def as_h5ad(path: Path, folder: Path) -> Path:
    """Write the cells of another form as .h5ad, with the results where the commands write them.

    Of a .h5mu these are the cells of its RNA, and what scssl predicted of them as a modality. All is read whole.

    Parameters
    ----------
    path
        .h5mu or .zarr.
    folder
        Folder to write to.

    Returns
    -------
    Path
        The .h5ad.

    Raises
    ------
    FormatError
        If it cannot be read, or holds no results of scssl.
    """
    if path.suffix == ".zarr":
        import anndata

        with Reading(str(path)):
            cells = anndata.read_zarr(path)
    else:
        cells = _of_modalities(path)
    if keys.SETTINGS not in cells.uns:
        message = (
            f"{path}: nothing of scssl's is in it (no uns[{keys.SETTINGS!r}]). Give the --out of scssl annotate, "
            "embed, integrate, reconstruct, translate or simulate"
        )
        raise FormatError(message)
    file = folder / f"{path.stem}.h5ad"
    cells.write_h5ad(file)
    return file


def _of_modalities(path: Path) -> AnnData:
    from scssl.tasks.translate.targets import rna_of

    mudata = import_extra("mudata", extra="mudata")
    with Reading(str(path)), mudata.set_options(pull_on_update=False):
        whole = mudata.read_h5mu(path)
        cells: Any = rna_of(whole)
        told = dict(_told(cells))
        for name, part in whole.mod.items():
            if part is cells or not _told(part):
                continue
            told |= _told(part)
            # Cells may be missing in a modality, or in another order.
            cells.obsm[name] = part.to_df().reindex(cells.obs_names).to_numpy(dtype="float32")
        if told:
            cells.uns[keys.SETTINGS] = told
    return cells


def _told(cells: AnnData) -> Mapping[str, Any]:
    found = cells.uns.get(keys.SETTINGS)
    return found if isinstance(found, Mapping) else {}
