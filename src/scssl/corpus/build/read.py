"""The cells of a plan's files as checked, harmonised blocks: the one way from files into a corpus."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.corpus.build import plan as planning
from scssl.corpus.build.cells import CellTable, Coded, read_cells
from scssl.corpus.build.quality import REASONS, low_quality
from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.format.shard import SOURCE, smallest_dtype
from scssl.corpus.sources.source import CellSource, open_source
from scssl.corpus.sources.values import check_counts
from scssl.errors import DataError
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scssl.corpus.build.plan import FilePlan, Layout, Part, Plan
    from scssl.corpus.build.tally import Tally

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
    cell: NDArray[np.int64]
    """(n_cells,) number of the cell among all that were read: file and row in it."""

    def take(self, rows: NDArray[Any]) -> Block:
        """Choose some cells."""
        parts = (self.X, self.codes, self.split, self.n_counts, self.names, self.cell)
        return Block(*(part[rows] for part in parts))


def check_first_cells(plan: Plan) -> None:
    """Look at the first cells of every file, so that a build fails in its first seconds and not in its last hour.

    Raises
    ------
    DataError
        If the values are no counts, or fall outside the panel.
    """
    layer = plan.settings.layer
    for file in plan.files:
        with open_source(file.origin, layer=layer, obs_columns=()) as source:
            first = source.rows(0, CHECKED)
            check_counts(first, file=file.file, layer=layer, first_row=0)
            file.genes.judge(file.genes.count(first))


def read_part(layout: Layout, file: FilePlan, part: Part, tally: Tally) -> Iterator[Block]:
    """Read a range of cells of a file.

    Parameters
    ----------
    layout
        The corpus that they go into.
    file, part
        What to read.
    tally
        Counted into.

    Yields
    ------
    Block
        Cells in the order of the file; the split of each depends on the seed and its place in the file only.
    """
    source, cells = _opened(layout, file, part.file)
    layer, seed = layout.settings.layer, layout.settings.seed
    for rows, X in _chunks(source, part, cells.keep):
        chunk = rows.start // planning.CHUNK
        check_counts(X, file=file.file, layer=layer, first_row=rows.start)
        # Drawn for all cells of the chunk, so that a cell's split does not depend on which others are kept.
        rng = np.random.default_rng([seed, 1, layout.generation, part.file, chunk])
        drawn = _draw_splits(rng, X.shape[0], layout) if cells.split is None else cells.split[rows]
        block = _block(layout, file, part.file, cells, rows, X, drawn, tally)
        if block is not None:
            yield block


def _chunks(source: CellSource, part: Part, keep: NDArray[np.bool_]) -> Iterator[tuple[slice, sp.csr_matrix]]:
    if part.start == 0 and part.stop == source.n_cells:
        yield from source.chunks(planning.CHUNK)
        return
    for start in range(part.start, part.stop, planning.CHUNK):
        rows = slice(start, min(start + planning.CHUNK, part.stop))
        if keep[rows].any():
            yield rows, source.rows(rows.start, rows.stop)


_open: dict[Any, Any] = {}
"""The file that this process read last: its parts mostly come one after the other."""


def _opened(layout: Layout, file: FilePlan, number: int) -> tuple[CellSource, _Codes]:
    key = (file.file, number, layout.generation, id(file.origin) if file.file == file.name else None)
    if key not in _open:
        close_files()
        settings = layout.settings
        with ExitStack() as stack:
            source = stack.enter_context(open_source(file.origin, layer=settings.layer, obs_columns=settings.read))
            cells = _Codes.of(layout, file, read_cells(source, settings, name=file.name))
            _open[key] = (source, cells, stack.pop_all())
    source, cells, _ = _open[key]
    return source, cells


def close_files() -> None:
    """Close the file that was read last."""
    while _open:
        _, (_, _, stack) = _open.popitem()
        stack.close()


@dataclass(frozen=True)
class _Codes:
    """Per cell of a file, codes as the corpus counts them."""

    keep: NDArray[np.bool_]
    codes: NDArray[np.int32]
    split: NDArray[np.int8] | None
    names: NDArray[np.object_]

    @classmethod
    def of(cls, layout: Layout, file: FilePlan, cells: CellTable) -> _Codes:
        # A source whose cells are all left out by the condition has no code.
        source = np.array([*(file.sources.get(name, -1) for name in cells.source.names), -1], dtype=np.int32)
        columns = [source[cells.source.codes]]
        columns += [_translate(cells.columns[column], layout.categories[column]) for column in layout.settings.kept]
        split = None
        if not layout.settings.by_cell:
            splits = layout.splits
            of_group = [SPLITS.index(splits[g]) if g in splits else -1 for g in cells.group.names]
            split = np.array([*of_group, -1], dtype=np.int8)[cells.group.codes]
        return cls(cells.keep, np.stack(columns, axis=1), split, cells.names)


def _translate(column: Coded, categories: list[str]) -> NDArray[np.int32]:
    position = {name: i for i, name in enumerate(categories)}
    return np.array([*(position.get(name, -1) for name in column.names), -1], dtype=np.int32)[column.codes]


def _block(
    layout: Layout,
    file: FilePlan,
    number: int,
    cells: _Codes,
    rows: slice,
    X: sp.csr_matrix,
    split: NDArray[np.int8],
    tally: Tally,
) -> Block | None:
    chosen = np.flatnonzero(cells.keep[rows])
    if chosen.size == 0:
        return None
    X = X if chosen.size == X.shape[0] else X[chosen]
    if layout.settings.filters_quality:
        source = cells.codes[rows.start + chosen, 0]
        reason = low_quality(X, layout.settings, genes=file.genes.genes, mitochondrial=file.mitochondrial)
        for position in range(len(REASONS)):
            codes = source[reason == position]
            tally.n_low_quality[:, position] += np.bincount(codes, minlength=len(layout.sources))
        chosen, X = chosen[reason < 0], X[reason < 0]
    tally.seen += file.genes.count(X)
    kept = file.genes.apply(X)
    dtype = smallest_dtype(int(kept.data.max(initial=0)), file=file.file)
    kept = sp.csr_matrix((kept.data.astype(dtype), kept.indices, kept.indptr), shape=kept.shape)
    source = cells.codes[rows.start + chosen, 0]
    if layout.settings.measured is not None:
        kept = _drop_not_measured(kept, source, layout, tally)
    empty = np.diff(kept.indptr) == 0
    if empty.any():
        tally.n_empty += np.bincount(source[empty], minlength=len(layout.sources))
        kept, chosen, source = kept[~empty], chosen[~empty], source[~empty]
    if chosen.size == 0:
        return None
    row = rows.start + chosen
    totals = row_totals(kept)
    tally.count(kept, source, split[chosen], totals)
    names = cells.names[row]
    if layout.named:
        names = np.array([f"{file.name}:{name}" for name in names], dtype=object)
    return Block(kept, cells.codes[row], split[chosen], totals, names, (np.int64(number) << 40) + row)


def _draw_splits(rng: np.random.Generator, n: int, layout: Layout) -> NDArray[np.int8]:
    edges = np.cumsum([1 - layout.settings.val - layout.settings.test, layout.settings.val])
    return np.searchsorted(edges, rng.random(n), side="right").astype(np.int8)


def _drop_not_measured(X: sp.csr_matrix, source: NDArray[np.int32], layout: Layout, tally: Tally) -> sp.csr_matrix:
    row = np.repeat(source, np.diff(X.indptr))
    wrong = ~layout.measured[row, X.indices]
    if not wrong.any():
        return X
    lost = np.bincount(row[wrong], weights=X.data[wrong], minlength=len(layout.sources))
    tally.counts_not_measured += lost.astype(np.int64)
    X = X.copy()
    X.data[wrong] = 0
    X.eliminate_zeros()
    return X


def row_totals(X: sp.csr_matrix) -> NDArray[np.int64]:
    """(n_cells,) sum of each row, exact."""
    totals = np.zeros(X.shape[0], dtype=np.int64)
    filled = np.diff(X.indptr) > 0
    if filled.any():
        totals[filled] = np.add.reduceat(X.data, X.indptr[:-1][filled], dtype=np.int64)
    return totals


def settle(plan: Plan, tally: Tally) -> None:
    """Say what was left out, and refuse what cannot be right.

    Raises
    ------
    DataError
        If a source's counts contradict what it is said to have measured, or no cell is left.
    """
    for code, name in enumerate(plan.sources):
        wrong = int(tally.counts_not_measured[code])
        total = int(tally.n_counts[code]) + wrong
        if wrong > LARGEST_CONTRADICTION * total:
            message = (
                f"source {name!r}: {wrong / total:.0%} of its counts are on genes that --measured says it did not "
                "measure: the table is not about these cells"
            )
            raise DataError(message)
        if wrong:
            logger.warning(
                "source %r: %.2f %% of the counts dropped: they are on genes that --measured says were not measured",
                name,
                100 * wrong / total,
            )
        copies = int(tally.n_copies[code])
        left_out = {"without counts": int(tally.n_empty[code]), "that are copies of other cells": copies}
        left_out |= {f"({reason})": int(tally.n_low_quality[code, i]) for i, reason in enumerate(REASONS)}
        for why, n in left_out.items():
            if n:
                logger.info("source %r: left out %s %s %s", name, f"{n:,}", "cell" if n == 1 else "cells", why)
    if not tally.n_cells.any() and tally.n_copies.any():
        n = int(tally.n_copies.sum())
        message = f"all {n:,} cells are copies of cells that the corpus has already: nothing to add"
        raise DataError(message)
    if not tally.n_cells.any():
        filtered = " meets the limits of quality and" if plan.settings.filters_quality else ""
        more = "" if len(plan.files) == 1 else f" and {len(plan.files) - 1:,} more"
        message = (
            f"{plan.files[0].file}{more}: no cell{filtered} has counts on the genes of the panel; nothing is left to "
            "build a corpus from"
        )
        raise DataError(message)


def columns_of(plan: Plan) -> list[str]:
    """Names of the columns of `Block.codes`."""
    return [SOURCE, *plan.settings.kept]
