"""A corpus in memory, from one AnnData: the same checks, splits and order as on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.corpus.build.copies import gene_order
from scssl.corpus.build.duplicates import find_dropped, records
from scssl.corpus.build.plan import make_plan
from scssl.corpus.build.read import Block, close_files, columns_of, read_part, settle
from scssl.corpus.build.spill import join
from scssl.corpus.build.tally import Tally, report_files
from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.format.shard import Shard, smallest_dtype
from scssl.corpus.store import Corpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scssl.corpus.build.plan import Plan
    from scssl.corpus.settings import BuildSettings


def build_in_memory(adata: AnnData, *, settings: BuildSettings) -> Corpus:
    """Make a corpus of one shard per split in memory; see `Corpus.from_anndata`."""
    plan = make_plan([adata], settings)
    tally = Tally.empty(*plan.measured.shape, present=np.arange(len(plan.sources)))
    try:
        blocks = [block for part in plan.parts for block in read_part(plan.layout, plan.files[0], part, tally)]
    finally:
        close_files()
    plan.files[0].genes.judge(tally.seen)
    blocks = _drop_copies(plan, blocks, tally) if settings.duplicates == "drop" else blocks
    settle(plan, tally)
    shards, first = [], 0
    for position, split in enumerate(SPLITS):
        chosen = [(block, np.flatnonzero(block.split == position)) for block in blocks]
        parts = [block.take(rows) for block, rows in chosen if rows.size]
        if parts:
            rng = np.random.default_rng([settings.seed, 2, position])
            shard = make_shard(parts, rng, split=split, first_cell=first, columns=columns_of(plan))
            shards.append(shard)
            first += shard.n_cells
    return Corpus(
        panel=plan.panel,
        sources=plan.sources,
        categories=plan.categories,
        measured=plan.measured,
        gene_counts=tally.gene_counts,
        shards=shards,
        settings=settings.as_dict(),
        report={"files": report_files(plan), "sources": tally.sources(plan)},
    )


def _drop_copies(plan: Plan, blocks: list[Block], tally: Tally) -> list[Block]:
    rank = gene_order(plan.panel.ids.tolist(), plan.measured)
    found = [records(block, np.zeros(block.cell.size, dtype=np.int64), rank) for block in blocks]
    dropped = find_dropped(found, rank, plan.measured)["cell"]
    if not dropped.size:
        return blocks
    kept = []
    for block in blocks:
        gone = np.isin(block.cell, dropped)
        lost = block.take(np.flatnonzero(gone))
        removed = Tally.empty(*plan.measured.shape, present=np.arange(len(plan.sources)))
        removed.count(lost.X, lost.codes[:, 0], lost.split, lost.n_counts)
        tally.drop(removed)
        kept.append(block.take(np.flatnonzero(~gone)))
    return kept


def make_shard(
    blocks: list[Block], rng: np.random.Generator, *, split: str, first_cell: int, columns: Sequence[str]
) -> Shard:
    """Join blocks to a shard, its cells in random order and its counts in the smallest type; empties `blocks`."""
    n_genes = blocks[0].X.shape[1]
    joined = join(blocks)
    # From here on the cells are held twice at most.
    blocks.clear()
    joined = joined.take(rng.permutation(joined.X.shape[0]))
    X = joined.X
    return Shard(
        split=split,
        first_cell=first_cell,
        values=X.data.astype(smallest_dtype(int(X.data.max(initial=0))), copy=False),
        indices=X.indices.astype(smallest_dtype(n_genes - 1)),
        indptr=X.indptr.astype(np.int64),
        n_counts=joined.n_counts,
        codes={column: np.ascontiguousarray(joined.codes[:, i]) for i, column in enumerate(columns)},
        names=joined.names,
    )
