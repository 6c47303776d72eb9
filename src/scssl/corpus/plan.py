"""The plan of a build, made before any counts are read: genes, sources, categories, splits, and what it will need."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.corpus.cells import CellTable, check_columns, read_cells
from scssl.corpus.measured import measured_by_source
from scssl.corpus.panels import choose_panel
from scssl.corpus.sources import CellSource, open_source
from scssl.corpus.splits import split_groups
from scssl.errors import DataError, SettingsError
from scssl.genes import harmonise
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.corpus.settings import BuildSettings
    from scssl.genes import GeneMap, GenePanel

DENSE_SHARE = 0.1
"""Share of nonzeros assumed for matrices that do not say."""


@dataclass(kw_only=True)
class FilePlan:
    """One input file."""

    origin: str | Path | AnnData
    """What to open."""
    name: str
    """What it is called: unique among the files."""
    file: str
    """What it is called in messages."""
    genes: GeneMap
    n_cells: int
    n_kept: int
    """Cells that meet the condition."""
    n_nonzeros: int
    """Estimate for the kept cells, before genes outside the panel are dropped."""
    sources: dict[str, int] = field(default_factory=dict)
    """Value of the source column -> code of the source in the corpus."""


@dataclass(kw_only=True)
class Plan:
    """Everything that is known before counts are read."""

    settings: BuildSettings
    panel: GenePanel
    files: list[FilePlan]
    sources: list[str]
    source_files: list[list[str]]
    """Per source, the files it comes from."""
    measured: NDArray[np.bool_]
    """(n_sources, n_genes)."""
    categories: dict[str, list[str]]
    """Per kept column."""
    splits: dict[str, str]
    """group -> split; empty when splitting by cell."""
    group_cells: dict[tuple[str, str], int]
    """(source, group) -> cells that meet the condition; empty when splitting by cell."""

    @property
    def n_cells(self) -> int:
        """Cells that meet the condition."""
        return sum(file.n_kept for file in self.files)

    @property
    def n_nonzeros(self) -> int:
        """Upper estimate of the counts to store."""
        return sum(file.n_nonzeros for file in self.files)

    def many(self) -> bool:
        """Whether cell names need the file's name in front."""
        return len(self.files) > 1


def make_plan(origins: Sequence[str | Path | AnnData], settings: BuildSettings) -> Plan:
    """Open every file once, check what can be checked without reading all counts, and settle the corpus' tables.

    Raises
    ------
    ScsslError
        For anything that a build could not go on with.
    """
    if not origins:
        message = "no files were given to build a corpus from"
        raise SettingsError(message)
    _refuse_repeats(origins)
    peeks = []
    for origin in origins:
        # Never more than one file is held: with thousands of files, even their annotations are large.
        with open_source(origin, layer=settings.layer) as source:
            peeks.append(_Peek(source.file, source.name, source.path, [str(column) for column in source.obs.columns]))
    check_columns({peek.file: peek.columns for peek in peeks}, settings)
    panel = choose_panel(settings, origins)
    files, tables = [], []
    for origin, name in zip(origins, _file_names(peeks), strict=True):
        with open_source(origin, layer=settings.layer) as source:
            cells = read_cells(source, settings, name=name)
            file, measured = _plan_file(origin, source, cells, panel, settings, name)
            files.append(file)
            tables.append((_FileTable.of(cells), measured))
    if sum(file.n_kept for file in files) == 0:
        message = f"no cell meets --where {settings.where!r}"
        raise DataError(message)

    sources, source_files, rows = _settle_sources(files, tables)
    group_cells: dict[tuple[str, str], int] = Counter()
    categories: dict[str, set[str]] = {column: set() for column in settings.kept}
    for file, (table, _) in zip(files, tables, strict=True):
        for (source_value, group), n in table.group_cells.items():
            group_cells[sources[file.sources[source_value]], group] += n
        for column, used in table.categories.items():
            categories[column].update(used)
    splits = {}
    if not settings.by_cell:
        _tell_shared(group_cells, settings.split_by)
        splits = split_groups(
            group_cells, val=settings.val, test=settings.test, seed=settings.seed, by=settings.split_by
        )
    return Plan(
        settings=settings,
        panel=panel,
        files=files,
        sources=sources,
        source_files=source_files,
        measured=np.stack(rows),
        categories={column: sorted(values) for column, values in categories.items()},
        splits=splits,
        group_cells=dict(group_cells) if not settings.by_cell else {},
    )


@dataclass(frozen=True)
class _Peek:
    file: str
    name: str
    path: Path | None
    columns: list[str]


