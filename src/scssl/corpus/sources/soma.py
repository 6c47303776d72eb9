"""Corpora from SOMA experiments, local or remote, and from the CELLxGENE Census: ranges of cells as origins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.corpus.sources.soma_experiment import (
    EXTRA,
    JOINID,
    LAYER,
    MEASUREMENT,
    OpenExperiment,
    SomaMatrix,
    context,
    forget,
    is_remote,
    open_experiment,
    reading,
)
from scssl.corpus.sources.source import CellSource
from scssl.errors import DataError, SettingsError, import_extra
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scssl.genes import GenePanel

BLOCK: Final = 1 << 14
"""Ranges begin at multiples of this joinid, and so at the edges of the tiles that arrays are usually stored in."""
CELLS: Final = 30 * BLOCK
"""Largest number of cells in a range."""
_SCHEME: Final = re.compile(r"(file|s3|gs|azure|tiledb|https?):/+", flags=re.IGNORECASE)
_COUNTED: Final = "nnz"
"""Column of a Census' obs with the number of nonzeros of each cell."""


@dataclass(frozen=True, kw_only=True)
class SomaCells:
    """A range of cells of a SOMA experiment; small, and can be sent to other processes."""

    experiment: str
    """What the experiment is called: the name of its folder, or ``census-VERSION-organism``."""
    uri: str
    region: str | None = None
    """Region of a public S3 bucket; None to take the user's own settings."""
    start: int
    stop: int
    """Joinids start..stop-1."""
    n_cells: int
    """How many of these there are and pass the filter."""
    columns: tuple[str, ...]
    """Columns of obs to read; those that the experiment does not have are left out."""
    value_filter: str | None = None
    """What is left to SOMA of the condition that cells must meet."""

    def open(self, layer: str | None = None, *, obs_columns: Sequence[str] | None = None) -> CellSource:
        """Open the cells for reading; their obs is loaded.

        Parameters
        ----------
        layer
            Layer of the measurement RNA, or ``measurement/layer``; None is ``raw``, or the only one there is.
        obs_columns
            Of `columns`, those to load; None for all.

        Raises
        ------
        DataError
            If there is no such layer, or the experiment has changed.
        FormatError
            If it cannot be read.
        """
        experiment = open_experiment(self.uri, name=self.experiment, region=self.region)
        key = experiment.choose(layer)
        counted = key == f"{MEASUREMENT}/{LAYER}" and _COUNTED in experiment.columns
        chosen = [name for name in self.columns if obs_columns is None or name in obs_columns]
        wanted = [*chosen, _COUNTED] if counted else chosen
        joinids, obs = experiment.read_obs(self.start, self.stop, columns=wanted, value_filter=self.value_filter)
        if len(joinids) != self.n_cells:
            message = (
                f"{self.experiment}: {self.uri} has changed since the start: {len(joinids):,} cells where there were "
                f"{self.n_cells:,}; start again"
            )
            raise DataError(message)
        nnz = int(obs[_COUNTED].sum()) if counted else None
        if counted and _COUNTED not in chosen:
            obs = obs.drop(columns=_COUNTED)
        matrix = SomaMatrix(experiment, layer=key, joinids=joinids, nnz=nnz)
        var = experiment.var(key).drop(columns=JOINID)

        def uns(entry: str) -> Any:
            return _measured(experiment, entry, layer=key, obs=obs)

        return CellSource(
            matrix,
            name=self.experiment,
            path=None,
            obs=obs,
            var=var,
            layer=key,
            layers=experiment.layers,
            columns=experiment.columns,
            uns=uns,
        )


def expand(
    origins: Sequence[Any],
    *,
    columns: Sequence[str],
    where: str | None,
    genes: str | Path | GenePanel,
    measured: str | None = None,
) -> list[str | Path | AnnData | SomaCells]:
    """Replace SOMA experiments and the Census by ranges of their cells; leave files and AnnData as they are.

    Parameters
    ----------
    origins
        Files, folders, AnnData; addresses of experiments (``s3://...``, ``tiledb://...``, ``file://...``);
        ``census:VERSION`` or ``census:VERSION/organism``.
    columns
        Columns of obs that are needed besides those of the condition.
    where
        Condition that cells must meet.
    genes
        The panel of the build: its species is the organism of a Census where none is named.
    measured
        ``uns:KEY`` of the table of measured genes, for the hint only.

    Raises
    ------
    ScsslError
        If an experiment or version does not exist or cannot be read, or no cell meets the condition.
    MissingExtraError
        If there is an experiment among the origins and the package that reads them is not installed.
    """
    from scssl.corpus.sources.soma_census import PREFIX, find_census, hint

    forget()
    expanded: list[Any] = []
    seen: set[str] = set()
    for origin in origins:
        text = str(origin) if isinstance(origin, str | Path) else ""
        if text.startswith(PREFIX):
            census = find_census(text, genes=genes)
            hint(census.name, columns=columns, where=where, measured=measured)
            name, uri, region = census.name, census.uri, census.region
        elif _SCHEME.match(text) or is_soma(text):
            uri, region = _address(text), None
            name = _name(uri)
        else:
            expanded.append(origin)
            continue
        place = uri.removeprefix("file://").rstrip("/")
        if place in seen:
            message = f"{origin}: given twice; its cells would be in the corpus more than once"
            raise SettingsError(message)
        seen.add(place)
        expanded += _ranges(uri, name=name, region=region, columns=columns, where=where)
    if not expanded and origins:
        message = f"no cell of {', '.join(map(str, origins))} meets --where {where!r}"
        raise DataError(message)
    return expanded


