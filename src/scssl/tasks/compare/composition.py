"""Composition: whether the share of each cell type differs between the conditions, with donors as the units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from scssl.tasks.compare.layout import Layout, NotTestable
from scssl.tasks.compare.linear import moderated_t, permuted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.tasks.compare.design import Design
    from scssl.tasks.compare.settings import ComparerSettings

PSEUDO: Final = 0.5
"""Added to every number of cells: a type that was not seen in a donor has no logarithm."""
COLUMNS: Final = [
    "cell_type", "share_control", "share_case", "log2_ratio", "low", "high", "donor_sd", "p_moderated", "p_permutation",
    "smallest_p", "p_value", "unit",
]  # fmt: skip


def centred_log_ratios(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the share of each type against the geometric mean of all types, log2 (Aitchison 1982).

    Shares sum to one, so that one type's rise is the fall of all others. Against the mean of the types the fall is
    spread over them, small in each where types are many.

    Parameters
    ----------
    counts
        (n_samples, n_types) cells.
    """
    logs = np.log2(counts + PSEUDO)
    found: NDArray[np.float64] = logs - logs.mean(axis=1, keepdims=True)
    return found


def compare_composition(
    design: Design, settings: ComparerSettings, *, seed: int
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Compare the shares of all types.

    Centred log-ratios of each donor's cells, as Aitchison (1982, doi 10.1111/j.2517-6161.1982.tb01195.x) has them for
    data that sum to one, tested as propeller does (Phipson et al. 2022, doi 10.1093/bioinformatics/btac582): a linear
    model over donors whose variances lend each other strength; and by permuting the conditions among donors.

    Parameters
    ----------
    design
        What is compared.
    settings
        How.
    seed
        Of permutations that are drawn.

    Returns
    -------
    table : pandas.DataFrame
        One row per type.
    reasons : dict
        Type to why it was not tested.
    """
    counts = design.counts
    if len(design.types) < 2:
        return pd.DataFrame(columns=COLUMNS), dict.fromkeys(design.types, "there is one type only")
    total = counts.sum(axis=1)
    rows = np.flatnonzero(total >= settings.min_cells)
    if design.paired:
        donors = design.samples["donor"].iloc[rows]
        rows = rows[donors.map(donors.value_counts()).to_numpy() == 2]
    samples = design.samples.iloc[rows]
    case = samples["case"].to_numpy(dtype=bool)
    shares = counts[rows] / np.maximum(total[rows, None], 1)
    table = pd.DataFrame({"cell_type": design.types})
    with np.errstate(invalid="ignore"):
        for name, chosen in (("share_control", ~case), ("share_case", case)):
            table[name] = shares[chosen].mean(axis=0) if chosen.any() else np.nan
    try:
        layout = Layout.of(samples, covariates=design.question.covariates, paired=design.paired)
    except NotTestable as reason:
        return _cells_alone(table, counts, design), dict.fromkeys(design.types, str(reason))
    values = centred_log_ratios(counts[rows])
    counting = (1 / (counts[rows] + PSEUDO)).mean(axis=0) / np.log(2) ** 2
    found = moderated_t(values, layout, least=counting)
    ways = layout.assignments(most=settings.max_permutations, seed=seed)
    table["log2_ratio"], table["low"], table["high"] = found.effect, found.low, found.high
    table["donor_sd"] = found.spread
    table["p_moderated"], table["p_permutation"] = found.p, permuted(values, layout, ways, seed=seed)
    table["smallest_p"] = ways.smallest
    table["p_value"] = table["p_moderated" if settings.test == "moderated" else "p_permutation"]
    table["unit"] = "donor"
    return table[COLUMNS], {}


def _cells_alone(table: pd.DataFrame, counts: NDArray[np.int64], design: Design) -> pd.DataFrame:
    """Say how shares differ in these cells, and nothing about other donors."""
    case = design.samples["case"].to_numpy(dtype=bool)
    pooled = centred_log_ratios(np.stack([counts[~case].sum(axis=0), counts[case].sum(axis=0)]))
    table["log2_ratio"], table["unit"] = pooled[1] - pooled[0], "cell"
    return table.reindex(columns=COLUMNS)


def shares_of_samples(design: Design) -> pd.DataFrame:
    """Return the share of each type in each sample, for people to look at.

    Parameters
    ----------
    design
        What is compared.

    Returns
    -------
    pandas.DataFrame
        ``donor``, ``condition``, ``cell_type``, ``n_cells``, ``share``.
    """
    counts = design.counts
    n_types = len(design.types)
    return pd.DataFrame(
        {
            "donor": np.repeat(design.samples["donor"].to_numpy(dtype=object), n_types),
            "condition": np.repeat(design.samples["condition"].to_numpy(dtype=object), n_types),
            "cell_type": np.tile(np.array(design.types, dtype=object), len(counts)),
            "n_cells": counts.reshape(-1),
            "share": (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).reshape(-1),
        }
    )
