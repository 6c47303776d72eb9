"""The cells of a plan's files as checked, harmonised blocks: the one way from files into a corpus."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.corpus.cells import CellTable, Coded, read_cells
from scssl.corpus.manifest import SPLITS
from scssl.corpus.shard import SOURCE, smallest_dtype
from scssl.corpus.sources import open_source
from scssl.corpus.values import check_counts
from scssl.errors import DataError
from scssl.log import logger, progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scssl.corpus.plan import FilePlan, Plan

CHUNK: Final = 4096
"""Cells read at a time."""
CHECKED: Final = 1024
"""Cells of each file that are looked at before the work starts."""
LARGEST_CONTRADICTION: Final = 0.5
"""Share of a source's counts on genes it did not measure, above which the table is not about these cells."""


@dataclass(frozen=True)
class Block:
    """Some cells on their way into the corpus."""

    X: sp.csr_matrix
    """(n_cells, n_genes) raw counts on measured panel genes, uint16 or uint32, without stored zeros."""
    codes: NDArray[np.int32]
    """(n_cells, 1 + n_columns) codes of the source and of the kept columns."""
    split: NDArray[np.int8]
    """(n_cells,) position in `SPLITS`."""
    n_counts: NDArray[np.int64]
    """(n_cells,) total counts."""
    names: NDArray[np.object_]
    """(n_cells,) cell names."""


@dataclass
class SourceTally:
    """What became of the cells of a source."""

    name: str
    files: list[str]
    n_genes: int
    """Panel genes measured."""
    n_cells: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    """Cells in the corpus, per split."""
    n_empty: int = 0
    """Cells left out because they have no counts on measured panel genes."""
    n_counts: int = 0
    n_nonzeros: int = 0
    counts_not_measured: int = 0
    """Counts dropped because they were on genes that the source did not measure."""


@dataclass
class Tally:
    """What happened during a build."""

    sources: list[SourceTally]
    files: list[FilePlan]
    gene_counts: NDArray[np.int64]
    """(n_sources, n_genes) totals in the train split."""

    @classmethod
    def of(cls, plan: Plan) -> Tally:
        """Start counting."""
        sources = [
            SourceTally(name, files, int(row.sum()))
            for name, files, row in zip(plan.sources, plan.source_files, plan.measured, strict=True)
        ]
        return cls(sources, plan.files, np.zeros(plan.measured.shape, dtype=np.int64))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        files = [
            {
                "file": file.file,
                "name": file.name,
                "n_cells": file.n_cells,
                "n_left_out_by_where": file.n_cells - file.n_kept,
                "genes": file.genes.report.to_dict(),
            }
            for file in self.files
        ]
        return {"files": files, "sources": [asdict(source) for source in self.sources]}


def check_first_cells(plan: Plan) -> None:
    """Look at the first cells of every file, so that a build fails in its first seconds and not in its last hour.

    Raises
    ------
    DataError
        If the values are no counts.
    """
    for file in plan.files:
        with open_source(file.origin, layer=plan.settings.layer) as source:
            check_counts(source.rows(0, CHECKED), file=file.file, layer=plan.settings.layer, first_row=0)


def stream(plan: Plan, tally: Tally) -> Iterator[Block]:
    """Read all files of a plan.

    Parameters
    ----------
    plan
        What to read, and how.
    tally
        Counted into.

    Yields
    ------
    Block
        Cells in the order of the files; the split of each cell depends on the seed only.
    """
    with progress("reading cells", sum(file.n_cells for file in plan.files)) as advance:
        for number, file in enumerate(plan.files):
            with open_source(file.origin, layer=plan.settings.layer) as source:
                cells = _Codes.of(plan, file, read_cells(source, plan.settings, name=file.name))
                for part, (rows, X) in enumerate(source.chunks(CHUNK)):
                    rng = np.random.default_rng([plan.settings.seed, 1, number, part])
                    block = _block(plan, file, cells, rows, X, rng, tally)
                    advance(X.shape[0])
                    if block is not None:
                        yield block
    _settle(tally)


@dataclass(frozen=True)
class _Codes:
    """Per cell of a file, codes as the corpus counts them."""

    keep: NDArray[np.bool_]
    codes: NDArray[np.int32]
    split: NDArray[np.int8] | None
    names: NDArray[np.object_]

    @classmethod
    def of(cls, plan: Plan, file: FilePlan, cells: CellTable) -> _Codes:
        sources = np.array([file.sources.get(name, -1) for name in cells.source.names], dtype=np.int32)
        columns = [sources[cells.source.codes]]
        for column, coded in cells.columns.items():
            position = {name: i for i, name in enumerate(plan.categories[column])}
            columns.append(_translate(coded, position))
        split = None
        if plan.splits:
            split = _translate(cells.group, {g: SPLITS.index(s) for g, s in plan.splits.items()}).astype(np.int8)
        return cls(cells.keep, np.stack(columns, axis=1), split, cells.names)


def _translate(coded: Coded, position: dict[str, int]) -> NDArray[np.int32]:
    # Values that only cells which are left out have are in no table; the last entry is where code -1 points.
    return np.array([*(position.get(name, -1) for name in coded.names), -1], dtype=np.int32)[coded.codes]


