"""Donors of the reference, and which of its cells say when training has to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scssl.errors import require_column
from scssl.log import logger

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

GUESSED, CELL = "donor", "cell"


class Division(NamedTuple):
    """Two sets of rows."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]


def read_groups(obs: pd.DataFrame, column: str | None, *, file: str) -> NDArray[np.object_] | None:
    """Return the donor (or batch) of every cell.

    Parameters
    ----------
    obs
        Annotation of the cells.
    column
        Column; None for ``"donor"`` if there is one, ``"cell"`` for none.
    file
        What to call the cells in messages.

    Returns
    -------
    numpy.ndarray or None
        (n_cells,) names, None for cells whose donor is missing; None altogether with fewer than two donors.

    Raises
    ------
    DataError
        If a column was named that is not there.
    """
    if column == CELL:
        return None
    if column is not None:
        require_column(obs.columns, column, file=file, role="with the donors", instead="or hold out by 'cell'")
    chosen = column or GUESSED
    why = f"obs has no column {GUESSED!r}"
    if chosen in obs.columns:
        names = obs[chosen].astype(object)
        names = names.map(str, na_action="ignore").where(names.notna(), None)
        if (n := names.nunique()) > 1:
            return names.to_numpy(dtype=object)
        why = f"obs[{chosen!r}] has {n} donor{'' if n == 1 else 's'}"
    logger.info("%s: %s, so cells are held out instead, which flatters: a new donor will fare worse", file, why)
    return None


def divide(n_cells: int, groups: NDArray[np.object_] | None, *, share: float, seed: int) -> Division:
    """Hold out whole donors with about a share of the cells; without donors, cells.

    Parameters
    ----------
    n_cells
        Cells there are.
    groups
        (n_cells,) donors, None where not known; such cells are always learned from.
    share
        Share wanted; never more than half.
    seed
        Decides which.
    """
    rng, everything = np.random.default_rng([seed, 0x7A11]), np.arange(n_cells)
    if share == 0 or n_cells < 4:
        return Division(everything, everything[:0])
    held = np.zeros(n_cells, dtype=bool)
    if groups is None:
        held[rng.permutation(n_cells)[: max(1, round(share * n_cells))]] = True
        return Division(everything[~held], everything[held])
    names, codes = np.unique(np.where(groups == None, "", groups).astype(str), return_inverse=True)  # noqa: E711
    size = np.where(names == "", n_cells, np.bincount(codes))
    wanted = share * n_cells
    for name in rng.permutation(len(names)):
        # A donor is added if that comes nearer to what is wanted.
        if held.sum() + size[name] <= n_cells / 2 and abs(held.sum() + size[name] - wanted) < abs(held.sum() - wanted):
            held[codes == name] = True
    if not held.any():
        # Few and large donors: the smallest, so that most cells are learned from.
        held[codes == int(np.argmin(size))] = True
    if held.all():
        held[:] = False
    return Division(everything[~held], everything[held])
