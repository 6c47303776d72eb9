"""What goes hand in hand with the condition, so that its effect cannot be told from the condition's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.tasks.compare.design import Question

MOST_LEVELS: Final = 50
"""Columns with more different values are numbers or names of cells, not batches."""


class Confounded(NamedTuple):
    """A column of ``obs`` that goes with the condition."""

    column: str
    complete: bool
    """Whether a condition has one level only, so that nothing at all can be said; else each condition has levels of
    its own, and their differences are part of what donors differ by."""
    words: str


def find_confounded(
    obs: pd.DataFrame, *, sample: NDArray[np.int64], table: pd.DataFrame, question: Question
) -> list[Confounded]:
    """Look through the columns of ``obs`` for those whose every level was seen under one condition only.

    Parameters
    ----------
    obs
        Annotation of the cells.
    sample
        (n_cells,) row of `table`, -1 for cells that take no part.
    table
        Samples with ``case``.
    question
        Columns that are not looked at: condition, donor, cell type.
    """
    rows = np.flatnonzero(sample >= 0)
    own = {question.condition, question.donor, question.cell_type}
    found = []
    for name in map(str, obs.columns):
        if name in own or name.startswith("scssl_"):
            continue
        values = _levels(obs[name].iloc[rows])
        if values is None:
            continue
        of_sample = _of_samples(values, sample[rows], n_samples=len(table))
        if of_sample is not None:
            found += _judge(name, of_sample, table["case"].to_numpy(dtype=bool), question)
    return found


def _levels(values: pd.Series) -> NDArray[np.int64] | None:
    """Return the level of each cell as a number; None for what is no batch or the like."""
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f":
        return None
    codes, levels = pd.factorize(values.astype(object).map(str, na_action="ignore"), sort=True)
    if not 2 <= len(levels) <= MOST_LEVELS or (codes < 0).any():
        return None
    return np.asarray(codes, dtype=np.int64)


def _of_samples(codes: NDArray[np.int64], sample: NDArray[np.int64], *, n_samples: int) -> NDArray[np.int64] | None:
    """Return the level of each sample, None if cells of one sample differ."""
    level = np.full(n_samples, -1, dtype=np.int64)
    level[sample] = codes
    return level if np.array_equal(level[sample], codes) else None


def _judge(name: str, level: NDArray[np.int64], case: NDArray[np.bool_], question: Question) -> list[Confounded]:
    n_levels = len(np.unique(level))
    if n_levels == len(level) > 2:
        # Another name of the samples.
        return []
    sides = [set(level[case].tolist()), set(level[~case].tolist())]
    if sides[0] & sides[1]:
        return []
    complete = min(len(side) for side in sides) == 1
    each = "both" if n_levels == 2 else "all"
    words = (
        f"{each} values of obs[{name!r}] were seen under one condition only, so differences between "
        f"{question.control!r} and {question.case!r} may as well be differences of {name}"
    )
    if not complete:
        words += " (each condition has several, which donors' differences include)"
    return [Confounded(name, complete, words)]
