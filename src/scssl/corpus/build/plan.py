"""The plan of a build, made before any counts are read: genes, sources, categories, splits, and what it will need."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from scssl.corpus.build.cells import CellTable, check_columns, read_cells
from scssl.corpus.build.measured import measured_by_source
from scssl.corpus.build.naming import Peek, file_names, refuse_repeats, state_of
from scssl.corpus.build.panels import choose_panel
from scssl.corpus.build.quality import mitochondrial_features
from scssl.corpus.build.splits import split_groups
from scssl.corpus.sources.source import CellSource, open_source
from scssl.errors import DataError, SettingsError
from scssl.genes import harmonise
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.corpus.settings import BuildSettings
    from scssl.corpus.sources.soma import SomaCells
    from scssl.corpus.store import Corpus
    from scssl.genes import GeneMap, GenePanel

    Origin: TypeAlias = str | Path | AnnData | SomaCells

DENSE_SHARE: Final = 0.1
"""Share of nonzeros assumed for matrices that do not say."""
CHUNK: Final = 4096
"""Cells read at a time."""
PART_NONZEROS: Final = 100_000_000
"""Counts read in one go by one process: some ten seconds of work, which is all that a killed build loses."""


@dataclass(frozen=True)
class Part:
    """A range of cells of one file: what one process reads at a time, and what a killed build need not read again."""

    number: int
    file: int
    """Position in `Plan.files`."""
    start: int
    stop: int


@dataclass(kw_only=True)
class FilePlan:
    """One input file."""

    origin: Origin
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
    by_column: bool
    """Whether it can only be read from beginning to end."""
    mitochondrial: NDArray[np.bool_] | None
    """(n_features,) which features are mitochondrial genes; None where that does not matter."""
    sources: dict[str, int] = field(default_factory=dict)
    """Value of the source column -> code of the source in the corpus."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What reading any of the files needs to know of the corpus as a whole."""

    settings: BuildSettings
    n_genes: int
    sources: list[str]
    categories: dict[str, list[str]]
    """Per kept column."""
    splits: dict[str, str]
    """group -> split; empty when splitting by cell."""
    measured: NDArray[np.bool_]
    """(n_sources, n_genes)."""
    named: bool
    """Whether cell names get the file's name in front."""
    generation: int
    """0 for the first build, one more for each time that cells are added."""


