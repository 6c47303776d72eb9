"""What could have been, had donors been under other conditions: all ways to hand them out, or some drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIE = 1e-9
"""Relative difference below which two statistics count as the same: sums are rounded otherwise in another order."""


@dataclass(frozen=True, kw_only=True)
class Assignments:
    """Ways to hand the conditions out to the samples."""

    labels: NDArray[np.bool_]
    """(n_ways, n_samples) True for the case; the first row is what was observed."""
    exhaustive: bool
    """Whether these are all the ways there are."""

    @classmethod
    def of(cls, case: NDArray[np.bool_], *, strata: NDArray[np.integer], most: int, seed: int = 0) -> Assignments:
        """Hand out the conditions in all ways that leave every stratum as many cases as it has, or in some of them.

        Parameters
        ----------
        case
            (n_samples,) True for the case.
        strata
            (n_samples,) codes; conditions are exchanged within strata only (a pair of samples of one donor, a study).
        most
            Ways to go through at most; if there are more, so many are drawn, with what was observed as one of them.
        seed
            Of the draws.
        """
        groups = [np.flatnonzero(strata == code) for code in np.unique(strata)]
        n_case = [int(case[rows].sum()) for rows in groups]
        total = prod(comb(len(rows), n) for rows, n in zip(groups, n_case, strict=True))
        if total <= most:
            labels = np.zeros((total, len(case)), dtype=bool)
            choices = (list(combinations(rows, n)) for rows, n in zip(groups, n_case, strict=True))
            for way, chosen in enumerate(product(*choices)):
                labels[way, [row for part in chosen for row in part]] = True
            first = int(np.flatnonzero((labels == case).all(axis=1))[0])
            labels[[0, first]] = labels[[first, 0]]
            return cls(labels=labels, exhaustive=True)
        rng = np.random.default_rng([seed, 0xDE])
        labels = np.tile(case, (most, 1))
        for rows in groups:
            order = rng.random((most - 1, len(rows))).argsort(axis=1)
            labels[1:, rows] = case[rows][order]
        return cls(labels=labels, exhaustive=False)

    def p_value(self, statistic: NDArray[np.floating]) -> float:
        """Return the share of ways in which the statistic is as large as observed; the larger, the further from none.

        Parameters
        ----------
        statistic
            (n_ways,) of the rows of `labels`.
        """
        limit = statistic[0] - TIE * max(abs(float(statistic[0])), 1e-300)
        return float(np.mean(statistic >= limit))

    @property
    def smallest(self) -> float:
        """The smallest p-value that a two-sided test can give.

        Exchanging both conditions everywhere gives the same two-sided statistic, so where that is one of the ways, two
        of them are always tied.
        """
        mirrored = self.exhaustive and bool((self.labels == ~self.labels[0]).all(axis=1).any())
        return min(1.0, (2 if mirrored else 1) / len(self.labels))
