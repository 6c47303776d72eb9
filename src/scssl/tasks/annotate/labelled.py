"""The labelled cells of a reference as a corpus in memory, with whole donors set apart for validation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scssl.corpus.format.shard import SOURCE, Shard, smallest_dtype
from scssl.corpus.store import Corpus
from scssl.log import logger
from scssl.tasks.annotate.donors import choose_donors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from numpy.typing import NDArray

    from scssl.corpus.batch import CellBatch
    from scssl.genes import GenePanel

LABEL = "label"
"""Column of the corpus with the labels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledCorpus(Corpus):
    """A corpus of labelled cells that were read onto the panel of a model, with that model's view of small panels."""

    share: NDArray[np.float32] | None = None
    """(n_genes,) share of a typical cell's counts per gene, of the model; None to estimate it from these cells."""
    rows: NDArray[np.int64]
    """(n_cells,) per cell of the corpus its place among the labelled cells, in the order of the corpus' numbers."""

    def gene_share(self) -> NDArray[np.float32]:
        """(n_genes,) share of a typical cell's counts that falls on each gene."""
        return super().gene_share() if self.share is None else self.share.copy()

    def divided(self, *, train: NDArray[np.bool_], validation: NDArray[np.bool_], seed: int) -> LabelledCorpus:
        """Divide the same cells anew.

        Parameters
        ----------
        train, validation
            (n_labelled,) cells to learn from, and to set apart; what is in neither is left out.
        seed
            Of the order of the cells.
        """
        order = np.argsort(self.rows)
        counts = _Counts.of(self.shards, order)
        codes = np.concatenate([np.asarray(shard.codes[LABEL][:]) for shard in self.shards])[order]
        shards, rows = _shards(counts, codes=codes.astype(np.int64), train=train, validation=validation, seed=seed)
        return replace(self, shards=shards, rows=rows, gene_counts=_gene_counts(shards, n_genes=len(self.panel)))


def gather_labelled(
    batches: Iterable[CellBatch],
    panel: GenePanel,
    *,
    kept: NDArray[np.bool_],
    codes: NDArray[np.int64],
    classes: list[str],
    validation: NDArray[np.bool_],
    share: NDArray[np.float32] | None,
    name: str,
    seed: int,
) -> LabelledCorpus:
    """Gather the labelled cells of a reference, as a query of the same file would be read.

    Parameters
    ----------
    batches
        All cells of the reference, in order.
    panel
        Genes that they are on.
    kept
        (n_cells,) the labelled ones.
    codes
        (n_labelled,) labels.
    classes
        Names of the labels.
    validation
        (n_labelled,) cells to set apart.
    share
        See `LabelledCorpus`.
    name
        What the reference is called.
    seed
        Of the order of the cells.
    """
    values, indices, lengths, totals, first = [], [], [], [], 0
    measured = np.zeros(len(panel), dtype=bool)
    for batch in batches:
        rows = np.flatnonzero(kept[first : first + batch.n_cells])
        first += batch.n_cells
        length = np.diff(batch.indptr.numpy())
        wanted = np.repeat(np.isin(np.arange(batch.n_cells), rows), length)
        values.append(batch.values.numpy()[wanted])
        indices.append(batch.indices.numpy()[wanted].astype(smallest_dtype(len(panel) - 1)))
        lengths.append(length[rows])
        totals.append(batch.size_factor.numpy()[rows].astype(np.int64))
        measured |= batch.measured.numpy().any(axis=0)
    counts = _Counts(*(np.concatenate(parts) for parts in (values, indices, lengths, totals)))
    shards, rows = _shards(counts, codes=codes, train=~validation, validation=validation, seed=seed)
    return LabelledCorpus(
        panel=panel,
        sources=[name],
        categories={LABEL: classes},
        measured=measured[None],
        gene_counts=_gene_counts(shards, n_genes=len(panel)),
        shards=shards,
        settings={},
        report={},
        share=share,
        rows=rows,
    )


def _shards(
    counts: _Counts,
    *,
    codes: NDArray[np.int64],
    train: NDArray[np.bool_],
    validation: NDArray[np.bool_],
    seed: int,
) -> tuple[list[Shard], NDArray[np.int64]]:
    """Return a shard per split that has cells, and the place of each of their cells among the labelled ones."""
    rng = np.random.default_rng([seed, 0x1ABE])
    shards: list[Shard] = []
    order: list[NDArray[np.int64]] = []
    for split, chosen in (("train", train), ("val", validation)):
        rows = np.flatnonzero(chosen)
        if rows.size:
            rows = rng.permutation(rows) if split == "train" else rows
            shards.append(counts.shard(rows, codes=codes, split=split, first_cell=sum(map(len, order))))
            order.append(rows)
    return shards, np.concatenate(order)


