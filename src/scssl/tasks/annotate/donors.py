"""Which donors to hold out so that as many types as possible are among those learned from and among those judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRIES: Final = 16
"""Orders of the donors that are gone through."""
MOST: Final = 2.0
"""Times the share of cells wanted, up to which donors are added for types that no other held-out donor has."""
NEAR: Final = 0.3
"""Share by which the cells held out may differ from those wanted without another choice being looked for."""


def choose_donors(
    codes: NDArray[np.int64], donors: NDArray[np.int64], *, share: float, seed: int
) -> tuple[list[int], int]:
    """Choose donors to hold out, such that every label keeps cells to learn from.

    As many labels as possible are held out, then about as many cells as wanted. Where no donor is that small, the one
    with most labels is held out.

    Parameters
    ----------
    codes
        (n_cells,) labels.
    donors
        (n_cells,) codes of donors, -1 where not known: these are learned from.
    share
        Share of the cells wanted.
    seed
        Decides between donors that are as good.

    Returns
    -------
    held : list of int
        Codes of the donors; empty where each of them alone has a label.
    n_labels : int
        Labels that they have.
    """
    names, table, unknown = _table(codes, donors)
    if len(names) < 2:
        return [], 0
    wanted = share * len(codes)
    rng = np.random.default_rng([seed, 0xD02])
    found: list[tuple[int, float, list[int]]] = []
    for _ in range(TRIES):
        order = rng.permutation(len(names))
        held = _draw(table[order], unknown, wanted=wanted)
        rows = order[held]
        covered = int((table[rows].sum(axis=0) > 0).sum())
        off = abs(float(table[rows].sum()) / wanted - 1)
        # Those that are near enough are equally good: which it is, the seed decides.
        found.append((covered, -off if off > NEAR else 0.0, sorted(names[rows].tolist())))
    best = max(found, key=lambda each: each[:2])
    return best[2], best[0]


def spread(fold_of: NDArray[np.int64], *, codes: NDArray[np.integer], donors: NDArray[np.integer]) -> NDArray[np.int64]:
    """Move donors, one by one, to other folds until no label that several donors have is in one fold alone.

    A label that one fold alone has is never judged: who learns from the other folds does not know it.

    Parameters
    ----------
    fold_of
        (n_donors,) fold of each donor, by code; -1 for codes without a cell.
    codes
        (n_cells,) labels.
    donors
        (n_cells,) codes of donors, negative where not known.

    Returns
    -------
    numpy.ndarray
        (n_donors,); as it was where nothing is gained by moving a donor.
    """
    names, table, _ = _table(np.asarray(codes, dtype=np.int64), np.asarray(donors, dtype=np.int64))
    if not len(names):
        return fold_of
    has, size = table > 0, table.sum(axis=1)
    fold = fold_of[names].copy()
    n_folds = int(fold.max()) + 1

    def lost(trial: NDArray[np.int64]) -> NDArray[np.bool_]:
        folds_with = np.stack([has[trial == number].any(axis=0) for number in range(n_folds)])
        return np.asarray((folds_with.sum(axis=0) == 1) & (has.sum(axis=0) > 1))

    while (gone := lost(fold)).any():
        moves = []
        for donor in np.flatnonzero(has[:, gone].any(axis=1)):
            for number in range(n_folds):
                trial = fold.copy()
                trial[donor] = number
                load = np.bincount(trial, weights=size, minlength=n_folds)
                if load.min() > 0:
                    moves.append((int(lost(trial).sum()), float(load.max()), int(donor), number))
        best = min(moves, default=None)
        if best is None or best[0] >= gone.sum():
            break
        fold[best[2]] = best[3]
    moved = fold_of.copy()
    moved[names] = fold
    return moved


def _table(
    codes: NDArray[np.int64], donors: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the donors, their cells by label, and cells of unknown donor by label."""
    _, local = np.unique(codes, return_inverse=True)
    n_labels = int(local.max(initial=-1)) + 1
    known = donors >= 0
    names, rows = np.unique(donors[known], return_inverse=True)
    table = np.zeros((len(names), n_labels), dtype=np.int64)
    np.add.at(table, (rows, local[known]), 1)
    return names, table, np.bincount(local[~known], minlength=n_labels)


def _draw(table: NDArray[np.int64], unknown: NDArray[np.int64], *, wanted: float) -> list[int]:
    """Go through donors in their order: first for labels that are not held out yet, then for cells."""
    left, size, has = table.sum(axis=0) + unknown, table.sum(axis=1), table > 0
    there = left > 0
    held: list[int] = []
    open_to, n_held = np.ones(len(table), dtype=bool), 0

    def take(donor: int) -> None:
        nonlocal left, n_held
        held.append(donor)
        open_to[donor] = False
        left = left - table[donor]
        n_held += int(size[donor])

    def spared() -> NDArray[np.bool_]:
        return np.asarray(open_to & (left[there] > table[:, there]).all(axis=1))

    while (fits := spared() & (n_held + size <= MOST * wanted)).any():
        new = has[:, ~has[held].any(axis=0)].sum(axis=1) * fits
        if not new.max():
            break
        take(int(new.argmax()))
    for donor in range(len(table)):
        if open_to[donor] and n_held + size[donor] <= wanted and (left[there] > table[donor, there]).all():
            take(donor)
    if not held and (fits := spared()).any():
        rows = np.flatnonzero(fits)
        take(int(max(rows, key=lambda row: (int(has[row].sum()), -int(size[row])))))
    return held
