"""Cells under conditions, held in memory: counts of all genes of a file, codes of the model, and what obs says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, SettingsError
from scssl.genes import harmonise
from scssl.log import logger
from scssl.tasks.annotate.labels import read_labels
from scssl.tasks.simulate.covariates import numbers_among, read_covariates, strata

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.model.cell_model import CellModel
    from scssl.training.devices import Device

TYPE, DONOR, NONE = "cell_type", "donor", "none"
ALL: Final = "all cells"
"""Name of the type where there are none."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns of obs that say what cells are."""

    condition: str
    """Empty: nothing is known of conditions."""
    cell_type: str | None
    """None: all cells are of one type."""
    donor: str | None
    """None: nothing is known of donors."""
    covariates: tuple[str, ...] = ()
    """On which changes may depend."""
    numbers: tuple[str, ...] = ()
    """Those of the covariates that are numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Cells with counts."""

    counts: sp.csr_matrix
    """(n_cells, n_genes) of the genes of the file, on the model's panel or not."""
    codes: NDArray[np.float32]
    """(n_cells, n_latent)."""
    condition: NDArray[np.object_]
    types: NDArray[np.object_]
    donors: NDArray[np.object_] | None
    """(n_cells,) names; None if nothing is known of donors."""
    obs: pd.DataFrame
    var: pd.DataFrame
    file: str
    covariates: pd.DataFrame | None = None
    """(n_cells, n_covariates); None without any."""

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    def at(self, rows: NDArray[Any]) -> Cells:
        """Return some of the cells, by number or by a mask."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(
            self,
            counts=self.counts[rows],
            codes=self.codes[rows],
            condition=self.condition[rows],
            types=self.types[rows],
            donors=None if self.donors is None else self.donors[rows],
            obs=self.obs.iloc[rows],
            covariates=None if self.covariates is None else self.covariates.iloc[rows],
        )

    @property
    def strata(self) -> NDArray[np.object_] | None:
        """(n_cells,) combination of covariates; None without any."""
        return None if self.covariates is None else strata(self.covariates)

    @property
    def strata_words(self) -> str:
        """What `strata` are."""
        names = [] if self.covariates is None else [repr(name) for name in self.covariates.columns]
        return f"values of {names[0]}" if len(names) == 1 else f"combinations of {', '.join(names)}"

    @property
    def units(self) -> NDArray[np.object_] | None:
        """(n_cells,) what cells of a type are divided by: donors and combinations of covariates; None without both."""
        strata = self.strata
        if self.donors is None or strata is None:
            return strata if self.donors is None else self.donors
        return np.array([f"{donor}, {values}" for donor, values in zip(self.donors, strata, strict=True)], dtype=object)

    def groups(self) -> list[tuple[tuple[str, str], NDArray[np.int64]]]:
        """Return ((type, unit), rows) of each group; the unit is "" where nothing is known of donors and covariates."""
        units = self.units
        if units is None:
            units = np.full(len(self), "", dtype=object)
        found: dict[tuple[str, str], list[int]] = {}
        for row, key in enumerate(zip(self.types, units, strict=True)):
            found.setdefault(key, []).append(row)
        return [(key, np.array(found[key], dtype=np.int64)) for key in sorted(found)]

    def where(self, column: str, value: str) -> NDArray[np.bool_]:
        """(n_cells,) where a column has a value.

        Raises
        ------
        DataError
            If there is no such column, or no cell has the value.
        """
        names = _names(self.obs, column, file=self.file)
        found = _matching(names, value)
        if not found.any():
            message = f"{self.file}: no cell has obs[{column!r}] = {value!r}; there are: {_listed(names)}"
            raise DataError(message)
        return found


def settle(
    data: AnnData | Path | str,
    *,
    condition: str,
    cell_type: str | None,
    donor: str | None,
    layer: str | None,
    covariates: Sequence[str] = (),
) -> Columns:
    """Find the columns of types and donors, and say which they are.

    Parameters
    ----------
    data
        AnnData or file.
    condition
        Column of the conditions.
    cell_type, donor
        Columns; None for ``"cell_type"`` and ``"donor"`` if they are there, ``"none"`` for none.
    layer
        Where the counts are.
    covariates
        Further columns.

    Raises
    ------
    DataError
        If a column that was named is not there.
    SettingsError
        If a covariate is given twice, or is the condition, the types or the donors.
    """
    with open_source(data, layer=layer) as source:
        obs, file = source.obs, source.file
    _names(obs, condition, file=file)
    found: dict[str, str | None] = {}
    for what, given, usual in (("cell types", cell_type, TYPE), ("donors", donor, DONOR)):
        if given == NONE:
            found[usual] = None
        elif given is not None:
            _names(obs, given, file=file)
            found[usual] = given
        else:
            found[usual] = usual if usual in obs.columns and len(obs[usual].dropna().unique()) > 1 else None
            if found[usual]:
                logger.info("%s: obs[%r] is taken for the %s", file, usual, what)
    taken = [condition, *(name for name in found.values() if name)]
    for name in covariates:
        _names(obs, name, file=file)
        if name in taken:
            message = f"{name!r} is given twice: condition, cell type, donor and covariates are different columns"
            raise SettingsError(message)
        taken.append(name)
    numbers = numbers_among(obs, covariates)
    for name in covariates:
        levels = obs[name].dropna().astype(object).map(str).unique()
        if name not in numbers and pd.to_numeric(pd.Series(levels), errors="coerce").notna().all():
            logger.warning(
                "%s: obs[%r] is taken for %d levels; if these are numbers, make it a column of numbers", file, name,
                len(levels),
            )  # fmt: skip
    return Columns(
        condition=condition, cell_type=found[TYPE], donor=found[DONOR], covariates=tuple(covariates),
        numbers=numbers,
    )  # fmt: skip


def check_asked(
    data: AnnData | Path | str,
    *,
    columns: Columns,
    conditions: Sequence[str],
    held: tuple[str, str] | None,
    layer: str | None,
) -> None:
    """Make sure, before any work, that a file has the conditions, and the value to hold out.

    Parameters
    ----------
    data
        AnnData or file.
    columns
        Of obs.
    conditions
        Names that must be there.
    held
        Column and value that must be there.
    layer
        Where the counts are.

    Raises
    ------
    DataError
        If something is not there; the message lists what is.
    """
    with open_source(data, layer=layer) as source:
        obs, file = source.obs, source.file
    for column, value in [*((columns.condition, name) for name in conditions), *([held] if held else [])]:
        names = _names(obs, column, file=file)
        if not _matching(names, value).any():
            message = f"{file}: no cell has obs[{column!r}] = {value!r}; there are: {_listed(names)}"
            raise DataError(message)


def read(data: AnnData | Path | str, model: CellModel, *, columns: Columns, layer: str | None, device: Device) -> Cells:
    """Read the cells of a file that have counts, a condition, a type and a donor.

    Parameters
    ----------
    data
        AnnData or file with raw counts.
    model
        Whose codes to take.
    columns
        Of obs.
    layer
        Where the counts are.
    device
        Where to embed.

    Raises
    ------
    DataError
        If the values are not counts, the genes do not fit the model, a column is missing, or no cell of a condition
        has a value of a covariate.
    """
    if columns.covariates:
        with open_source(data, layer=layer) as source:
            read_covariates(source.obs, columns.covariates, numbers=columns.numbers, file=source.file)
    # Also says whether the values are counts, and in the usual words what to do if they are not.
    codes = model.embed(data, layer=layer, device=device)
    with open_source(data, layer=layer) as source:
        obs, var, file = source.obs, source.var, source.file
        is_gene = harmonise(var, model.panel, file=file).genes
        parts = [chunk[:, is_gene] for _, chunk in source.chunks()]
    counts = sp.vstack(parts, format="csr")
    counts = sp.csr_matrix(counts, dtype=np.int64)
    n = len(obs)
    condition = np.full(n, "", dtype=object)
    if columns.condition:
        condition = _names(obs, columns.condition, file=file)
    types = np.full(n, ALL, dtype=object)
    if columns.cell_type is not None:
        types = read_labels(obs, columns.cell_type, file=file).to_numpy(dtype=object)
    donors = None if columns.donor is None else _names(obs, columns.donor, file=file)
    covariates = None
    if columns.covariates:
        covariates = read_covariates(obs, columns.covariates, numbers=columns.numbers, file=file)
    usable = np.asarray(counts.sum(axis=1)).ravel() > 0
    for names in (condition, types, donors):
        if names is not None:
            usable &= np.array([name is not None for name in names])
    if covariates is not None:
        for name, missing in covariates.isna().items():
            for one in sorted(set(condition[usable])):
                if missing[usable & (condition == one)].all():
                    of = f" with obs[{columns.condition!r}] = {one!r}" if columns.condition else ""
                    message = f"{file}: no cell{of} has a value of covariate {name!r}; fill it in, or leave it out"
                    raise DataError(message)
        usable &= covariates.notna().all(axis=1).to_numpy()
    if not usable.all():
        also = "".join(f", {name}" for name in columns.covariates)
        logger.info("%s: %s of %s cells have counts, a condition, a type%s and a donor; the others are left out", file,
                    f"{usable.sum():,}", f"{n:,}", also)  # fmt: skip
    cells = Cells(
        counts=counts, codes=codes, condition=condition, types=types, donors=donors, obs=obs,
        var=var.iloc[np.flatnonzero(is_gene)], file=file, covariates=covariates,
    )  # fmt: skip
    return cells if usable.all() else cells.at(usable)


def check_condition(cells: Cells, name: str, *, column: str) -> None:
    """Make sure that there are cells under a condition.

    Raises
    ------
    DataError
        If there are none.
    """
    if not (cells.condition == name).any():
        message = f"{cells.file}: no cell has obs[{column!r}] = {name!r}; there are: {_listed(cells.condition)}"
        raise DataError(message)


def check_covariates(cells: Cells) -> None:
    """Make sure that each covariate has two values or more.

    Raises
    ------
    DataError
        If one has not.
    """
    if cells.covariates is None:
        return
    for name, column in cells.covariates.items():
        values = column.unique()
        if len(values) < 2:
            message = f"{cells.file}: covariate {name!r} is {values[0]!r} for all cells, so tells nothing; leave it out"
            raise DataError(message)


def parse_where(text: str) -> tuple[str, str]:
    """Divide ``COL=VALUE``.

    Raises
    ------
    SettingsError
        If it is something else.
    """
    column, equals, value = text.partition("=")
    if not (equals and column and value):
        message = f"{text!r} is not understood; give COL=VALUE, such as cell_type=B or donor=D3"
        raise SettingsError(message)
    return column.strip(), value.strip()


def _matching(names: NDArray[np.object_], value: str) -> NDArray[np.bool_]:
    """(n_cells,) where a name is a value; where none is, 40 and 40.0 are the same."""
    found = np.asarray(names == value)
    try:
        number = float(value)
    except ValueError:
        return found
    # Donors 1 and 01 are two.
    return found if found.any() else (pd.to_numeric(pd.Series(names), errors="coerce") == number).to_numpy(dtype=bool)


def _names(obs: pd.DataFrame, column: str, *, file: str) -> NDArray[np.object_]:
    if column not in obs.columns:
        there = ", ".join(map(str, obs.columns)) or "none"
        message = f"{file}: obs has no column {column!r}; there are: {there}"
        raise DataError(message)
    values = obs[column].astype(object)
    return np.asarray(values.map(str, na_action="ignore").where(values.notna(), None).to_numpy(dtype=object))


def _listed(names: NDArray[np.object_]) -> str:
    there = sorted({str(name) for name in names if name is not None})
    return ", ".join(there[:12]) + (f" and {len(there) - 12} more" if len(there) > 12 else "")
