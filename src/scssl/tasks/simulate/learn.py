"""What a condition did to the groups of cells that were measured under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from scssl.errors import DataError
from scssl.tasks.simulate.generate import dispersions, unevenness
from scssl.tasks.simulate.pseudobulks import bulk, to_value
from scssl.tasks.simulate.space import Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scssl.tasks.simulate.cells import Cells

Key = TypeVar("Key")
LEAST_CELLS: Final = 5
"""Of a group under each condition, to learn from it."""
MOST_GROUPS: Final = 24
"""Of more groups of a type and a donor, donors are averaged within types."""


SPACE_CELLS: Final = 4000
"""Cells that the space for comparing populations is found from, at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """Groups of cells that were seen under control and case, and how they changed."""

    types: list[str]
    donors: list[str] | None
    """Of each group; None if groups are whole types, over all donors."""
    before: NDArray[np.float64]
    """(n_groups, n_genes + 1) values under the control (`to_value`); the last is the mean log total."""
    change: NDArray[np.float64]
    """(n_groups, n_genes + 1) case minus control."""
    variance: NDArray[np.float64]
    """(n_groups, n_genes + 1) squared standard errors of the change."""
    n_cells: NDArray[np.int64]
    """(n_groups, 2) under control and case."""
    codes: NDArray[np.float64]
    """(n_groups, n_latent) mean code of the control cells."""
    pooled: NDArray[np.float64]
    """(2, n_genes + 1) values of all control and all case cells together."""
    dispersion: NDArray[np.float64]
    """(n_genes,)."""
    unevenness: float
    """Variance between cells of how far they go from control to case."""
    space: Space

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return int(self.before.shape[1]) - 1

    @property
    def after(self) -> NDArray[np.float64]:
        """(n_groups, n_genes + 1) values under the case."""
        return self.before + self.change


def learn(cells: Cells, *, control: str, case: str, brief: bool = False, by_donor: bool | None = None) -> Learned:
    """Compare case with control, group by group.

    Groups are cell types of donors that were seen under both conditions, where that holds for two groups or more;
    else cell types, over donors, each donor of the same weight.

    Parameters
    ----------
    cells
        Control and case cells to learn from.
    control, case
        The conditions.
    brief
        Without what is needed to make cells only.
    by_donor
        Whether groups are cell types of donors, where that was found out on more cells than these (`pairs_donors`).
    """
    sides = [cells.at(cells.condition == name) for name in (control, case)]
    paired, whole = [dict(side.groups()) for side in sides], [_by_type(side) for side in sides]
    both, types = _under_both(paired), _under_both(whole)
    if by_donor is None:
        by_donor = _pairs_donors(cells, both, types)
    bulks: list[list[Any]] = []
    if by_donor:
        keys = both
        bulks = [[bulk(side.counts[rows[key]]) for key in keys] for side, rows in zip(sides, paired, strict=True)]
        rows_of = [paired[0][key] for key in keys]
    else:
        keys = [(name, "") for name in types]
        for side, rows in zip(sides, whole, strict=True):
            codes = None if side.donors is None else np.unique(side.donors.astype(str), return_inverse=True)[1]
            bulks.append(
                [bulk(side.counts[rows[name]], donors=None if codes is None else codes[rows[name]]) for name in types]
            )
        rows_of = [whole[0][name] for name in types]
    if not keys:
        message = (
            f"{cells.file}: no cell type has {LEAST_CELLS} cells or more under both {control!r} and {case!r}, so "
            "nothing says what the condition does"
        )
        raise DataError(message)
    before, after = (np.stack([b.value for b in side]) for side in bulks)
    variance = sum(np.stack([b.variance for b in side]) for side in bulks)
    pooled = []
    for side in sides:
        totals = np.asarray(side.counts.sum(axis=1), dtype=np.float64).ravel()
        share = np.asarray(side.counts.sum(axis=0), dtype=np.float64).ravel() / totals.sum()
        pooled.append(np.append(to_value(share), np.log(totals).mean()))
    rng = np.random.default_rng(0)
    some = np.sort(rng.permutation(len(cells))[:SPACE_CELLS])
    space = Space.fit(cells.counts[some])
    dispersion = np.zeros(cells.counts.shape[1])
    if not brief:
        dispersion = dispersions([sides[1].counts[rows] for rows in whole[1].values()])
    pairs = [tuple(side.counts[w[name]] for side, w in zip(sides, whole, strict=True)) for name in types]
    return Learned(
        types=[key[0] for key in keys],
        donors=[key[1] for key in keys] if by_donor else None,
        before=before,
        change=after - before,
        variance=np.asarray(variance),
        n_cells=np.array([[b.n_cells for b in side] for side in bulks]).T,
        codes=np.stack([sides[0].codes[rows].mean(axis=0, dtype=np.float64) for rows in rows_of]),
        pooled=np.stack(pooled),
        dispersion=dispersion,
        unevenness=0.0 if brief else unevenness(pairs, space=space, dispersion=dispersion),
        space=space,
    )


def pairs_donors(cells: Cells, *, control: str, case: str) -> bool:
    """Say whether groups are cell types of donors, rather than cell types over donors, as `learn` decides it.

    Parameters
    ----------
    cells
        Control and case cells to learn from.
    control, case
        The conditions.
    """
    sides = [cells.at(cells.condition == name) for name in (control, case)]
    both = _under_both([dict(side.groups()) for side in sides])
    return _pairs_donors(cells, both, _under_both([_by_type(side) for side in sides]))


def _pairs_donors(cells: Cells, both: Sequence[tuple[str, str]], types: Sequence[str]) -> bool:
    there = cells.donors is not None and {key[0] for key in both} == set(types)
    return there and 1 < len(both) <= MOST_GROUPS


def _under_both(sides: Sequence[dict[Key, NDArray[np.int64]]]) -> list[Key]:
    """Return the groups that have enough cells under the control and under the case."""
    return [key for key in sides[0] if key in sides[1] and min(len(side[key]) for side in sides) >= LEAST_CELLS]


def _by_type(cells: Cells) -> dict[str, NDArray[np.int64]]:
    return {name: np.flatnonzero(cells.types == name) for name in sorted(set(cells.types))}
