"""Donors of the reference: read from a column, shared out to folds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import require_column
from scssl.log import logger
from scssl.tasks.annotate.donors import spread

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd
    from numpy.typing import NDArray

MAX_FOLDS = 5
CELL = "cell"
"""Stands for a column of donors where cells are to be held out one by one."""
GUESSED = "donor"
"""Column that is taken if none is named."""


def read_donors(
    obs: pd.DataFrame, column: str | None, *, kept: NDArray[np.bool_], file: str, unlabelled: Collection[str]
) -> NDArray[np.int64] | None:
    """Return the donors of the labelled cells, or None if cells can only be held out one by one.

    Parameters
    ----------
    obs
        Annotation of all cells.
    column
        Column with the donors; None for ``"donor"`` if there is one; ``"cell"`` for none.
    kept
        (n_cells,) the labelled cells.
    file
        What to call the cells in messages.
    unlabelled
        Names, in any case, that mean "not known".

    Returns
    -------
    numpy.ndarray or None
        (n_labelled,) codes, -1 where the donor is not known; None with fewer than two donors.

    Raises
    ------
    DataError
        If a column was named that is not there.
    """
    if column == CELL:
        return None
    if column is not None:
        require_column(obs.columns, column, file=file, role="with the donors", instead="or hold out by 'cell'")
    chosen = GUESSED if column is None else column
    why = f"obs has no column {GUESSED!r}"
    if chosen in obs.columns:
        names = obs[chosen][kept].astype(object).map(str, na_action="ignore")
        empty = {name.strip().casefold() for name in unlabelled}
        known = (names.notna() & ~names.astype(str).str.strip().str.casefold().isin(empty)).to_numpy()
        codes = np.full(len(names), -1, dtype=np.int64)
        found, codes[known] = np.unique(names[known].to_numpy(dtype=str), return_inverse=True)
        if len(found) > 1:
            if not known.all():
                logger.warning(
                    "%s: %d labelled cells have no donor in obs[%r]; they are learned from, and never used to judge",
                    file, int((~known).sum()), chosen,
                )  # fmt: skip
            return codes
        why = f"obs[{chosen!r}] has {len(found)} donor{'' if len(found) == 1 else 's'} with labels"
    logger.warning(
        "%s: %s: confidence, label sets and rejection are judged by held-out cells instead of donors, and will look "
        "better than they are for a new donor",
        file, why,
    )  # fmt: skip
    return None


def make_folds(codes: NDArray[np.int64], donors: NDArray[np.int64] | None, *, seed: int) -> NDArray[np.int64]:
    """Share out whole donors to up to five folds of about equal size; without donors cells, label by label.

    A label that several donors have is in several folds, so that it is both learned and judged, where that can be.

    Parameters
    ----------
    codes
        (n_cells,) labels.
    donors
        (n_cells,) codes of at least two donors, -1 where not known; None for folds over cells.
    seed
        Of the folds over cells.

    Returns
    -------
    numpy.ndarray
        (n_cells,) number of the fold, -1 for cells of unknown donor.
    """
    fold = np.full(len(codes), -1, dtype=np.int64)
    if donors is not None:
        known = donors >= 0
        size = np.bincount(donors[known])
        load = np.zeros(min(MAX_FOLDS, int(np.count_nonzero(size))), dtype=np.int64)
        fold_of = np.full(len(size), -1, dtype=np.int64)
        # The largest first, each to the fold that is smallest so far.
        for donor in np.argsort(-size, kind="stable"):
            if size[donor]:
                fold_of[donor] = load.argmin()
                load[fold_of[donor]] += size[donor]
        fold_of = spread(fold_of, codes=codes, donors=donors)
        fold[known] = fold_of[donors[known]]
        return fold
    # Dealt out like cards, sorted by label: every fold gets its share of each.
    shuffled = np.random.default_rng([seed, 0xF01D]).permutation(len(codes))
    fold[shuffled[np.argsort(codes[shuffled], kind="stable")]] = np.arange(len(codes)) % MAX_FOLDS
    return fold