def _gene_counts(shards: list[Shard], *, n_genes: int) -> NDArray[np.int64]:
    """(1, n_genes) counts of the training cells."""
    train = shards[0]
    genes = np.asarray(train.indices[:]).astype(np.int64)
    per_gene = np.bincount(genes, weights=np.asarray(train.values[:], dtype=np.float64), minlength=n_genes)
    return per_gene.astype(np.int64)[None]


class _Counts:
    """Counts of cells, compressed by row."""

    def __init__(
        self,
        values: NDArray[np.integer],
        indices: NDArray[np.integer],
        lengths: NDArray[np.int64],
        totals: NDArray[np.int64],
    ) -> None:
        self.values, self.indices, self.totals = values, indices, totals
        self.indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

    @classmethod
    def of(cls, shards: list[Shard], order: NDArray[np.int64]) -> Self:
        """Gather the cells of shards, in an order of all of them."""
        indices, values = (
            np.concatenate([np.asarray(part[:]) for part in parts])
            for parts in ([shard.indices for shard in shards], [shard.values for shard in shards])
        )
        lengths = np.concatenate([np.diff(np.asarray(shard.indptr[:])) for shard in shards])
        totals = np.concatenate([np.asarray(shard.n_counts[:]) for shard in shards])
        indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        taken = _stored(indptr, order)
        return cls(values[taken], indices[taken], lengths[order], totals[order])

    def shard(self, rows: NDArray[np.int64], *, codes: NDArray[np.int64], split: str, first_cell: int) -> Shard:
        indptr = np.concatenate([[0], np.cumsum(np.diff(self.indptr)[rows], dtype=np.int64)])
        taken = _stored(self.indptr, rows)
        values = self.values[taken]
        return Shard(
            split=split,
            first_cell=first_cell,
            values=values.astype(smallest_dtype(int(values.max(initial=0)))),
            indices=self.indices[taken],
            indptr=indptr,
            n_counts=self.totals[rows],
            codes={SOURCE: np.zeros(len(rows), dtype=np.int32), LABEL: codes[rows].astype(np.int32)},
            names=rows.astype(str).astype(object),
        )


def _stored(indptr: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the stored values of some rows, one row after the other."""
    lengths = np.diff(indptr)[rows]
    ends = np.cumsum(lengths, dtype=np.int64)
    places: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(indptr[rows] - (ends - lengths), lengths)
    return places


def choose_validation(
    codes: NDArray[np.int64], donors: NDArray[np.int64] | None, *, share: float, seed: int
) -> tuple[NDArray[np.bool_], bool]:
    """Set whole donors apart for validation, such that every label keeps cells to learn from.

    Parameters
    ----------
    codes
        (n_cells,) labels.
    donors
        (n_cells,) codes, -1 where not known; None for cells one by one.
    share
        Share of the cells wanted.
    seed
        Decides which.

    Returns
    -------
    chosen : numpy.ndarray
        (n_cells,) the cells set apart; none where a label would be lost by any choice.
    by_donor : bool
        Whether whole donors were chosen. Where every donor has a label of its own, cells are.
    """
    if share == 0:
        return np.zeros(len(codes), dtype=bool), donors is not None
    if donors is not None:
        held, n_labels = choose_donors(codes, donors, share=share, seed=seed)
        n_all = len(np.unique(codes))
        if n_labels >= min(2, n_all):
            if n_labels < n_all:
                logger.info("the validation donors have %d of %d labels; the others are not judged", n_labels, n_all)
            return np.isin(donors, held), True
        logger.warning(
            "validation is by cells, not donors: there are no donors with two labels or more without whom every label "
            "still has cells to learn from"
        )
    chosen = np.zeros(len(codes), dtype=bool)
    rng = np.random.default_rng([seed, 0x7A11])
    for code in np.unique(codes):
        rows = rng.permutation(np.flatnonzero(codes == code))
        # A label seen once is learned from.
        n = int(share * len(rows) + rng.random())
        chosen[rows[: min(n, len(rows) - 1)]] = True
    return chosen, False
