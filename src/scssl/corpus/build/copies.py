"""Copies: cells that several sources contain, recognised by their barcode and their counts.

Files that hold the same cells often differ in their genes (all, the variable ones, a targeted panel), in what they put
before and after the barcode, and, where gene names were matched differently, in the counts of a few genes. So barcodes
are compared without what surrounds them, and counts on the genes that both sources measured, most of which must be
equal. As whole cells would not fit into memory, each is remembered by a `Sketch`: its first expressed genes in an order
that is the same for all cells, so that sketches of one cell overlap whatever was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.corpus.build.barcodes import barcode_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import scipy.sparse as sp
    from numpy.typing import NDArray

__all__ = ["Sketch", "barcode_keys", "find_copies", "gene_order", "matching_pairs", "sketch"]

N_ENTRIES: Final = 32
"""Expressed genes that a sketch keeps of a cell."""
MIN_EQUAL: Final = 6
"""Genes with equal counts that copies must have; with fewer, different cells on a small panel look alike by chance."""
MIN_SHARE: Final = 0.7
"""Share of (gene, count) entries of either cell that both must have. Copies reach 0.8, other cells stay below 0.6."""
LARGEST_GROUP: Final = 128
"""Cells with the same key that are compared pair by pair; in larger groups only equal sketches are copies."""
_PAIRS_AT_ONCE: Final = 1 << 14
_GLANCE: Final = 12
"""Entries that are compared first: they tell nearly all pairs of different cells apart."""


def gene_order(panel_ids: Sequence[str] | NDArray[Any], measured: NDArray[np.bool_] | None = None) -> NDArray[np.int32]:
    """Put genes into an order that is random but always the same.

    Parameters
    ----------
    panel_ids
        Gene IDs of the panel.
    measured
        (n_sources, n_genes). With it, genes come first that are measured by sources with few genes, and by many
        sources: sketches then hold what sources have in common, down to panels of a hundred genes.

    Returns
    -------
    numpy.ndarray
        (n_genes,) int32, rank of each gene, from 0. Without `measured`, which of two genes comes first depends on
        their IDs alone, not on the rest of the panel.
    """
    digests = b"".join(blake2b(str(gene).encode(), digest_size=8, person=b"order").digest() for gene in panel_ids)
    drawn = np.frombuffer(digests, dtype="<u8")
    weight = np.zeros(len(drawn))
    for row in () if measured is None else measured:
        weight += row / max(1, row.sum())
    rank = np.empty(len(drawn), dtype=np.int32)
    rank[np.lexsort((drawn, -weight))] = np.arange(len(drawn), dtype=np.int32)
    return rank


@dataclass(frozen=True)
class Sketch:
    """The first expressed genes of some cells, in the order of `gene_order`."""

    genes: NDArray[np.int32]
    """(n, K) positions in the panel, in the order of their ranks; -1 after the last of a cell with fewer."""
    counts: NDArray[np.int32]
    """(n, K) raw counts, at most 2**31 - 1; 0 where there is no gene."""
    rank: NDArray[np.int32]
    """(n_genes,) the order."""

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.genes)

    @classmethod
    def join(cls, parts: Iterable[Sketch]) -> Sketch:
        """Put sketches made with the same order one after the other."""
        parts = list(parts)
        genes = np.concatenate([part.genes for part in parts])
        return cls(genes, np.concatenate([part.counts for part in parts]), parts[0].rank)


def sketch(X: sp.csr_matrix, rank: NDArray[np.int32], *, n_entries: int = N_ENTRIES) -> Sketch:
    """Take the first expressed genes of each cell.

    Parameters
    ----------
    X
        (n, n_genes) raw counts over the panel; stored zeros and unsorted indices do no harm, repeated ones do.
    rank
        From `gene_order`.
    n_entries
        Genes to take per cell.
    """
    n, n_genes = X.shape
    genes = np.full((n, n_entries), -1, dtype=np.int32)
    counts = np.zeros((n, n_entries), dtype=np.int32)
    # Most genes of a cell come too late to matter: they are left out before anything is sorted. Twice as many as are
    # needed by an average cell remain; the few cells with too few early genes get another round.
    seen = np.cumsum(np.bincount(rank[X.indices], minlength=n_genes))
    limit = max(1, int(np.searchsorted(seen, 2 * n_entries * n)))
    todo = np.arange(n)
    while todo.size:
        part = X if todo.size == n else X[todo]
        at = np.flatnonzero(rank[part.indices] < limit)
        at = at[part.data[at] != 0]
        rows = np.searchsorted(part.indptr, at, side="right") - 1
        order = np.argsort(rows * np.int64(n_genes) + rank[part.indices[at]])
        at, rows = at[order], rows[order]
        length = np.bincount(rows, minlength=todo.size)
        done = (length >= n_entries) | (limit >= n_genes)
        place = np.arange(len(at)) - np.repeat(np.cumsum(length) - length, length)
        taken = (place < n_entries) & done[rows]
        at, cell, place = at[taken], todo[rows[taken]], place[taken]
        genes[cell, place] = part.indices[at]
        counts[cell, place] = np.minimum(part.data[at].astype(np.int64), np.iinfo(np.int32).max)
        todo = todo[~done]
        limit = min(n_genes, 4 * limit)
    return Sketch(genes, counts, rank)


def find_copies(
    keys: NDArray[np.uint64], source: NDArray[np.integer], sketches: Sketch, measured: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Find the cells that are copies of earlier ones.

    A copy of a copy counts as a copy of the first of them; cells of one source can be copies too (a file that was
    joined with itself).

    Parameters
    ----------
    keys, source, sketches, measured
        See `matching_pairs`.

    Returns
    -------
    numpy.ndarray
        (n,) int64: number of the first cell that each is a copy of, which is none itself; -1 for cells to keep.
    """
    n = len(keys)
    first = np.full(n, n, dtype=np.int64)
    for earlier, later in matching_pairs(keys, source, sketches, measured):
        np.minimum.at(first, later, earlier)
    copy_of = np.where(first < n, first, -1)
    while True:
        chained = np.flatnonzero((copy_of >= 0) & (copy_of[copy_of] >= 0))
        if chained.size == 0:
            return copy_of
        copy_of[chained] = copy_of[copy_of[chained]]


