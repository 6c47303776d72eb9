"""Which cells of the target are learned from and which are predicted: by donor, by data set, or by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from scssl.tasks.annotate.donors import spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Scheme = Literal["donor", "data set", "cell"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One division of the labelled cells."""

    name: str
    scheme: Scheme
    """What is kept apart."""
    train: NDArray[np.int64]
    """Rows that are learned from, the same for every method."""
    test: NDArray[np.int64]
    """Rows that are predicted and scored."""
    untold: NDArray[np.int64]
    """Rows that are predicted, too, but no cell of their type is learned from. No method could name them, so they are
    scored only where a kind of their type counts as right, and one is learned from."""

    @property
    def named(self) -> NDArray[np.int64]:
        """Rows that are predicted: `test`, then `untold`."""
        return np.concatenate([self.test, self.untold])

    @property
    def unscored(self) -> int:
        """Number of test cells that are not scored by name."""
        return len(self.untold)

    def reached(self, codes: NDArray[np.integer], *, descends: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the `untold` rows of a type that some type learned from is a kind of.

        Parameters
        ----------
        codes
            (n_cells,) labels of all cells.
        descends
            (n_classes, n_classes), see `scssl.ontology.LabelTree`.
        """
        above = np.asarray(descends[np.unique(codes[self.train])].any(axis=0))
        found: NDArray[np.int64] = self.untold[above[codes[self.untold]]]
        return found


def make_splits(
    codes: NDArray[np.integer],
    donors: NDArray[np.integer],
    *,
    folds: int,
    seed: int = 0,
    sources: NDArray[np.integer] | None = None,
    source_names: Sequence[str] = (),
) -> list[Split]:
    """Divide labelled cells so that every donor is tested once, and every data set once where there are several.

    Parameters
    ----------
    codes
        (n_cells,) labels.
    donors
        (n_cells,) codes of the donors. With one donor the folds are over cells.
    folds
        Folds at most; there are never more than donors.
    seed
        Settles ties between donors of equal size, and the folds over cells.
    sources
        (n_cells,) codes of the data sets that the cells come from, None if not known.
    source_names
        Their names.

    Returns
    -------
    list of Split
        Folds by donor (or by cell), then one per data set left out: its donors are not learned from even if other
        data sets have them too.
    """
    by_donor = len(np.unique(donors)) > 1
    fold = donor_folds(donors, codes, folds=folds, seed=seed) if by_donor else cell_folds(codes, folds=folds, seed=seed)
    n = int(fold.max()) + 1
    scheme: Scheme = "donor" if by_donor else "cell"
    found = [_split(codes, fold != i, fold == i, name=f"fold {i + 1} of {n}", scheme=scheme) for i in range(n)]
    if sources is not None and len(np.unique(sources)) > 1:
        for source in np.unique(sources):
            test = sources == source
            train = ~test & (~np.isin(donors, donors[test]) if by_donor else True)
            found.append(_split(codes, train, test, name=source_names[source], scheme="data set"))
    return [split for split in found if split.train.size and split.test.size]


def donor_folds(
    donors: NDArray[np.integer], codes: NDArray[np.integer] | None = None, *, folds: int, seed: int
) -> NDArray[np.int64]:
    """Share out whole donors to folds of about equal numbers of cells.

    Parameters
    ----------
    donors
        (n_cells,) codes.
    codes
        (n_cells,) labels: one that several donors have is then in several folds, where that can be, as else none of its
        cells could be scored.
    folds
        Folds at most.
    seed
        Settles the order of donors of equal size.

    Returns
    -------
    numpy.ndarray
        (n_cells,) number of the fold.
    """
    names, local, size = np.unique(donors, return_inverse=True, return_counts=True)
    load = np.zeros(min(folds, len(names)), dtype=np.int64)
    fold = np.empty(len(names), dtype=np.int64)
    shuffled = np.random.default_rng([seed, 0xD0]).permutation(len(names))
    # The largest first, each to the fold that is smallest so far.
    for donor in shuffled[np.argsort(-size[shuffled], kind="stable")]:
        fold[donor] = load.argmin()
        load[fold[donor]] += size[donor]
    return (fold if codes is None else spread(fold, codes=codes, donors=local))[local]


def cell_folds(codes: NDArray[np.integer], *, folds: int, seed: int) -> NDArray[np.int64]:
    """Deal out the cells of each label to folds, like cards.

    Parameters
    ----------
    codes
        (n_cells,) labels.
    folds
        Folds at most; no more than cells.
    seed
        Of the order.
    """
    shuffled = np.random.default_rng([seed, 0xCE]).permutation(len(codes))
    fold = np.empty(len(codes), dtype=np.int64)
    fold[shuffled[np.argsort(codes[shuffled], kind="stable")]] = np.arange(len(codes)) % min(folds, len(codes))
    return fold


def draw_labelled(
    rows: NDArray[np.int64], codes: NDArray[np.integer], *, n_labels: int | None, key: Sequence[int]
) -> NDArray[np.int64]:
    """Choose the cells whose labels are told: at most `n_labels` of each type.

    Parameters
    ----------
    rows
        Cells to choose from.
    codes
        (n_cells,) labels of all cells.
    n_labels
        Cells per type; None for all.
    key
        Seed of the draw: seed, split and `n_labels`, so that every method is told the same.

    Returns
    -------
    numpy.ndarray
        Chosen rows, rising.
    """
    if n_labels is None:
        return np.sort(rows)
    rng = np.random.default_rng(list(key))
    chosen = []
    for code in np.unique(codes[rows]):
        there = rows[codes[rows] == code]
        chosen.append(rng.choice(there, size=min(n_labels, len(there)), replace=False))
    return np.sort(np.concatenate(chosen))


def _split(
    codes: NDArray[np.integer],
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    *,
    name: str,
    scheme: Scheme,
) -> Split:
    told = np.isin(codes, codes[train])
    return Split(
        name=name,
        scheme=scheme,
        train=np.flatnonzero(train),
        test=np.flatnonzero(test & told),
        untold=np.flatnonzero(test & ~told),
    )
