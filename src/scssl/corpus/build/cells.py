"""What a build needs to know about each cell of a file: whether to keep it, its source, group, labels and name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.corpus.sources.annotation import NOT_KNOWN
from scssl.corpus.where import Condition
from scssl.errors import DataError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from scssl.corpus.settings import BuildSettings
    from scssl.corpus.sources.source import CellSource

MAX_CATEGORIES: Final = 100_000
"""A kept column with more values than this is no category."""


@dataclass(frozen=True)
class Coded:
    """A column as codes and their names."""

    codes: NDArray[np.int32]
    """(n_cells,), -1 if missing."""
    names: list[str]
    """Sorted, unique, each used at least once."""


@dataclass(frozen=True, kw_only=True)
class CellTable:
    """The cells of one file, in the order of the file."""

    keep: NDArray[np.bool_]
    """(n_cells,) whether the cell meets the condition."""
    source: Coded
    """Value of the source column; the file's name where it is missing or not asked for."""
    group: Coded
    """What stays together in one split; without a value, all cells of a source are one group."""
    columns: dict[str, Coded]
    """The kept columns."""
    absent: list[str]
    """Kept columns that the file does not have."""
    taken: dict[str, str]
    """Kept column -> column of another name that it was read from."""
    names: NDArray[np.object_]
    """(n_cells,) names, unique within the file."""
    renamed: int
    """Cells whose name had to be made unique."""


def read_cells(source: CellSource, settings: BuildSettings, *, name: str) -> CellTable:
    """Read the annotations of a file.

    Parameters
    ----------
    source
        The open file.
    settings
        Which columns mean what.
    name
        What the file is called in the corpus.

    Raises
    ------
    DataError
        If the source column is missing, or a column that should be kept is no category.
    """
    taken = find_columns(source.obs.columns, settings)
    obs = source.obs
    if taken:
        obs = obs.drop(columns=[c for c in taken if c in obs.columns])
        obs = obs.assign(**{c: source.obs[original] for c, original in taken.items()})
    n = len(obs)
    keep = np.ones(n, dtype=bool)
    if settings.where is not None:
        keep = Condition(settings.where).holds(obs, file=source.file, there=source.columns)
    if settings.source is not None and settings.source not in obs.columns:
        there = ", ".join(source.columns) or "none"
        message = f"{source.file}: no column {settings.source!r} for --source; columns there are: {there}"
        raise DataError(message)
    origin = _coded(obs, settings.source, file=source.file) if settings.source else Coded(np.full(n, -1, np.int32), [])
    origin = _fill(origin, [name] * n) if (origin.codes < 0).any() else origin

    columns = {}
    for column in settings.kept:
        drop = () if column in (settings.split_by, settings.source) else settings.unlabelled
        columns[column] = _coded(obs, column, file=source.file, missing=drop)
    names, renamed = unique_names(obs.index.to_numpy())
    return CellTable(
        keep=keep,
        source=origin,
        group=_groups(columns, origin, settings),
        columns=columns,
        absent=[column for column in settings.kept if column not in obs.columns],
        taken=taken,
        names=names,
        renamed=renamed,
    )


def find_columns(there: Collection[str], settings: BuildSettings) -> dict[str, str]:
    """Return, per kept column that stands for others, the first of them that a file has."""
    found = {}
    for name, options in settings.stands_for.items():
        first = next((column for column in options if column in there), None)
        if first is not None and first != name:
            found[name] = first
    return found


def check_columns(files: Mapping[str, Sequence[str]], settings: BuildSettings) -> None:
    """Make sure that every kept column is in at least one file.

    Parameters
    ----------
    files
        File -> its ``obs`` columns.
    settings
        Which columns are kept.

    Raises
    ------
    DataError
        Names the column, and those there are.
    SettingsError
        If it is the column to split by.
    """
    known = sorted({column for columns in files.values() for column in columns})
    there = ", ".join(known) or "none"
    where = next(iter(files)) if len(files) == 1 else f"none of the {len(files)} files"
    for column in settings.kept:
        options = settings.stands_for.get(column, ())
        if column in known or any(option in known for option in options):
            continue
        if options:
            wanted = " or ".join(map(repr, [*options, column]))
            message = f"{where} {'has no' if len(files) == 1 else 'has a'} column {wanted}; columns there are: {there}"
            raise DataError(message)
        verb = "has no" if len(files) == 1 else "has a"
        if column == settings.split_by and column not in settings.obs:
            message = (
                f"{where} {verb} column {column!r} to split by. Choose another one with --split-by (there are: {there})"
                ", or split at random with --split-by cell (cells of one donor in several splits: scores will look "
                "better than they are)"
            )
            raise SettingsError(message)
        message = f"{where} {verb} column {column!r}, asked for with --obs; columns there are: {there}"
        raise DataError(message)