def is_soma(path: str | Path) -> bool:
    """Whether a path is a folder that holds a SOMA collection, told by the files that every one has."""
    if not str(path):
        return False
    folder = Path(path)
    return (folder / "__tiledb_group.tdb").is_file() or (folder / "__group").is_dir()


def _address(text: str) -> str:
    """Return an address with both slashes, one of which is lost where it was taken for a path."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        return str(Path(text).resolve())
    rest = text[scheme.end() :]
    return f"{scheme[1].lower()}://{'/' if scheme[1].lower() == 'file' else ''}{rest}"


def _name(uri: str) -> str:
    return uri.rstrip("/").rpartition("/")[2] or uri


def _ranges(uri: str, *, name: str, region: str | None, columns: Sequence[str], where: str | None) -> list[SomaCells]:
    """Cut an experiment into ranges of at most `CELLS` cells that pass the filter, leaving out what has none."""
    from scssl.corpus.sources.soma_filter import value_filter
    from scssl.corpus.where import Condition

    experiment = open_experiment(uri, name=name, region=region)
    chosen = None if where is None else value_filter(where, experiment.obs.schema)
    needed = [*columns, *(Condition(where).columns if where is not None else [])]
    counts = experiment.count(block=BLOCK, value_filter=chosen)
    total = sum(counts.values())
    if total == 0 and chosen is None:
        message = f"{name}: holds no cells"
        raise DataError(message)
    logger.info(
        "%s: %s of %s cells to read%s", name, f"{total:,}", f"{experiment.obs.count:,}", " (network)" * is_remote(uri)
    )
    common: dict[str, Any] = {
        "experiment": name,
        "uri": uri,
        "region": region,
        "columns": tuple(dict.fromkeys(needed)),
        "value_filter": chosen,
    }
    ranges: list[SomaCells] = []
    start = stop = n = 0
    for block, cells in counts.items():
        if n and n + cells > CELLS:
            ranges.append(SomaCells(start=start, stop=stop, n_cells=n, **common))
            n = 0
        start = start if n else block * BLOCK
        stop, n = (block + 1) * BLOCK, n + cells
    if n:
        ranges.append(SomaCells(start=start, stop=stop, n_cells=n, **common))
    return ranges


def _measured(experiment: OpenExperiment, entry: str, *, layer: str, obs: pd.DataFrame) -> pd.DataFrame:
    """Read which features each data set of a Census measured, for the data sets of these cells."""
    from scssl.corpus.sources.soma_census import DATA, PRESENCE

    presence = experiment.member(layer, PRESENCE) if entry == PRESENCE else None
    root, found, _ = experiment.uri.rpartition(f"/{DATA}/")
    if presence is None or not found:
        has = f"uns[{PRESENCE!r}]" if experiment.member(layer, PRESENCE) is not None else "none"
        message = f"{experiment.name}: has no uns[{entry!r}]; of such tables it has: {has}"
        raise DataError(message)
    soma = import_extra("tiledbsoma", extra=EXTRA)
    with reading(experiment.name, root):
        with soma.open(f"{root}/census_info/datasets", context=context(experiment.region)) as table:
            sets = table.read(column_names=[JOINID, "dataset_id"]).concat().to_pandas()
        if "dataset_id" in obs:
            sets = sets[sets["dataset_id"].isin(obs["dataset_id"].astype(str).unique())]
        sets = sets.sort_values(JOINID)
        rows, features = sets[JOINID].to_numpy(), experiment.var(layer)[JOINID].to_numpy()
        values = np.zeros((len(features), len(rows)), dtype=bool)
        for part in presence.read((rows,)).tables():
            feature = np.searchsorted(features, part["soma_dim_1"].to_numpy())
            data_set = np.searchsorted(rows, part["soma_dim_0"].to_numpy())
            values[feature, data_set] = part["soma_data"].to_numpy() != 0
    return pd.DataFrame(values, index=experiment.var(layer).index, columns=sets["dataset_id"].to_numpy())