def matching_pairs(
    keys: NDArray[np.uint64], source: NDArray[np.integer], sketches: Sketch, measured: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Find all pairs of cells that are copies of each other.

    Two cells are copies if they have the same key and, of the entries (gene, count) that either has on the genes that
    both their sources measured, as far as both sketches reach, both have at least `MIN_SHARE` and `MIN_EQUAL`. Of more
    than `LARGEST_GROUP` cells with one key, those with equal sketches are copies.

    Parameters
    ----------
    keys
        (n,) from `barcode_keys`.
    source
        (n,) code of the source.
    sketches
        Of the n cells, of genes that their sources measured.
    measured
        (n_sources, n_genes) which genes each source measured.

    Yields
    ------
    earlier, later : numpy.ndarray
        (n_pairs,) int64 each, numbers of cells. Of large groups, each cell comes with the first one like it only.
    """
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(keys[order]) != 0])[: len(keys)])
    size = np.diff(starts, append=len(keys))
    large = size > LARGEST_GROUP
    if large.any():
        yield _equal(order[np.repeat(large, size)], keys, sketches)
    end = np.repeat(np.where(large, starts, starts + size), size)
    # equal + either <= 2 K and equal >= s either: so at most this many entries of copies differ.
    n_entries = sketches.genes.shape[1]
    most = math.ceil(2 * n_entries * (1 - MIN_SHARE) / (1 + MIN_SHARE))
    for earlier, later in _same_key(order, end):
        equal, either = _compare(earlier, later, source, sketches, measured, n_entries=_GLANCE)
        maybe = either - equal <= most
        earlier, later = earlier[maybe], later[maybe]
        equal, either = _compare(earlier, later, source, sketches, measured, n_entries=n_entries)
        alike = (equal >= MIN_EQUAL) & (equal >= MIN_SHARE * either)
        if alike.any():
            yield earlier[alike], later[alike]


def _same_key(
    order: NDArray[np.int64], end: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of cells in the same group, the earlier one first; `end` is where the group of each place ends."""
    place, distance = np.arange(len(order)), 1
    while True:
        place = place[place + distance < end[place]]
        if place.size == 0:
            return
        for start in range(0, len(place), _PAIRS_AT_ONCE):
            part = place[start : start + _PAIRS_AT_ONCE]
            yield order[part], order[part + distance]
        distance += 1


def _compare(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    source: NDArray[np.integer],
    sketches: Sketch,
    measured: NDArray[np.bool_],
    *,
    n_entries: int,
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """(n_pairs,) entries that both cells have, and that either has, as far as the first `n_entries` of both reach."""
    genes = [sketches.genes[cells, :n_entries] for cells in (a, b)]
    ranks = [np.where(g >= 0, sketches.rank[g], sketches.rank.size) for g in genes]
    reach = np.minimum(ranks[0][:, -1:], ranks[1][:, -1:])
    entries = []
    for g, r, mine, other in zip(genes, ranks, (a, b), (b, a), strict=True):
        # Its own source measured every gene of a sketch.
        used = (g >= 0) & (r <= reach) & measured[source[other][:, None], g]
        entries.append(np.where(used, _entry_hash(g, sketches.counts[mine, :n_entries]), np.uint64(0)))
    together = np.sort(np.concatenate(entries, axis=1), axis=1)
    total = np.count_nonzero(together, axis=1)
    equal = np.count_nonzero((together[:, 1:] == together[:, :-1]) & (together[:, 1:] != 0), axis=1)
    return equal, total - equal


def _equal(
    cells: NDArray[np.int64], keys: NDArray[np.uint64], sketches: Sketch
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair each cell with the first of equal key and sketch."""
    total = np.zeros(len(cells), dtype=np.uint64)
    for start in range(0, len(cells), _PAIRS_AT_ONCE):
        part = cells[start : start + _PAIRS_AT_ONCE]
        # An empty place has a hash as well: cells with fewer genes differ.
        hashes = _entry_hash(sketches.genes[part], sketches.counts[part])
        total[start : start + _PAIRS_AT_ONCE] = hashes.sum(axis=1, dtype=np.uint64)
    order = np.lexsort((cells, total, keys[cells]))
    new = np.ones(len(cells), dtype=bool)
    new[1:] = (np.diff(total[order]) != 0) | (np.diff(keys[cells[order]]) != 0)
    first = cells[order][new][np.cumsum(new) - 1]
    copies = ~new & ((sketches.genes[first] >= 0).sum(axis=1) >= MIN_EQUAL)
    return first[copies], cells[order][copies]


def _entry_hash(genes: NDArray[np.integer], counts: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Mix genes and their counts to 64 bits (SplitMix64): equal for equal entries, and for no others in practice."""
    value = (genes.astype(np.uint64) << np.uint64(32)) ^ counts.astype(np.uint64)
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