def unique_names(names: NDArray[Any]) -> tuple[NDArray[np.object_], int]:
    """Make names unique by appending ``-1``, ``-2``, ... to all but the first of a name, skipping what is taken.

    Returns
    -------
    names : numpy.ndarray
    renamed : int
        How many were changed.
    """
    unique = np.array([str(name) for name in names], dtype=object)
    repeated = np.flatnonzero(pd.Series(unique, dtype=object).duplicated())
    if repeated.size == 0:
        return unique, 0
    taken = set(unique)
    last: dict[str, int] = {}
    for position in repeated.tolist():
        name = unique[position]
        number = last.get(name, 0) + 1
        while f"{name}-{number}" in taken:
            number += 1
        last[name] = number
        unique[position] = f"{name}-{number}"
        taken.add(unique[position])
    return unique, int(repeated.size)


def _coded(obs: pd.DataFrame, column: str, *, file: str, missing: Sequence[str] = ()) -> Coded:
    if column not in obs.columns:
        return Coded(np.full(len(obs), -1, dtype=np.int32), [])
    values = obs[column]
    if values.ndim > 1:
        message = f"{file}: has several columns called {column!r}; rename them"
        raise DataError(message)
    codes, distinct = _factorise(values)
    if len(distinct) > MAX_CATEGORIES:
        message = f"{file}: column {column!r} has {len(distinct):,} different values: it is no category; leave it out"
        raise DataError(message)
    return _tidy(codes, [str(value) for value in distinct], missing)


def _factorise(values: pd.Series) -> tuple[NDArray[Any], list[Any]]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.codes.to_numpy(), values.cat.categories.tolist()
    codes, distinct = pd.factorize(values)
    return codes, distinct.tolist()


def _tidy(codes: NDArray[Any], names: Sequence[str], missing: Sequence[str] = ()) -> Coded:
    """Sort the names, merge equal ones, leave out unused and missing ones."""
    used = np.bincount(codes[codes >= 0], minlength=len(names)) > 0
    there = [bool(u) and name not in missing and name != "" for name, u in zip(names, used, strict=True)]
    tidy = sorted({name for name, t in zip(names, there, strict=True) if t})
    position = {name: i for i, name in enumerate(tidy)}
    # The last entry is where code -1 points.
    new = [position[name] if t else -1 for name, t in zip(names, there, strict=True)] + [-1]
    return Coded(np.array(new, dtype=np.int32)[codes], tidy)


def _fill(column: Coded, fallback: Sequence[str]) -> Coded:
    """Give cells without a value one of their own."""
    names = np.array([*column.names, ""], dtype=object)[column.codes]
    codes, distinct = pd.factorize(np.where(column.codes < 0, np.asarray(fallback, dtype=object), names))
    return _tidy(codes, [str(value) for value in distinct])


def _groups(columns: dict[str, Coded], origin: Coded, settings: BuildSettings) -> Coded:
    if settings.by_cell:
        return Coded(np.full(len(origin.codes), -1, dtype=np.int32), [])
    group = columns[settings.split_by]
    # "unknown" is no donor: its cells may be of anyone in the source.
    known = np.array([*(name.strip().lower() not in NOT_KNOWN for name in group.names), False])
    group = Coded(np.where(known[group.codes], group.codes, -1).astype(np.int32), group.names)
    if not (group.codes < 0).any():
        return group
    stand_in = np.array([f"(no {settings.split_by}: {name})" for name in origin.names], dtype=object)
    return _fill(group, list(stand_in[origin.codes]))