@dataclass(frozen=True)
class _FileTable:
    """What is remembered of a file's cells: its size does not grow with their number."""

    sources: list[str]
    group_cells: dict[tuple[str, str], int]
    categories: dict[str, list[str]]

    @classmethod
    def of(cls, cells: CellTable) -> _FileTable:
        keep = cells.keep
        pairs = np.stack([cells.source.codes[keep], cells.group.codes[keep]], axis=1)
        distinct, counts = np.unique(pairs, axis=0, return_counts=True)
        group_names = [*cells.group.names, ""]
        group_cells = {
            (cells.source.names[s], group_names[g]): int(n)
            for (s, g), n in zip(distinct.tolist(), counts.tolist(), strict=True)
        }
        categories = {}
        for column, coded in cells.columns.items():
            used = np.unique(coded.codes[keep])
            categories[column] = [coded.names[code] for code in used if code >= 0]
        return cls([cells.source.names[s] for s in np.unique(pairs[:, 0])], group_cells, categories)


def _plan_file(
    origin: str | Path | AnnData,
    source: CellSource,
    cells: CellTable,
    panel: GenePanel,
    settings: BuildSettings,
    name: str,
) -> tuple[FilePlan, dict[str, NDArray[np.bool_]]]:
    genes = harmonise(source.var, panel, file=source.file)
    log = logger.warning if genes.report.small else logger.info
    log("%s: %s", source.file, genes.report)
    kept = int(cells.keep.sum())
    nonzeros = source.nnz if source.nnz is not None else int(DENSE_SHARE * source.n_cells * source.n_features)
    for column in cells.absent:
        logger.info("%s: no column %r: missing for its cells", source.file, column)
    if cells.renamed:
        logger.warning(
            "%s: %s repeated cell names were numbered to make them unique", source.file, f"{cells.renamed:,}"
        )
    used = [cells.source.names[code] for code in np.unique(cells.source.codes[cells.keep])]
    measured = measured_by_source(source, genes, used, key=settings.measured)
    plan = FilePlan(
        origin=origin,
        name=name,
        file=source.file,
        genes=genes,
        n_cells=source.n_cells,
        n_kept=kept,
        n_nonzeros=int(nonzeros * kept / source.n_cells),
    )
    return plan, measured


def _settle_sources(
    files: Sequence[FilePlan], tables: Sequence[tuple[_FileTable, dict[str, NDArray[np.bool_]]]]
) -> tuple[list[str], list[list[str]], list[NDArray[np.bool_]]]:
    """Give each source a code. A source that several files share is one source if they measured the same genes."""
    rows_of: dict[str, list[NDArray[np.bool_]]] = defaultdict(list)
    for table, measured in tables:
        for value in table.sources:
            rows_of[value].append(measured[value])
    codes: dict[str, int] = {}
    source_files: list[list[str]] = []
    rows: list[NDArray[np.bool_]] = []
    for file, (table, measured) in zip(files, tables, strict=True):
        for value in table.sources:
            alike = all(np.array_equal(row, rows_of[value][0]) for row in rows_of[value])
            name = value if alike else f"{value} ({file.name})"
            if not alike:
                logger.info("source %r has other genes in other files: %r is a source of its own", value, name)
            if name not in codes:
                codes[name] = len(codes)
                source_files.append([])
                rows.append(measured[value])
            file.sources[value] = codes[name]
            source_files[codes[name]].append(file.file)
    return list(codes), source_files, rows


def _tell_shared(group_cells: Mapping[tuple[str, str], int], column: str) -> None:
    times = Counter(group for _, group in group_cells)
    shared = [group for group, n in times.items() if n > 1]
    if shared:
        logger.info(
            "%d values of %r are in several sources; their cells stay in one split: %s%s",
            len(shared),
            column,
            ", ".join(repr(group) for group in shared[:5]),
            ", ..." if len(shared) > 5 else "",
        )


def _refuse_repeats(origins: Sequence[Any]) -> None:
    paths = Counter(Path(origin).resolve() for origin in origins if isinstance(origin, str | Path))
    for path, n in paths.items():
        if n > 1:
            message = f"{path}: given {n} times; its cells would be in the corpus more than once"
            raise SettingsError(message)


def _file_names(sources: Sequence[_Peek]) -> list[str]:
    """Stems; where several files have the same, with as much of the folders in front as tells them apart."""
    names = [source.name for source in sources]
    depth = 1
    while len(set(names)) < len(names) and depth < 20:
        repeated = {name for name, n in Counter(names).items() if n > 1}
        for i, source in enumerate(sources):
            if names[i] in repeated and source.path is not None:
                folders = source.path.resolve().parts[1:-1][-depth:]
                names[i] = "/".join([*folders, source.name])
        depth += 1
    if len(set(names)) < len(names):
        names = [f"{name}-{i}" for i, name in enumerate(names)]
    return names
