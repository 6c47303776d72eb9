"""Which cells are compared: conditions, donors, types and covariates, read and checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from scssl import keys
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError
from scssl.tasks.annotate.labels import encode, read_labels
from scssl.tasks.compare.confounding import Confounded, find_confounded
from scssl.tasks.compare.layout import Inseparable, Layout, NotTestable, is_number
from scssl.tasks.pseudobulk import N_CELLS, samples

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.tasks.compare.settings import Paired

DONOR: Final = "donor"
CONDITION: Final = "condition"
CASE: Final = "case"
TAKEN: Final = (DONOR, CONDITION, CASE, N_CELLS, "intercept")
"""Names of the table of samples and of the linear model, which no covariate can have."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What was asked of which columns."""

    condition: str
    control: str
    case: str
    donor: str
    cell_type: str
    covariates: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Design:
    """Cells of two conditions, and the samples (donor and condition) that they are of."""

    question: Question
    file: str
    """What the cells are called in messages."""
    samples: pd.DataFrame
    """One row per sample: ``donor``, ``condition``, ``case`` (bool), the covariates, ``n_cells``."""
    sample: NDArray[np.int64]
    """(n_cells,) row of `samples`; -1 for cells that are not compared."""
    type: NDArray[np.int64]
    """(n_cells,) place in `types`; -1 for cells without a type."""
    types: list[str]
    paired: bool
    confounded: list[Confounded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was left out, and why."""

    @property
    def n_donors(self) -> tuple[int, int]:
        """Donors under the control, and under the case."""
        case = self.samples["case"]
        return int((~case).sum()), int(case.sum())

    @property
    def testable(self) -> bool:
        """Whether there are two donors on each side: with fewer, nothing can be known about other donors."""
        return min(self.n_donors) >= 2

    @property
    def counts(self) -> NDArray[np.int64]:
        """(n_samples, n_types) cells."""
        table = np.zeros((len(self.samples), len(self.types)), dtype=np.int64)
        chosen = (self.sample >= 0) & (self.type >= 0)
        np.add.at(table, (self.sample[chosen], self.type[chosen]), 1)
        return table

    def rows_of(self, code: int, *, min_cells: int) -> tuple[NDArray[np.int64], list[str]]:
        """Return the samples that have enough cells of a type, and the names of those that have too few.

        Parameters
        ----------
        code
            Place of the type.
        min_cells
            Cells a sample must have. If samples are paired, one that is left out takes the other with it.
        """
        enough = self.counts[:, code] >= min_cells
        if self.paired:
            donors = self.samples[DONOR]
            enough &= donors.map(pd.Series(enough, index=donors.index).groupby(donors).all()).to_numpy(dtype=bool)
        return np.flatnonzero(enough), [str(name) for name in self.samples.index[~enough]]


def read_design(
    data: AnnData | Path | str,
    question: Question,
    *,
    layer: str | None = None,
    paired: Paired = "auto",
    min_cells: int = 2,
) -> Design:
    """Read and check what is compared.

    Parameters
    ----------
    data
        AnnData or file.
    question
        Columns of ``obs``, and the two conditions.
    layer
        Where the counts are.
    paired, min_cells
        See `ComparerSettings`.

    Raises
    ------
    DataError
        If a column is missing, a condition has no cell or fewer than a donor must have, both conditions are the same,
        a covariate varies within a sample or has no value, or donors under both conditions are not to be paired.
    """
    with open_source(data, layer=layer) as source:
        obs, file = source.obs, source.file
    _check_columns(obs, question, file=file)
    values = obs[question.condition].astype(object).map(str, na_action="ignore")
    side = np.select([values == question.case, values == question.control], [1, 0], default=-1)
    for name, code in ((question.control, 0), (question.case, 1)):
        if not (side == code).any():
            there = ", ".join(repr(str(v)) for v in sorted(values.dropna().unique(), key=str)[:12]) or "no value"
            message = f"{file}: no cell has {name!r} in obs[{question.condition!r}]; there are: {there}"
            raise DataError(message)
    notes = []
    if (side < 0).any():
        others = ", ".join(map(str, sorted(values[side < 0].dropna().unique(), key=str)[:6])) or "no condition"
        notes.append(f"{(side < 0).sum():,} cells of other conditions ({others}) take no part")
    donor = read_labels(obs, question.donor, file=file)
    nobody = (side >= 0) & donor.isna().to_numpy()
    if nobody.any():
        notes.append(f"{nobody.sum():,} cells have no donor in obs[{question.donor!r}] and take no part")
    types = read_labels(obs, question.cell_type, file=file)
    codes, names = encode(types)
    untyped = (side >= 0) & (codes < 0)
    if untyped.any():
        notes.append(f"{untyped.sum():,} cells have no type in obs[{question.cell_type!r}] and take no part")
    taken = (side >= 0) & ~nobody & ~untyped
    for name, code in ((question.control, 0), (question.case, 1)):
        n_there = int((taken & (side == code)).sum())
        if 0 < n_there < min_cells:
            message = (
                f"{file}: {n_there} cell{'s' * (n_there != 1)} of {name!r} with a donor and a type "
                f"{'is' if n_there == 1 else 'are'} too few to compare; {min_cells} are needed (min_cells)"
            )
            raise DataError(message)
    table = pd.DataFrame({DONOR: donor, CONDITION: values}, index=obs.index)
    sample, found = samples(table, rows=taken)
    found["case"] = found[CONDITION] == question.case
    both = _paired(found, question, paired=paired, file=file, notes=notes)
    if both is not None:
        kept = found[DONOR].isin(both).to_numpy()
        renumber = np.where(kept, np.cumsum(kept) - 1, -1)
        sample = np.where(sample >= 0, renumber[np.maximum(sample, 0)], -1)
        found = found[kept].copy()
    if found["case"].all() or not found["case"].any():
        missing = question.control if found["case"].all() else question.case
        message = f"{file}: no cell of {missing!r} has both a donor and a type, so there is nothing to compare"
        raise DataError(message)
    for name in question.covariates:
        found[name] = pd.Series(_covariate(obs, name, sample=sample, table=found, file=file), index=found.index)
    confounded = find_confounded(obs, sample=sample, table=found, question=question)
    _refuse_confounded(confounded, question, file=file)
    found = found[[DONOR, CONDITION, "case", *question.covariates, N_CELLS]]
    _refuse_inseparable(found, question, paired=both is not None, file=file)
    codes = np.where(sample >= 0, codes, -1)
    used = np.unique(codes[codes >= 0])
    place = np.full(len(names) + 1, -1)
    place[used] = np.arange(len(used))
    return Design(
        question=question, file=file, samples=found, sample=sample, type=place[codes].astype(np.int64),
        types=[names[code] for code in used], paired=both is not None, confounded=confounded, notes=notes,
    )  # fmt: skip


def choose_types(data: AnnData | Path | str, cell_type: str | None) -> str:
    """Return the column with the types: the one given, or what `scssl annotate` wrote.

    Parameters
    ----------
    data
        AnnData or file.
    cell_type
        Column of ``obs``, if one was given.

    Raises
    ------
    DataError
        If none was given and the cells are not annotated.
    """
    if cell_type is not None:
        return cell_type
    with open_source(data) as source:
        columns, file = source.columns, source.file
    if keys.LABEL in columns:
        return keys.LABEL
    message = (
        f"{file}: give the column of obs with the cell types (--cell-type), or annotate the cells first: scssl "
        f"annotate writes obs[{keys.LABEL!r}]. There are: {', '.join(columns) or 'none'}"
    )
    raise DataError(message)


def _check_columns(obs: pd.DataFrame, question: Question, *, file: str) -> None:
    if question.control == question.case:
        message = f"control and case are both {question.case!r}; name two different values of {question.condition!r}"
        raise DataError(message)
    asked = {"condition": question.condition, "donor": question.donor, "cell type": question.cell_type}
    for what, name in [*asked.items(), *(("covariate", name) for name in question.covariates)]:
        if name not in obs.columns:
            there = ", ".join(map(str, obs.columns)) or "none"
            message = f"{file}: obs has no column {name!r} with the {what}; there are: {there}"
            raise DataError(message)
    given = [question.condition, question.donor, question.cell_type, *question.covariates]
    twice = next((name for name in given if given.count(name) > 1), None)
    if twice is not None:
        message = f"{twice!r} is given twice: condition, donor, cell type and covariates are different columns"
        raise DataError(message)
    taken = next((name for name in question.covariates if name in TAKEN), None)
    if taken is not None:
        message = (
            f"{file}: covariate {taken!r} has a name that the comparison uses itself ({', '.join(TAKEN)}); rename that "
            "column of obs"
        )
        raise DataError(message)


def _paired(
    table: pd.DataFrame, question: Question, *, paired: Paired, file: str, notes: list[str]
) -> list[str] | None:
    """Return the donors that are compared with themselves, None if donors differ between the conditions."""
    n_conditions = table.groupby(DONOR)[CONDITION].nunique()
    both = [str(name) for name in n_conditions.index[n_conditions > 1]]
    alone = [str(name) for name in n_conditions.index[n_conditions == 1]]
    if not both:
        if paired == "yes":
            message = f"{file}: no donor in obs[{question.donor!r}] has cells under both conditions, so none are paired"
            raise DataError(message)
        return None
    listed = ", ".join(both[:6]) + (", ..." if len(both) > 6 else "")
    if paired == "no":
        message = (
            f"{file}: {len(both)} donors have cells under both conditions ({listed}): their samples are not "
            "independent, so they cannot be compared as if they were of different donors. Leave out --paired no, or "
            "give another --donor"
        )
        raise DataError(message)
    if alone and (len(both) >= 2 or paired == "yes"):
        notes.append(
            f"{len(both)} donors are compared with themselves; {len(alone)} with one condition only "
            f"({', '.join(alone[:6])}{', ...' if len(alone) > 6 else ''}) take no part"
        )
        return both
    if alone:
        message = (
            f"{file}: donor {both[0]!r} has cells under both conditions and the other donors have not: neither pairs "
            "nor independent donors. Leave out that donor, or one of its samples"
        )
        raise DataError(message)
    return both


def _covariate(
    obs: pd.DataFrame, name: str, *, sample: NDArray[np.int64], table: pd.DataFrame, file: str
) -> list[object]:
    """Return the one value that each sample has."""
    column = obs[name]
    numbers = is_number(column)
    values = column.astype(np.float64).to_numpy() if numbers else column.astype(object).map(str, na_action="ignore")
    found = pd.Series(np.asarray(values))[sample >= 0].groupby(sample[sample >= 0])
    missing = found.apply(lambda part: part.isna().any())
    if missing.any():
        message = f"{file}: covariate {name!r} has no value for some cells of {table.index[missing.to_numpy()][0]!r}"
        raise DataError(message)
    endless = found.apply(lambda part: numbers and bool(np.isinf(part).any()))
    if endless.any():
        message = f"{file}: covariate {name!r} is infinite for some cells of {table.index[endless.to_numpy()][0]!r}"
        raise DataError(message)
    several = found.apply(lambda part: len(set(part)) > 1)
    if several.any():
        message = (
            f"{file}: covariate {name!r} differs between the cells of {table.index[several.to_numpy()][0]!r}; a "
            "covariate says something about a donor (age, sex, study), not about single cells"
        )
        raise DataError(message)
    return list(found.first())


def _refuse_inseparable(samples: pd.DataFrame, question: Question, *, paired: bool, file: str) -> None:
    """Say before any work what no cell type could be tested with."""
    if not question.covariates:
        return
    try:
        Layout.of(samples, covariates=question.covariates, paired=paired)
    except Inseparable as error:
        message = f"{file}: {error}. Leave out what goes with the condition"
        raise DataError(message) from error
    except NotTestable:
        # Too few donors: sizes of effects are shown all the same.
        return


def _refuse_confounded(confounded: list[Confounded], question: Question, *, file: str) -> None:
    for found in confounded:
        if found.column in question.covariates and found.complete:
            message = (
                f"{file}: covariate {found.column!r} cannot be adjusted for: {found.words}. No analysis can tell the "
                f"two apart. Leave it out to compare anyway, as {found.column} as much as {question.condition}"
            )
            raise DataError(message)
