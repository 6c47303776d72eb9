"""Covariates: what is known of donors or samples, such as sex, age or tissue, and what a change may depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.log import logger
from scssl.tasks.compare.layout import is_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SHARED: Final = 0.5
"""Part of what a covariate may change that only groups of like values have in common."""


def numbers_among(obs: pd.DataFrame, columns: Sequence[str]) -> tuple[str, ...]:
    """Return which covariates are numbers, rather than levels.

    Parameters
    ----------
    obs
        Of the cells that are learned from.
    columns
        Of `obs`.
    """
    return tuple(name for name in columns if is_number(obs[name]))


def read_covariates(obs: pd.DataFrame, columns: Sequence[str], *, numbers: Sequence[str], file: str) -> pd.DataFrame:
    """Return covariates of cells: numbers as float64, levels as text, None or NaN where there is no value.

    Parameters
    ----------
    obs
        Of the cells.
    columns
        Of `obs`.
    numbers
        Which of them are numbers, whatever type they have here.
    file
        To be named in errors.

    Raises
    ------
    DataError
        If a column is not there, or a value is no number or infinite.
    """
    found: dict[str, pd.Series] = {}
    for name in columns:
        if name not in obs.columns:
            there = ", ".join(map(str, obs.columns)) or "none"
            message = f"{file}: obs has no column {name!r}, a covariate; there are: {there}"
            raise DataError(message)
        column = obs[name].astype(object)
        column = column.where(column.notna(), None)
        if name in numbers:
            found[name] = pd.to_numeric(column, errors="coerce").astype(np.float64)
            odd = column[found[name].isna() & column.notna()]
            if len(odd):
                message = f"{file}: covariate {name!r} is a number, and {odd.iloc[0]!r} is none"
                raise DataError(message)
            if np.isinf(found[name]).any():
                message = f"{file}: covariate {name!r} is infinite for some cells; leave these out or give a number"
                raise DataError(message)
        else:
            found[name] = column.map(_level, na_action="ignore").astype(object).where(column.notna(), None)
    return pd.DataFrame(found, index=obs.index)


def _level(value: object) -> str:
    """Return a level as text: 1, 1.0 and "1" are the same."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def warn_of_unknown(values: pd.DataFrame, seen: pd.DataFrame, *, file: str) -> None:
    """Warn where no level of a covariate is among those that were learned from: likely the same in other words.

    Parameters
    ----------
    values
        Covariates of cells.
    seen
        Of the groups that were learned from.
    file
        To be named.
    """
    for name in seen.columns:
        levels, known = (sorted(set(table[name].astype(str))) for table in (values, seen))
        if seen[name].dtype.kind != "f" and not set(levels) & set(known):
            logger.warning(
                "%s: none of the values of covariate %r (%s) was learned from (%s): nothing is known of how such cells "
                "differ. Where it is the same in other words, rename it", file, name, ", ".join(levels[:6]),
                ", ".join(known[:6]),
            )  # fmt: skip


def strata(values: pd.DataFrame) -> NDArray[np.object_]:
    """Return (n,) names of the combinations of values, such as ``"sex=F, age=60"``."""
    parts = [
        [f"{name}={value:.15g}" if values[name].dtype.kind == "f" else f"{name}={value}" for value in values[name]]
        for name in values.columns
    ]
    return np.array([", ".join(row) for row in zip(*parts, strict=True)], dtype=object)


def likenesses(seen: pd.DataFrame, new: pd.DataFrame) -> list[NDArray[np.float64]]:
    r"""Return how alike groups are, one matrix per covariate, 1 where they have the same value.

    Levels are alike or not. Numbers x and y are alike by :math:`\exp(-(x - y)^2 / 2 s^2)`, with the standard deviation
    s over the groups seen: the squared exponential kernel of Gaussian process regression (Rasmussen & Williams 2006,
    eq. 4.9). A covariate with a single value among the groups seen tells nothing and is left out.

    Parameters
    ----------
    seen, new
        Covariates of the groups that were learned from and of those to predict; a row for each.

    Returns
    -------
    list of numpy.ndarray
        Each (n_seen + n_new, n_seen + n_new).
    """
    found = []
    for name in seen.columns:
        if seen[name].nunique() < 2:
            continue
        if seen[name].dtype.kind == "f":
            values = np.concatenate([seen[name], new[name]]).astype(np.float64)
            width = float(seen[name].std(ddof=0))
            found.append(np.exp(-((values[:, None] - values[None]) ** 2) / (2 * width**2)))
        else:
            levels = np.concatenate([seen[name], new[name]]).astype(str)
            found.append((levels[:, None] == levels[None]).astype(np.float64))
    return found


def depending(
    covariances: Sequence[NDArray[np.float64]], likeness: Sequence[NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """Return covariances of changes as they are, and each as it is where changes depend on one of the covariates.

    Parameters
    ----------
    covariances
        Each (n_groups, n_groups).
    likeness
        By covariate, as of `likenesses`.
    """
    return [
        *covariances,
        *(covariance * (1 - SHARED + SHARED * like) for like in likeness for covariance in covariances),
    ]


def unseen(values: pd.DataFrame, seen: pd.DataFrame) -> list[str]:
    """Say which covariates of groups are not among those seen: a level that was not, a number outside their range.

    Parameters
    ----------
    values
        Covariates of groups.
    seen
        Of the groups that were learned from.
    """
    said = []
    for name in seen.columns:
        if seen[name].dtype.kind == "f":
            low, high = float(seen[name].min()), float(seen[name].max())
            new = sorted({f"{value:g}" for value in values[name][~values[name].between(low, high)]})
            known = f"{low:g} to {high:g}"
        else:
            levels = sorted(set(seen[name].astype(str)))
            new, known = sorted(set(values[name].astype(str)) - set(levels)), ", ".join(levels[:6])
        if new:
            said.append(f"{name} {', '.join(new[:6])} (measured: {known})")
    return said


def design(seen: pd.DataFrame, values: pd.DataFrame) -> NDArray[np.float64]:
    """Return (n, any) columns for a linear model: levels that were seen as 0 or 1, numbers in standard deviations.

    Parameters
    ----------
    seen
        Covariates of the groups that were learned from.
    values
        Of the groups to describe.
    """
    columns: list[NDArray[np.float64]] = []
    for name in seen.columns:
        if seen[name].dtype.kind == "f":
            width = float(seen[name].std(ddof=0))
            columns.append((values[name].to_numpy(dtype=float) - float(seen[name].mean())) / (width or 1.0))
        else:
            text = values[name].astype(str).to_numpy()
            columns += [(text == level).astype(np.float64) for level in sorted(set(seen[name].astype(str)))]
    return np.column_stack(columns) if columns else np.zeros((len(values), 0))
