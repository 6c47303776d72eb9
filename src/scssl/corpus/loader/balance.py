"""Balanced sampling: how often each class is drawn in an epoch, and where in the epoch its draws come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def equal_draws(sizes: NDArray[np.int64], *, max_repeats: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Share ``sizes.sum()`` draws equally among classes, none drawing its cells more than `max_repeats` times.

    What small classes cannot take goes to the others, equally again (water-filling). Draws that cannot be shared
    equally go one each to classes chosen at random.

    Parameters
    ----------
    sizes
        (n_classes,) cells of each class, at least 1.
    max_repeats
        How often a cell may be drawn.
    rng
        Chooses who gets what is left over.

    Returns
    -------
    (n_classes,) int64, draws of each class.

    Example
    -------
    >>> equal_draws(np.array([1, 50, 49]), max_repeats=10, rng=np.random.default_rng(0)).tolist()
    [10, 45, 45]
    """
    limits = sizes * max_repeats
    total = int(sizes.sum())
    low, high = 0, total
    while low < high:  # the largest level that does not need more draws than there are
        middle = (low + high + 1) // 2
        if int(np.minimum(limits, middle).sum()) <= total:
            low = middle
        else:
            high = middle - 1
    draws: NDArray[np.int64] = np.minimum(limits, low)
    hungry = np.flatnonzero(limits > low)
    draws[rng.permutation(hungry)[: total - int(draws.sum())]] += 1
    return draws


class Interleaving:
    """An order of all draws of an epoch in which every stretch holds the classes in the shares they have overall.

    Draw ``i`` of a class with ``d`` draws has the key ``(i + phase) / d``; the order is that of the keys. It is never
    written down: `before` says how many draws of each class come before a place.

    Parameters
    ----------
    draws
        (n_classes,) draws of each class, at least 1.
    rng
        Draws the phases.
    """

    def __init__(self, draws: NDArray[np.int64], *, rng: np.random.Generator) -> None:
        self._draws = draws
        self._phase = rng.random(draws.size)

    def before(self, place: int) -> NDArray[np.int64]:
        """(n_classes,) draws of each class among the first `place` of all."""
        if self._draws.size == 1:
            return np.array([place])
        # Bisection to the last bit: `low` and `high` end as neighbouring numbers with the place between them. Keys are
        # below 1, or round to it.
        low, high = 0.0, 2.0
        while low < (middle := (low + high) / 2) < high:
            if int(self._smaller(middle).sum()) <= place:
                low = middle
            else:
                high = middle
        counts = self._smaller(low)
        # Where keys are equal, classes come in their order.
        for number in np.flatnonzero(self._smaller(high) > counts)[: place - int(counts.sum())]:
            counts[number] += 1
        return counts

    def _smaller(self, key: float) -> NDArray[np.int64]:
        """(n_classes,) draws with a smaller key."""
        counts = np.ceil(key * self._draws - self._phase).astype(np.int64)
        # The estimate may be one off by rounding; the keys themselves decide.
        counts += (counts + self._phase) / self._draws < key
        counts -= (counts - 1 + self._phase) / self._draws >= key
        return counts.clip(0, self._draws)
