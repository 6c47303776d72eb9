"""The settings of a comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Final, Literal, get_args

import numpy as np

from scssl.errors import SettingsError, require

Kind = Literal["composition", "state", "genes", "programmes"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Test = Literal["moderated", "permutation"]
Paired = Literal["auto", "yes", "no"]

MOST: Final = 1_000_000
LARGEST_SEED: Final = 2**32 - 1
"""That every generator takes."""


@dataclass(frozen=True, kw_only=True)
class ComparerSettings:
    """How two conditions are compared."""

    kinds: tuple[Kind, ...] = KINDS
    """What is asked: ``composition`` (share of each type), ``state`` (where cells lie in an embedding), ``genes``
    (differential expression), ``programmes``."""
    test: Test = "moderated"
    """Whose p-value counts for composition and programmes: ``moderated``, a t test whose variances lend each other
    strength; ``permutation``, which supposes nothing but needs more donors. The other one is reported, too."""
    paired: Paired = "auto"
    """Whether donors seen under both conditions are compared with themselves: ``auto`` if there are two or more."""
    programmes: str = "modules:20"
    """GMT file, collection (``msigdb:H``), or ``modules:N``: learned from the cells, without their conditions."""
    min_cells: int = 10
    """Cells that a donor must have of a type (under each condition, if paired) for its state, genes and programmes."""
    fdr: float = 0.05
    """False discovery rate across everything that is asked."""
    max_permutations: int = 10_000
    """All ways to hand out the conditions are gone through if there are no more, else as many are drawn."""
    resamples: int = 2_000
    """Of the donors, for the interval of the state shift."""
    max_cells: int = 300
    """Cells of a donor and type that the state is judged by; more are drawn at random."""

    def __post_init__(self) -> None:
        if not self.kinds or any(kind not in KINDS for kind in self.kinds):
            message = f"kinds {list(self.kinds)} are not known; choose some of: {', '.join(KINDS)}"
            raise SettingsError(message)
        for name, choices in (("test", Test), ("paired", Paired)):
            if getattr(self, name) not in get_args(choices):
                message = f"{name} {getattr(self, name)!r} is not known; choose one of: {', '.join(get_args(choices))}"
                raise SettingsError(message)
        fdr: Any = self.fdr
        require("fdr", fdr, holds=isinstance(fdr, Real) and 0 < float(fdr) < 1, must="a number between 0 and 1")
        for name, least in (("min_cells", 2), ("max_permutations", 100), ("resamples", 100), ("max_cells", 10)):
            require_whole(name, getattr(self, name), least=least, most=MOST)


def require_whole(name: str, value: Any, *, least: int, most: int) -> None:
    """Refuse what is no whole number of a range.

    Parameters
    ----------
    name, value
        The setting as the user knows it, and what it was given.
    least, most
        Both are possible.

    Raises
    ------
    SettingsError
        If it is not.
    """
    holds = isinstance(value, int | np.integer) and not isinstance(value, bool) and least <= int(value) <= most
    require(name, value, holds=holds, must=f"a whole number from {least} to {most:,}")


def names_of(what: str, given: Any) -> tuple[str, ...]:
    """Return names that were given as one or as several.

    Parameters
    ----------
    what
        What they are, as the user knows it.
    given
        A name, or some.

    Raises
    ------
    SettingsError
        If it is something else.
    """
    found = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    require(what, given, holds=all(isinstance(name, str) for name in found), must="a name, or a list of names")
    return found