@dataclass(kw_only=True)
class Plan:
    """Everything that is known before counts are read."""

    settings: BuildSettings
    panel: GenePanel
    files: list[FilePlan]
    parts: list[Part]
    layout: Layout
    source_files: list[list[str]]
    """Per source, the files it comes from."""
    splits: dict[str, str]
    """group -> split; empty when splitting by cell."""
    group_cells: dict[tuple[str, str], int]
    """(source, group) -> cells that meet the condition; empty when splitting by cell."""

    @property
    def sources(self) -> list[str]:
        """Names of the sources; those of a corpus that cells are added to come first."""
        return self.layout.sources

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(n_sources, n_genes)."""
        return self.layout.measured

    @property
    def categories(self) -> dict[str, list[str]]:
        """Per kept column."""
        return self.layout.categories

    @property
    def n_cells(self) -> int:
        """Cells that meet the condition."""
        return sum(file.n_kept for file in self.files)

    @property
    def n_nonzeros(self) -> int:
        """Upper estimate of the counts to store."""
        return sum(file.n_nonzeros for file in self.files)

    def fingerprint(self) -> str:
        """sha256 of all that decides on the result: only a build of the same one may be gone on with."""
        content = [
            self.settings.as_dict(),
            self.panel.fingerprint,
            [[file.name, file.n_cells, state_of(file.origin)] for file in self.files],
            [asdict(part) for part in self.parts],
            self.layout.generation,
            self.sources,
            self.categories,
            sorted(self.splits.items()),
            hashlib.sha256(self.measured.tobytes()).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def make_plan(origins: Sequence[Origin], settings: BuildSettings, *, base: Corpus | None = None) -> Plan:
    """Open every file once, check what can be checked without reading all counts, and settle the corpus' tables.

    Parameters
    ----------
    origins
        The files.
    settings
        How to read them.
    base
        Corpus that the cells are to be added to: its genes, sources, categories and splits stay as they are.

    Raises
    ------
    ScsslError
        For anything that a build could not go on with.
    """
    if not origins:
        message = "no files were given to build a corpus from"
        raise SettingsError(message)
    origins = _expand(origins, settings)
    refuse_repeats(origins)
    peeks = []
    for origin in origins:
        # Never more than one file is held: with thousands of files, even their annotations are large.
        with open_source(origin, layer=settings.layer, obs_columns=()) as source:
            peeks.append(Peek(source.file, source.name, source.path, [*map(str, source.columns)], origin))
    if base is None:
        # Cells that are added may well lack what the corpus has.
        check_columns({peek.file: peek.columns for peek in peeks}, settings)
    panel = choose_panel(settings, origins) if base is None else base.panel
    taken = {entry["name"] for entry in base.report["files"]} if base is not None else set()
    files, tables = [], []
    for origin, name in zip(origins, file_names(peeks, taken), strict=True):
        with open_source(origin, layer=settings.layer, obs_columns=settings.read) as source:
            cells = read_cells(source, settings, name=name)
            file, measured = _plan_file(origin, source, cells, panel, settings, name)
            files.append(file)
            tables.append((_FileTable.of(cells), measured))
    if sum(file.n_kept for file in files) == 0:
        message = f"no cell meets --where {settings.where!r}"
        raise DataError(message)

    sources, source_files, rows = _settle_sources(files, tables, base)
    group_cells: dict[tuple[str, str], int] = Counter()
    found: dict[str, set[str]] = {column: set() for column in settings.kept}
    for file, (table, _) in zip(files, tables, strict=True):
        for (source_value, group), n in table.group_cells.items():
            group_cells[sources[file.sources[source_value]], group] += n
        for column, used in table.categories.items():
            found[column].update(used)
    # Codes that are in use keep their meaning.
    before = {column: base.categories[column] if base is not None else [] for column in found}
    categories = {c: [*before[c], *sorted(values.difference(before[c]))] for c, values in found.items()}
    splits = {}
    if not settings.by_cell:
        _tell_shared(group_cells, settings.split_by)
        splits = split_groups(
            group_cells,
            val=settings.val,
            test=settings.test,
            seed=settings.seed,
            by=settings.split_by,
            unnamed=_unnamed(group_cells, settings.split_by),
            known={group: split for _, group, split, _ in base.groups()} if base is not None else None,
        )
    layout = Layout(
        settings=settings,
        n_genes=len(panel),
        sources=sources,
        categories=categories,
        splits=splits,
        measured=np.stack(rows),
        named=len(files) > 1 or base is not None,
        generation=0 if base is None else base.generation + 1,
    )
    return Plan(
        settings=settings,
        panel=panel,
        files=files,
        parts=_make_parts(files),
        layout=layout,
        source_files=source_files,
        splits=splits,
        group_cells=dict(group_cells) if not settings.by_cell else {},
    )


def _unnamed(group_cells: Mapping[tuple[str, str], int], column: str) -> set[str]:
    """Find, and tell of, cells without a donor in sources whose other cells have one."""
    groups = Counter(source for source, _ in group_cells)
    found = set()
    for (source, group), n in group_cells.items():
        if group.startswith(f"(no {column}: ") and groups[source] > 1:
            found.add(group)
            logger.warning(
                "source %r: %s cells have no %r; they may be of any of its others, so they are trained on",
                source,
                f"{n:,}",
                column,
            )
    return found


def _make_parts(files: Sequence[FilePlan]) -> list[Part]:
    parts: list[Part] = []
    for number, file in enumerate(files):
        per_cell = file.n_nonzeros / max(1, file.n_kept)
        step = max(1, int(PART_NONZEROS / max(1.0, per_cell)) // CHUNK) * CHUNK
        # What comes in no order of cells, or lies in memory, is read in one go.
        step = file.n_cells if file.by_column else step
        for start in range(0, file.n_cells, step):
            parts.append(Part(len(parts), number, start, min(start + step, file.n_cells)))
    return parts


def _expand(origins: Sequence[Origin], settings: BuildSettings) -> list[Origin]:
    from scssl.corpus.sources.soma import expand

    return expand(
        origins, columns=settings.read, where=settings.where, genes=settings.genes, measured=settings.measured
    )


def _in_memory(origin: Origin) -> bool:
    return not isinstance(origin, str | Path) and not hasattr(origin, "experiment")


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
    origin: Origin,
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
    for column, original in cells.taken.items():
        logger.info("%s: %r is its column %r", source.file, column, original)
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
        by_column=source.by_column or _in_memory(origin),
        mitochondrial=_mitochondrial(source) if settings.max_mito < 1 else None,
    )
    return plan, measured


def _mitochondrial(source: CellSource) -> NDArray[np.bool_]:
    found = mitochondrial_features(source.var)
    if not found.any():
        logger.warning("%s: has no mitochondrial genes, so none of its cells is left out by --max-mito", source.file)
    return found


def _settle_sources(
    files: Sequence[FilePlan],
    tables: Sequence[tuple[_FileTable, dict[str, NDArray[np.bool_]]]],
    base: Corpus | None,
) -> tuple[list[str], list[list[str]], list[NDArray[np.bool_]]]:
    """Give each source a code. A source that several files share is one source if they measured the same genes."""
    rows_of: dict[str, list[NDArray[np.bool_]]] = defaultdict(list)
    before = [] if base is None else base.sources
    for name, row in zip(before, [] if base is None else base.measured, strict=True):
        rows_of[name].append(row)
    for table, measured in tables:
        for value in table.sources:
            rows_of[value].append(measured[value])
    codes: dict[str, int] = {name: code for code, name in enumerate(before)}
    source_files: list[list[str]] = [[] for _ in before]
    rows: list[NDArray[np.bool_]] = [] if base is None else list(base.measured)
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
