"""Small public data sets, fetched on demand and checked by hash."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scssl.errors import FormatError, SettingsError, import_extra
from scssl.fetch import Download, fetch

if TYPE_CHECKING:
    from collections.abc import Mapping

CC_BY = "CC BY 4.0"

_TENX = "https://cf.10xgenomics.com/samples/cell-exp"
_SCVERSE = "https://exampledata.scverse.org"

DOWNLOADS: Mapping[str, Download] = {
    "pbmc3k": Download(
        url=f"{_TENX}/1.1.0/pbmc3k/pbmc3k_filtered_gene_bc_matrices.tar.gz",
        description="2,700 blood cells of a healthy donor, 10x v1",
        licence=CC_BY,
        member="filtered_gene_bc_matrices/hg19",
    ),
    "pbmc_1k_v3": Download(
        url=f"{_TENX}/3.0.0/pbmc_1k_v3/pbmc_1k_v3_filtered_feature_bc_matrix.h5",
        description="about 1,200 blood cells of a healthy donor, 10x v3",
        licence=CC_BY,
    ),
    "pbmc_10k_protein": Download(
        url=f"{_SCVERSE}/scvi-tools/pbmc_10k_protein_v3.h5ad",
        description="about 6,900 blood cells with 14 surface proteins (CITE-seq), 10x v3",
        licence=CC_BY,
    ),
    "pbmc_5k_protein": Download(
        url=f"{_SCVERSE}/scvi-tools/pbmc_5k_protein_v3.h5ad",
        description="about 4,000 blood cells with 29 surface proteins (CITE-seq), 10x v3",
        licence=CC_BY,
    ),
    "bone_marrow_s1d1": Download(
        url=f"{_SCVERSE}/tutorials/neurips-2021/s1d1_filtered_feature_bc_matrix.h5",
        description="bone marrow, NeurIPS 2021 multimodal data, site 1 donor 1 (GSE194122)",
        licence=CC_BY,
        size=22_848_647,
        hash="md5:a99285913ea3f3d22600d3d2f8a88e34",
    ),
    "bone_marrow_s1d3": Download(
        url=f"{_SCVERSE}/tutorials/neurips-2021/s1d3_filtered_feature_bc_matrix.h5",
        description="bone marrow, NeurIPS 2021 multimodal data, site 1 donor 3 (GSE194122)",
        licence=CC_BY,
        hash="md5:825f7f7578e3dc0b8955f5a97a402338",
    ),
}
"""Data sets that `download` knows, by name. The two md5 sums are those of the scverse tutorials."""


def list_downloads() -> pd.DataFrame:
    """List the data sets that can be fetched.

    Returns
    -------
    pandas.DataFrame
        One row per data set, named by the index: ``description``, ``licence``, ``size`` (bytes, missing where only
        the server knows), ``checked_by`` (``"published hash"`` or ``"hash of the first download"``), ``url``.
    """
    rows = {
        name: {
            "description": entry.description,
            "licence": entry.licence,
            "size": entry.size,
            "checked_by": "published hash" if entry.hash else "hash of the first download",
            "url": entry.url,
        }
        for name, entry in DOWNLOADS.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").astype({"size": "Int64"})


def download(name: str, *, folder: Path | str | None = None) -> Path:
    """Fetch a data set, or find it where an earlier call left it.

    Size, licence and destination are shown on stderr before anything is transferred.

    Parameters
    ----------
    name
        One of those that `list_downloads` lists.
    folder
        Where to keep files; by default the user's cache folder.

    Returns
    -------
    pathlib.Path
        A .h5ad, a 10x .h5 or a 10x mtx folder, which every scssl command and `scssl.Corpus.build` reads.

    Raises
    ------
    SettingsError
        If there is no such data set.
    MissingExtraError
        If pooch is not installed.
    DataError
        If the server cannot be reached or does not have the file.
    FormatError
        If the file is not the one expected.
    """
    if name not in DOWNLOADS:
        message = f"no data set is called {name!r}; there are: {', '.join(DOWNLOADS)}"
        raise SettingsError(message)
    entry = DOWNLOADS[name]
    pooch = import_extra("pooch", extra="download")
    suffixes = Path(entry.url).suffixes[-2:] if entry.member else [Path(entry.url).suffix]
    file = fetch(entry, name=name, file_name=f"{name}{''.join(suffixes)}", folder=folder)
    return _unpack(pooch, entry, file) if entry.member else file


def _unpack(pooch: Any, entry: Download, file: Path) -> Path:
    folder = Path(f"{file}.untar") / str(entry.member)
    if not folder.is_dir():
        pooch.Untar()(str(file), "download", None)
    if not folder.is_dir():
        message = f"{file}: this archive has no folder {entry.member}"
        raise FormatError(message)
    return folder
