"""Where a version of the CELLxGENE Census lies: its public directory of releases, and the organisms in it."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scssl import __version__
from scssl.corpus.sources.soma_experiment import EXTRA, context, reading
from scssl.errors import DataError, SettingsError, import_extra
from scssl.genes import GenePanel, load_panel
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PREFIX: Final = "census:"
RELEASES: Final = "https://census.cellxgene.cziscience.com/cellxgene-census/v1/release.json"
MIRRORS: Final = "https://census.cellxgene.cziscience.com/cellxgene-census/v1/mirrors.json"
ORGANISMS: Final = {"human": "homo_sapiens", "mouse": "mus_musculus"}
PRESENCE: Final = "feature_dataset_presence_matrix"
"""Member of a Census measurement that says which features each data set measured."""
DATA: Final = "census_data"
_TIMEOUT: Final = 30.0


@dataclass(frozen=True)
class CensusExperiment:
    """One organism of one version."""

    name: str
    """``census-VERSION-organism``, the version being its date."""
    uri: str
    region: str | None
    """Of the public bucket it lies in; None if it does not lie in S3."""


def find_census(origin: str, *, genes: str | Path | GenePanel) -> CensusExperiment:
    """Look up what ``census:VERSION`` or ``census:VERSION/organism`` means.

    Parameters
    ----------
    origin
        As the user wrote it.
    genes
        The panel of the build, whose species is the organism where none is named.

    Raises
    ------
    SettingsError
        If there is no such version or organism, or none is named and the panel's species is open.
    DataError
        If the directory cannot be reached.
    """
    import_extra("tiledbsoma", extra=EXTRA)
    version, _, organism = origin.removeprefix(PREFIX).strip("/").partition("/")
    organism = organism or _organism_of(genes, origin=origin)
    releases = _fetch(RELEASES)
    release = _release(releases, version, origin=origin)
    date = str(release.get("release_build") or version)
    if date != version:
        logger.info("%s is the release of %s; write census:%s to build the same corpus again", origin, date, date)
    if release.get("flags", {}).get("retracted"):
        said = release.get("retraction") or {}
        reason, instead = said.get("reason") or "no reason given", said.get("replaced_by")
        logger.warning(
            "%s has been retracted (%s)%s", origin, reason, f"; it was replaced by {instead}" if instead else ""
        )
    root, region = _location(release["soma"], origin=origin)
    name = f"census-{date}"
    soma = import_extra("tiledbsoma", extra=EXTRA)
    with reading(name, root), soma.open(root, context=context(region)) as census:
        organisms = {key: census[DATA][key].uri for key in census[DATA]}
    if organism not in organisms:
        message = f"{origin}: the Census of {date} has no {organism!r}; it has: {', '.join(sorted(organisms))}"
        raise SettingsError(message)
    return CensusExperiment(f"{name}-{organism}", organisms[organism], region)


def hint(name: str, *, columns: Sequence[str], where: str | None, measured: str | None) -> None:
    """Say which options make a good corpus of the Census and were not given.

    Parameters
    ----------
    name
        The experiment.
    columns
        Columns of obs that the build uses.
    where
        The condition.
    measured
        The table of measured genes.
    """
    missing = []
    if not re.search(r"\bis_primary_data\b", where or ""):
        missing.append("--where 'is_primary_data == True' (a cell of several data sets comes once)")
    if "dataset_id" not in columns:
        missing.append("--source dataset_id (each data set is a source)")
    if measured is None:
        missing.append(f"--source dataset_id --measured uns:{PRESENCE} (genes a data set did not measure are no zeros)")
    if "donor_id" not in columns:
        missing.append("--split-by donor_id")
    if missing:
        logger.info("%s: you may want %s", name, "; ".join(missing))


def _organism_of(genes: str | Path | GenePanel, *, origin: str) -> str:
    text = "" if isinstance(genes, GenePanel) else str(genes)
    of_the_files = text in ("union", "intersection") or text.startswith("hvg:")
    species = None if of_the_files else load_panel(genes).species
    if species not in ORGANISMS:
        message = f"{origin}: of which organism? --genes {genes} does not say. Write {origin}/homo_sapiens, for example"
        raise SettingsError(message)
    return ORGANISMS[species]


def _release(releases: dict[str, Any], version: str, *, origin: str) -> dict[str, Any]:
    release: Any = version
    # An alias (stable, latest) stands for another entry.
    for _ in range(5):
        if not isinstance(release, str):
            break
        release = releases.get(release)
    if isinstance(release, dict) and isinstance(release.get("soma"), dict):
        return release
    names = sorted(key for key, value in releases.items() if isinstance(value, dict))
    aliases = sorted(key for key, value in releases.items() if isinstance(value, str))
    message = (
        f"{origin}: there is no version {version!r} of the Census; there are: {', '.join([*aliases, *names]) or 'none'}"
    )
    raise SettingsError(message)


def _location(locator: dict[str, Any], *, origin: str) -> tuple[str, str | None]:
    """Return the address, and the region of the bucket."""
    uri, region = locator.get("uri"), locator.get("s3_region")
    if locator.get("relative_uri"):
        mirrors = _fetch(MIRRORS)
        mirror = mirrors.get(mirrors.get("default", ""))
        if isinstance(mirror, dict) and mirror.get("base_uri"):
            uri = f"{mirror['base_uri'].rstrip('/')}/{locator['relative_uri'].lstrip('/')}"
            region = mirror.get("region")
    if not uri:
        message = f"{origin}: its directory ({RELEASES}) does not say where the data are; use a newer scssl"
        raise DataError(message)
    return str(uri), (region or "us-west-2") if str(uri).startswith("s3://") else None


def _fetch(url: str) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"User-Agent": f"scssl/{__version__}"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            found = json.load(answer)
    except (OSError, urllib.error.URLError, ValueError) as error:
        message = (
            f"the directory of the Census cannot be read ({url}: {error}). Check the network; a local copy of the "
            "Census can be given as a folder, COPY/census_data/homo_sapiens"
        )
        raise DataError(message) from error
    if not isinstance(found, dict):
        message = f"{url} is no directory of the Census; use a newer scssl"
        raise DataError(message)
    return found