def _block(
    plan: Plan, file: FilePlan, cells: _Codes, rows: slice, X: sp.csr_matrix, rng: np.random.Generator, tally: Tally
) -> Block | None:
    check_counts(X, file=file.file, layer=plan.settings.layer, first_row=rows.start)
    # Drawn for all cells of the chunk, so that a cell's split does not depend on which others are kept.
    drawn = _draw_splits(rng, X.shape[0], plan) if cells.split is None else cells.split[rows]
    chosen = np.flatnonzero(cells.keep[rows])
    if chosen.size == 0:
        return None
    X = X if chosen.size == X.shape[0] else X[chosen]
    file.genes.check_counts_share(X)
    kept = file.genes.apply(X)
    number = rows.start + chosen
    source = cells.codes[number, 0]
    dtype = smallest_dtype(int(kept.data.max(initial=0)), file=file.file)
    kept = sp.csr_matrix((kept.data.astype(dtype), kept.indices, kept.indptr), shape=kept.shape)
    if plan.settings.measured is not None:
        kept = _drop_not_measured(kept, source, plan, tally)
    empty = np.diff(kept.indptr) == 0
    if empty.any():
        for code, n in zip(*np.unique(source[empty], return_counts=True), strict=True):
            tally.sources[code].n_empty += int(n)
        kept, number, source = kept[~empty], number[~empty], source[~empty]
        drawn = drawn[chosen[~empty]]
    else:
        drawn = drawn[chosen]
    totals = row_totals(kept)
    _count(kept, totals, source, drawn, tally)
    names = cells.names[number]
    if plan.many():
        names = np.array([f"{file.name}:{name}" for name in names], dtype=object)
    return Block(kept, cells.codes[number], drawn, totals, names)


def _draw_splits(rng: np.random.Generator, n: int, plan: Plan) -> NDArray[np.int8]:
    edges = np.cumsum([1 - plan.settings.val - plan.settings.test, plan.settings.val])
    return np.searchsorted(edges, rng.random(n), side="right").astype(np.int8)


def _drop_not_measured(X: sp.csr_matrix, source: NDArray[np.int32], plan: Plan, tally: Tally) -> sp.csr_matrix:
    row = np.repeat(source, np.diff(X.indptr))
    wrong = ~plan.measured[row, X.indices]
    if not wrong.any():
        return X
    lost = np.bincount(row[wrong], weights=X.data[wrong], minlength=len(plan.sources))
    for code in np.flatnonzero(lost):
        tally.sources[code].counts_not_measured += int(lost[code])
    X = X.copy()
    X.data[wrong] = 0
    X.eliminate_zeros()
    return X


def _count(
    X: sp.csr_matrix, totals: NDArray[np.int64], source: NDArray[np.int32], split: NDArray[np.int8], tally: Tally
) -> None:
    lengths = np.diff(X.indptr)
    for code in np.unique(source):
        mine, entry = source == code, tally.sources[code]
        entry.n_counts += int(totals[mine].sum())
        entry.n_nonzeros += int(lengths[mine].sum())
        for position, name in enumerate(SPLITS):
            entry.n_cells[name] += int((mine & (split == position)).sum())
        train = mine & (split == SPLITS.index("train"))
        if train.any():
            part = X if train.all() else X[train]
            # Sums of up to 2**53 are exact in float64, and a chunk's are far smaller.
            sums = np.bincount(part.indices, weights=part.data, minlength=X.shape[1])
            tally.gene_counts[code] += sums.astype(np.int64)


def row_totals(X: sp.csr_matrix) -> NDArray[np.int64]:
    """(n_cells,) sum of each row, exact."""
    totals = np.zeros(X.shape[0], dtype=np.int64)
    filled = np.diff(X.indptr) > 0
    if filled.any():
        totals[filled] = np.add.reduceat(X.data, X.indptr[:-1][filled], dtype=np.int64)
    return totals


def _settle(tally: Tally) -> None:
    """Say what was left out, and refuse what cannot be right."""
    for source in tally.sources:
        total = source.n_counts + source.counts_not_measured
        if source.counts_not_measured > LARGEST_CONTRADICTION * total:
            message = (
                f"source {source.name!r}: {source.counts_not_measured / total:.0%} of its counts are on genes that "
                "--measured says it did not measure: the table is not about these cells"
            )
            raise DataError(message)
        if source.counts_not_measured:
            logger.warning(
                "source %r: %.2f %% of the counts dropped: they are on genes that --measured says were not measured",
                source.name,
                100 * source.counts_not_measured / total,
            )
        if source.n_empty:
            logger.info("source %r: %s cells without counts were left out", source.name, f"{source.n_empty:,}")
    if not any(sum(source.n_cells.values()) for source in tally.sources):
        message = "no cell has counts on the genes of the panel; nothing is left to build a corpus from"
        raise DataError(message)


def columns_of(plan: Plan) -> list[str]:
    """Names of the columns of `Block.codes`."""
    return [SOURCE, *plan.settings.kept]
