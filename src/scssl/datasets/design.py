"""Who was sampled: studies, batches, donors, their conditions and the share of each cell type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scssl.datasets.blueprint import Condition

Design = Literal["balanced", "paired", "confounded"]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """One row per sample, that is, per donor and condition."""

    table: pd.DataFrame
    """``donor``, ``study``, ``batch``, ``condition``, ``n_cells``."""
    donor: NDArray[np.int64]
    study: NDArray[np.int64]
    batch: NDArray[np.int64]
    condition: NDArray[np.int64]
    proportions: NDArray[np.float64]
    """(n_samples, n_types), rows sum to 1."""
    study_names: list[str]
    batch_names: list[str]
    donor_names: list[str]


def draw_samples(
    *,
    n_cells: int,
    n_types: int,
    n_studies: int,
    n_donors: int,
    batches_per_study: int,
    conditions: Sequence[str],
    shifts: Sequence[Condition],
    design: Design,
    composition_spread: float,
    rng: np.random.Generator,
) -> Samples:
    """Nest donors in batches in studies, give out conditions as `design` says, and draw shares of types and cells.

    Parameters
    ----------
    n_cells, n_types, n_studies, n_donors, batches_per_study
        Sizes.
    conditions
        Names, the control first.
    shifts
        One per condition but the control.
    design
        ``"balanced"``: donors of a study take turns through the conditions; ``"paired"``: every donor is sampled under
        every condition; ``"confounded"``: all donors of a study share one condition.
    composition_spread
        Standard deviation of the log shares of types between donors.
    rng
        Source of random numbers.
    """
    study_of_donor = np.sort(np.arange(n_donors) % n_studies)
    rank_in_study = np.arange(n_donors) - np.searchsorted(study_of_donor, study_of_donor)
    # Conditions alternate first and batches then, so that they are not confounded when there are donors enough.
    n_conditions = len(conditions)
    batch_in_study = (rank_in_study // n_conditions) % batches_per_study
    batch_of_donor = study_of_donor * batches_per_study + batch_in_study

    donor = np.arange(n_donors)
    if design == "paired":
        donor = np.repeat(donor, n_conditions)
        condition = np.tile(np.arange(n_conditions), n_donors)
    elif design == "balanced":
        condition = rank_in_study % n_conditions
    else:
        condition = study_of_donor % n_conditions
    n_samples = len(donor)

    log_share = rng.normal(0, 0.5, n_types) + rng.normal(0, composition_spread, (n_studies, n_types))[study_of_donor]
    log_share = (log_share + rng.normal(0, composition_spread, log_share.shape))[donor]
    for number, shift in enumerate(shifts, start=1):
        log_share[condition == number] += shift.composition
    proportions = np.exp(log_share)
    proportions /= proportions.sum(1, keepdims=True)

    cells = 1 + rng.multinomial(n_cells - n_samples, rng.dirichlet(np.full(n_samples, 10.0)))
    study_names = [f"study_{i + 1}" for i in range(n_studies)]
    batch_names = [f"{study}_batch_{i + 1}" for study in study_names for i in range(batches_per_study)]
    donor_names = [f"{study_names[s]}_donor_{r + 1}" for s, r in zip(study_of_donor, rank_in_study, strict=True)]
    study, batch = study_of_donor[donor], batch_of_donor[donor]
    table = pd.DataFrame(
        {
            "donor": [donor_names[i] for i in donor],
            "study": [study_names[i] for i in study],
            "batch": [batch_names[i] for i in batch],
            "condition": [conditions[i] for i in condition],
            "n_cells": cells,
        }
    )
    return Samples(
        table=table,
        donor=donor,
        study=study,
        batch=batch,
        condition=condition,
        proportions=proportions,
        study_names=study_names,
        batch_names=batch_names,
        donor_names=donor_names,
    )
