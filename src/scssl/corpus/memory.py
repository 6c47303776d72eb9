"""A corpus in memory, from one AnnData: the same checks, splits and order as on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scssl.corpus.manifest import SPLITS
from scssl.corpus.plan import make_plan
from scssl.corpus.shard import Shard, smallest_dtype
from scssl.corpus.store import Corpus
from scssl.corpus.stream import Block, Tally, columns_of, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scssl.corpus.settings import BuildSettings


def build_in_memory(adata: AnnData, *, settings: BuildSettings) -> Corpus:
    """Make a corpus of one shard per split in memory; see `Corpus.from_anndata`."""
    plan = make_plan([adata], settings)
    tally = Tally.of(plan)
    parts: dict[str, list[Block]] = {split: [] for split in SPLITS}
    for block in stream(plan, tally):
        for position, split in enumerate(SPLITS):
            rows = np.flatnonzero(block.split == position)
            if rows.size:
                parts[split].append(take(block, rows))
    shards, first = [], 0
    for position, split in enumerate(SPLITS):
        if parts[split]:
            rng = np.random.default_rng([settings.seed, 2, position])
            shard = make_shard(parts.pop(split), rng, split=split, first_cell=first, columns=columns_of(plan))
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
        report=tally.as_dict(),
    )


def take(block: Block, rows: np.ndarray) -> Block:
    """Choose some cells of a block."""
    return Block(block.X[rows], block.codes[rows], block.split[rows], block.n_counts[rows], block.names[rows])


def make_shard(
    blocks: list[Block], rng: np.random.Generator, *, split: str, first_cell: int, columns: Sequence[str]
) -> Shard:
    """Join blocks to a shard, its cells in random order and its counts in the smallest type; empties `blocks`."""
    n_genes = blocks[0].X.shape[1]
    X = sp.vstack([block.X for block in blocks], format="csr")
    codes = np.concatenate([block.codes for block in blocks])
    n_counts = np.concatenate([block.n_counts for block in blocks])
    names = np.concatenate([block.names for block in blocks])
    # From here on the cells are held twice at most.
    blocks.clear()
    order = rng.permutation(X.shape[0])
    X = X[order]
    return Shard(
        split=split,
        first_cell=first_cell,
        values=X.data.astype(smallest_dtype(int(X.data.max(initial=0))), copy=False),
        indices=X.indices.astype(smallest_dtype(n_genes - 1)),
        indptr=X.indptr.astype(np.int64),
        n_counts=n_counts[order],
        codes={column: np.ascontiguousarray(codes[order, i]) for i, column in enumerate(columns)},
        names=names[order],
    )
