"""The linear model of a comparison: samples, their condition, and what else they differ in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.tasks.compare.permute import Assignments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST: Final = 1e-8
"""Share of the variation of the condition that the covariates must leave."""


class NotTestable(DataError):  # noqa: N818 (a reason, shown as such)
    """Why these samples cannot be tested; shown beside the results, or raised if nothing can be."""


class Inseparable(NotTestable):
    """The covariates say which condition a sample has."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Samples that are compared: values of each are ``nuisance @ a + case * b`` and noise."""

    case: NDArray[np.bool_]
    """(n_samples,) True for the case."""
    donor: NDArray[np.int64]
    """(n_samples,) codes."""
    basis: NDArray[np.float64]
    """(n_samples, n_nuisance) orthonormal: intercept, covariates, and the donors of pairs."""
    nuisance: pd.DataFrame
    """(n_samples, n_nuisance) the same as columns with names, linearly independent."""
    strata: NDArray[np.int64]
    """(n_samples,) within which conditions may be exchanged."""
    continuous: bool
    """Whether a covariate is a number, so that exchanging conditions is exact only of residuals."""
    paired: bool

    @classmethod
    def of(cls, samples: pd.DataFrame, *, covariates: Sequence[str], paired: bool) -> Layout:
        """Lay out some samples.

        Parameters
        ----------
        samples
            One row per sample: ``donor``, ``case`` (bool) and the covariates.
        covariates
            Columns to adjust for: numbers as they are, anything else as levels.
        paired
            Whether every donor has both conditions, and is compared with itself.

        Raises
        ------
        NotTestable
            If there are fewer than two donors of a condition, or too few for the covariates, or these cannot be told
            apart from the condition.
        """
        case = samples["case"].to_numpy(dtype=bool)
        donor = pd.factorize(samples["donor"], sort=True)[0].astype(np.int64)
        few = min(len(np.unique(donor[case])), len(np.unique(donor[~case])))
        if few < 2:
            who = "donor has enough cells under both conditions" if paired else "donor under one of the conditions"
            needed = "two such donors" if paired else "two under each"
            message = f"{'only one' if few else 'no'} {who}; a test needs at least {needed}"
            raise NotTestable(message)
        columns = {"intercept": np.ones(len(case))}
        strata, continuous = [donor] if paired else [], False
        for name in covariates:
            values = samples[name]
            if is_number(values):
                numbers = values.to_numpy(dtype=np.float64)
                columns[name] = (numbers - numbers.mean()) / (numbers.std() or 1.0)
                continuous = True
            else:
                codes, levels = pd.factorize(values, sort=True)
                strata.append(codes.astype(np.int64))
                columns |= {f"{name}={level}": codes == code for code, level in enumerate(levels) if code}
        if paired:
            columns |= {f"donor={code}": donor == code for code in range(1, donor.max() + 1)}
        nuisance = _independent(pd.DataFrame(columns, dtype=np.float64))
        basis = np.linalg.qr(nuisance.to_numpy())[0]
        found = cls(
            case=case, donor=donor, basis=basis, nuisance=nuisance, strata=_combined(strata, len(case)),
            continuous=continuous, paired=paired,
        )  # fmt: skip
        if found.contrast @ found.contrast < LEAST * len(case):
            message = f"{', '.join(covariates)} cannot be told apart from the condition in these donors"
            for name in covariates:
                n_levels = samples[name].nunique()
                if not is_number(samples[name]) and 2 * n_levels > len(case):
                    message += f"; {name} has {n_levels} levels: if these are numbers, make it a column of numbers"
            raise Inseparable(message)
        if found.df < 1:
            message = f"{len(case)} samples are too few for {nuisance.shape[1] + 1} coefficients ({_words(nuisance)})"
            raise NotTestable(message)
        return found

    @property
    def contrast(self) -> NDArray[np.float64]:
        """(n_samples,) what is left of the condition (0 or 1) once the nuisance is taken out."""
        condition = self.case.astype(np.float64)
        left: NDArray[np.float64] = condition - self.basis @ (self.basis.T @ condition)
        return left

    @property
    def df(self) -> int:
        """Degrees of freedom that are left."""
        return int(len(self.case) - self.basis.shape[1] - 1)

    @property
    def design(self) -> pd.DataFrame:
        """(n_samples, n_coefficients) the nuisance and, last, ``case``."""
        return self.nuisance.assign(case=self.case.astype(np.float64))

    def residuals(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Take the nuisance out of values of the samples.

        Parameters
        ----------
        values
            (n_samples, n_tests).
        """
        left: NDArray[np.float64] = values - self.basis @ (self.basis.T @ values)
        return left

    def assignments(self, *, most: int, seed: int = 0) -> Assignments:
        """Return the ways to hand out the conditions; see `Assignments.of`."""
        return Assignments.of(self.case, strata=self.strata, most=most, seed=seed)


def is_number(values: pd.Series) -> bool:
    """Say whether a covariate is a number, rather than one of several levels.

    Categories with decimals are numbers that went through pandas' ``map``; whole ones may as well number batches.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        return bool(values.cat.categories.dtype.kind == "f")
    return bool(pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values))


def _independent(columns: pd.DataFrame) -> pd.DataFrame:
    """Leave out columns that earlier ones already say, such as a donor's sex beside the donor."""
    kept: list[str] = []
    basis = np.zeros((len(columns), 0))
    for name in columns.columns:
        column = columns[name].to_numpy()
        left = column - basis @ (basis.T @ column)
        size = float(np.sqrt(left @ left))
        if size > 1e-6 * max(float(np.sqrt(column @ column)), 1e-12):
            kept.append(name)
            basis = np.column_stack([basis, left / size])
    return columns[kept]


def _combined(parts: list[NDArray[np.int64]], n: int) -> NDArray[np.int64]:
    if not parts:
        return np.zeros(n, dtype=np.int64)
    return np.unique(np.stack(parts, axis=1), axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _words(nuisance: pd.DataFrame) -> str:
    names = [str(name) for name in nuisance.columns]
    return ", ".join([*names[:4], *(["..."] if len(names) > 4 else []), "condition"])
