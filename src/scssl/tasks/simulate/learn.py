"""What a condition did to the groups of cells that were measured under it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from scssl.errors import DataError
from scssl.tasks.simulate.covariates import strata
from scssl.tasks.simulate.generate import dispersions, unevenness
from scssl.tasks.simulate.pseudobulks import bulk, to_value
from scssl.tasks.simulate.space import Space

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from scssl.tasks.simulate.cells import Cells

Key = TypeVar("Key")
LEAST_CELLS: Final = 5
"""Of a group under each condition, to learn from it."""
MOST_GROUPS: Final = 48
"""Of more groups of a type and a donor, donors are averaged within types (of a combination of covariates). Keeping them
apart predicts the means of genes better, in time that goes with their number's third power."""
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
    covariates: pd.DataFrame | None = None
    """(n_groups, n_covariates); None without any."""

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(type, unit) of each group: its donor, or else its combination of covariates; "" without either."""
        units = self.donors
        if units is None:
            units = [""] * len(self.types) if self.covariates is None else list(strata(self.covariates))
        return list(zip(self.types, units, strict=True))

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
    else cell types (of a combination of covariates, where there are any), over donors, each donor of the same weight.

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
    whole = [_by_type(side) for side in sides]
    types = _under_both(whole)
    if by_donor is None:
        by_donor = _pairs_donors(cells, sides, types)
    parts = [dict((side if by_donor else replace(side, donors=None)).groups()) for side in sides]
    keys = _under_both(parts)
    _check_groups(cells, keys, control=control, case=case)
    bulks: list[list[Any]] = []
    for side, rows in zip(sides, parts, strict=True):
        # Within a donor, cells are the units.
        alone = by_donor or side.donors is None
        codes = None if alone else np.unique(np.asarray(side.donors, dtype=str), return_inverse=True)[1]
        bulks.append([bulk(side.counts[rows[k]], donors=None if codes is None else codes[rows[k]]) for k in keys])
    rows_of = [parts[0][key] for key in keys]
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
        covariates=_covariates(sides[0], rows_of),
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
    return _pairs_donors(cells, sides, _under_both([_by_type(side) for side in sides]))


def _pairs_donors(cells: Cells, sides: Sequence[Cells], types: Sequence[str]) -> bool:
    if cells.donors is None:
        return False
    both = _under_both([dict(side.groups()) for side in sides])
    return {key[0] for key in both} == set(types) and 1 < len(both) <= MOST_GROUPS


def _check_groups(cells: Cells, keys: Sequence[tuple[str, str]], *, control: str, case: str) -> None:
    """Make sure that there is something to learn from, and not more than can be."""
    of = "" if cells.covariates is None else f" of the same {' and '.join(cells.covariates.columns)}"
    message, hint = "", "" if not of else "; give numbers such as age in classes (pandas.cut), or fewer covariates"
    if not keys:
        message = (
            f"{cells.file}: no cell type has {LEAST_CELLS} cells or more{of} under both {control!r} and {case!r}, so "
            f"nothing says what the condition does{hint}"
        )
    elif of and len(keys) > MOST_GROUPS:
        message = f"{cells.file}: {len(keys)} groups of a cell type{of} are more than {MOST_GROUPS}{hint}"
    if message:
        raise DataError(message)


def _covariates(cells: Cells, rows_of: Sequence[NDArray[np.int64]]) -> pd.DataFrame | None:
    """Values of groups, each of which has one."""
    if cells.covariates is None:
        return None
    return cells.covariates.iloc[[int(rows[0]) for rows in rows_of]].reset_index(drop=True)


def _under_both(sides: Sequence[dict[Key, NDArray[np.int64]]]) -> list[Key]:
    """Return the groups that have enough cells under the control and under the case."""
    return [key for key in sides[0] if key in sides[1] and min(len(side[key]) for side in sides) >= LEAST_CELLS]


def _by_type(cells: Cells) -> dict[str, NDArray[np.int64]]:
    return {name: np.flatnonzero(cells.types == name) for name in sorted(set(cells.types))}
