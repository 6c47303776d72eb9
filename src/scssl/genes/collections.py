"""Published gene sets that are fetched by name: MSigDB's collections and CollecTRI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scssl.errors import SettingsError
from scssl.fetch import Download, fetch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RELEASE: Final = "2025.1"
"""Release of MSigDB, pinned so that the same name means the same sets."""
_MSIGDB: Final = "https://data.broadinstitute.org/gsea-msigdb/msigdb/release"
_LICENCE: Final = (
    "CC BY 4.0 but for some sets, such as KEGG's and BioCarta's, which have terms of their own (see "
    "https://www.gsea-msigdb.org/gsea/msigdb_license_terms.jsp)"
)


def _msigdb(file: str, description: str, *, species: str = "Hs") -> Download:
    version = f"{RELEASE}.{species}"
    return Download(
        url=f"{_MSIGDB}/{version}/{file}.v{version}.symbols.gmt",
        description=f"MSigDB {version} {description}",
        licence=_LICENCE,
    )


COLLECTIONS: Mapping[str, Download] = {
    "msigdb:H": _msigdb("h.all", "hallmark gene sets"),
    "msigdb:C2:REACTOME": _msigdb("c2.cp.reactome", "Reactome pathways"),
    "msigdb:C3:TFT": _msigdb("c3.tft", "targets of transcription factors"),
    "msigdb:C5": _msigdb("c5.all", "Gene Ontology and Human Phenotype Ontology"),
    "msigdb:C5:GO:BP": _msigdb("c5.go.bp", "biological processes of the Gene Ontology"),
    "msigdb:C7": _msigdb("c7.all", "immunologic signatures"),
    "msigdb:C8": _msigdb("c8.all", "cell type signatures"),
    "msigdb:MH": _msigdb("mh.all", "hallmark gene sets, mouse", species="Mm"),
    "msigdb:M2:REACTOME": _msigdb("m2.cp.reactome", "Reactome pathways, mouse", species="Mm"),
    "msigdb:M8": _msigdb("m8.all", "cell type signatures, mouse", species="Mm"),
    "collectri": Download(
        url="https://zenodo.org/records/8192729/files/CollecTRI_regulons.csv",
        description="CollecTRI, curated targets of human transcription factors (doi 10.1093/nar/gkad841)",
        licence="CC BY 4.0",
    ),
}
"""What `fetch_sets` knows, by name."""


def is_collection(spec: str) -> bool:
    """Say whether a text names a collection, known or not, rather than a file.

    Parameters
    ----------
    spec
        What the user gave.
    """
    return spec.lower().startswith("msigdb:") or spec.lower() == "collectri"


def fetch_sets(name: str, *, folder: Path | str | None = None) -> Path:
    """Fetch a collection, or find it where an earlier call left it.

    Size, licence and destination are shown on stderr before anything is transferred.

    Parameters
    ----------
    name
        One of `COLLECTIONS`, in any case.
    folder
        Where to keep files; by default the user's cache folder.

    Returns
    -------
    pathlib.Path
        A GMT file or a table of transcription factors and targets.

    Raises
    ------
    SettingsError
        If there is no such collection.
    MissingExtraError
        If pooch is not installed.
    DataError
        If the server cannot be reached or does not have the file.
    FormatError
        If the file is not the one expected.
    """
    key = next((known for known in COLLECTIONS if known.lower() == name.lower()), None)
    if key is None:
        message = f"no collection of gene sets is called {name!r}; there are: {', '.join(COLLECTIONS)}"
        raise SettingsError(message)
    entry = COLLECTIONS[key]
    return fetch(entry, name=key, file_name=entry.url.rpartition("/")[2], folder=folder)
