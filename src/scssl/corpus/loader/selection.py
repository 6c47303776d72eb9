"""Which cells of a split a loader goes through: all, those for which a condition holds, or classes drawn equally."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.corpus.format.shard import N_COUNTS, SOURCE
from scssl.corpus.loader.balance import equal_draws
from scssl.corpus.where import Condition
from scssl.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.corpus.format.shard import Shard
    from scssl.corpus.store import Corpus, Split


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Cells of a split, named by their position in it, class after class.

    Without balancing there is one class.
    """

    cells: NDArray[np.integer] | None
    """(n_cells,) positions, ascending within each class; None for all cells of the split."""
    bounds: NDArray[np.int64]
    """(n_classes + 1,) where in `cells` each class starts."""
    max_repeats: int
    """How often a cell may be drawn in an epoch."""

    @property
    def n_cells(self) -> int:
        """Cells to choose from, and draws in an epoch."""
        return int(self.bounds[-1])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n_classes,) cells of each class."""
        return np.diff(self.bounds)

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        return 0 if self.cells is None else self.cells.nbytes

    def draws(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """(n_classes,) draws of each class in an epoch."""
        return equal_draws(self.sizes, max_repeats=self.max_repeats, rng=rng)


def select(
    corpus: Corpus, *, split: Split, where: str | None = None, balance: str | None = None, max_repeats: int = 10
) -> Selection:
    """Choose cells, reading the codes of one shard at a time.

    Parameters
    ----------
    corpus
        Where the cells are.
    split
        ``train``, ``val`` or ``test``.
    where
        Condition over ``source``, ``n_counts`` and the kept obs columns; see `Condition`.
    balance
        Column whose categories are the classes; cells without one are left out.
    max_repeats
        How often a cell may be drawn in an epoch, when balancing.

    Raises
    ------
    SettingsError
        If a column is not kept, or no cell is left.
    DataError
        If a column is compared with values of another kind than it holds.
    """
    shards = corpus.shards_of(split)
    n_all = sum(shard.n_cells for shard in shards)
    names = {SOURCE: corpus.sources, **corpus.categories}
    if max_repeats < 1:
        message = f"max_repeats={max_repeats} is not possible; it must be at least 1"
        raise SettingsError(message)
    if balance is not None and balance not in names:
        message = f"balance={balance!r} is no column of the corpus; it keeps: {', '.join(names)}"
        raise SettingsError(message)
    condition = None if where is None else _condition(where, known=[*names, N_COUNTS])
    if condition is None and balance is None:
        return Selection(cells=None, bounds=np.array([0, n_all]), max_repeats=1)

    n_classes = 1 if balance is None else len(names[balance])
    dtype = np.uint32 if n_all <= np.iinfo(np.uint32).max else np.int64
    parts: list[list[NDArray[Any]]] = [[] for _ in range(n_classes)]
    first = 0
    for shard in shards:
        holds = np.ones(shard.n_cells, dtype=bool) if condition is None else _holds(condition, shard, names)
        if balance is None:
            parts[0].append((first + np.flatnonzero(holds)).astype(dtype))
        else:
            codes = shard.read_codes(balance, n_names=n_classes)
            rows = np.flatnonzero(holds & (codes >= 0))
            rows = rows[np.argsort(codes[rows], kind="stable")]
            edges = np.searchsorted(codes[rows], np.arange(n_classes + 1))
            for number in np.flatnonzero(np.diff(edges)):
                parts[number].append((first + rows[edges[number] : edges[number + 1]]).astype(dtype))
        first += shard.n_cells
    sizes = [sum(part.size for part in of_class) for of_class in parts]
    if not sum(sizes):
        raise _nothing(split, n_all, where, balance)
    # Classes without a cell are none.
    cells = np.concatenate([np.empty(0, dtype=dtype), *(part for of_class in parts for part in of_class)])
    bounds = np.cumsum([0, *(size for size in sizes if size)])
    return Selection(cells=cells, bounds=bounds, max_repeats=1 if balance is None else max_repeats)


def _condition(where: str, *, known: list[str]) -> Condition:
    condition = Condition(where)
    missing = [column for column in condition.columns if column not in known]
    if missing:
        message = f"where={where!r}: {missing[0]!r} is no column of the corpus; it keeps: {', '.join(known)}"
        raise SettingsError(message)
    return condition


def _holds(condition: Condition, shard: Shard, names: dict[str, list[str]]) -> NDArray[np.bool_]:
    columns: dict[str, Any] = {}
    for column in condition.columns:
        if column == N_COUNTS:
            columns[column] = np.asarray(shard.n_counts[:])
        else:
            codes = shard.read_codes(column, n_names=len(names[column]))
            columns[column] = pd.Categorical.from_codes(codes, categories=pd.Index(names[column], dtype=object))
    return condition.holds(pd.DataFrame(columns, index=range(shard.n_cells)), file="the corpus")


def _nothing(split: str, n_all: int, where: str | None, balance: str | None) -> SettingsError:
    asked = "" if where is None else f" for which {where!r} holds"
    labelled = "" if balance is None else f" with a {balance!r}"
    message = (
        f"split={split!r}: none of its {n_all:,} cells is one{asked}{labelled}; "
        "see the values there are with corpus.categories and corpus.sources"
    )
    return SettingsError(message)
