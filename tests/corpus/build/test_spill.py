"""What goes into buckets comes out again, whatever it was, and lands in the same bucket however the work is cut."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scssl.corpus.build import spill
from scssl.corpus.build.read import Block
from scssl.corpus.build.spill import Spill, join, read_bucket

N_GENES = 70_000
FIRST = np.array([0, 3, 4, 6])


def block_of(rng, n, first):
    counts = rng.poisson(0.4, (n, 40)) * rng.choice([1, 100_000], (n, 40), p=[0.95, 0.05])
    X = sp.csr_matrix((n, N_GENES), dtype=np.uint32)
    X = sp.csr_matrix(
        sp.hstack([sp.csr_matrix((n, N_GENES - 40), dtype=np.uint32), sp.csr_matrix(counts, dtype=np.uint32)])
    )
    names = np.array([f"cell {i}: é" for i in range(first, first + n)], dtype=object)
    return Block(
        X,
        rng.integers(-1, 5, (n, 2)).astype(np.int32),
        rng.integers(0, 3, n).astype(np.int8),
        counts.sum(axis=1).astype(np.int64),
        names,
        np.arange(first, first + n) + (1 << 40),
    )


def table(blocks):
    """One row per cell, sorted."""
    whole = join(blocks)
    rows = []
    for i in range(whole.cell.size):
        row = whole.X[i]
        rows.append(
            (
                int(whole.cell[i]),
                whole.names[i],
                int(whole.split[i]),
                int(whole.n_counts[i]),
                whole.codes[i].tolist(),
                row.indices.tolist(),
                row.data.tolist(),
            )
        )
    return sorted(rows)


def spilled(folder, blocks):
    folder.mkdir()
    writer = Spill(folder / "000000", first_bucket=FIRST, key=[7])
    buckets = np.concatenate([writer.add(block) for block in blocks])
    writer.flush()
    found = {}
    for bucket in range(FIRST[-1]):
        split = int(np.searchsorted(FIRST, bucket, side="right")) - 1
        parts = list(read_bucket(folder, bucket, split=split, n_genes=N_GENES))
        if parts:
            found[bucket] = table(parts)
    return writer, buckets, found


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5), flush=st.sampled_from([1, 100, 10**9]), data=st.data()
)
def test_every_cell_comes_back(tmp_path_factory, sizes, flush, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    starts = np.cumsum([0, *sizes])
    blocks = [block_of(rng, n, int(first)) for n, first in zip(sizes, starts, strict=False)]
    folder = tmp_path_factory.mktemp("spill")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "FLUSH_NONZEROS", flush)
        writer, buckets, found = spilled(folder / "a", blocks)
    assert sorted(row for rows in found.values() for row in rows) == table(blocks)
    np.testing.assert_array_equal(writer.n_cells, np.bincount(buckets, minlength=FIRST[-1]))
    for bucket, rows in found.items():
        assert [row[0] for row in rows] == sorted(join(blocks).cell[buckets == bucket])
        split = int(np.searchsorted(FIRST, bucket, side="right")) - 1
        assert {row[2] for row in rows} == {split}
    # The same buckets when nothing is flushed in between.
    assert spilled(folder / "b", blocks)[2] == found


def test_buckets_are_even():
    blocks = [block_of(np.random.default_rng(i), 300, 300 * i) for i in range(10)]
    writer = Spill.__new__(Spill)
    Spill.__init__(writer, None, first_bucket=np.array([0, 5, 5 + 5, 15]), key=[1])
    buckets = np.concatenate([writer.add(block) for block in blocks])
    counts = np.bincount(buckets, minlength=15)
    assert counts.min() > 0.6 * counts.mean()
