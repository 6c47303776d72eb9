"""From scores to what the choices of an evaluation change: shifts, ranks, and orders of pairs."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def summarise(rows: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Return scores, shifts from our evaluation, ranks, and the pairs of methods whose order changes.

    Parameters
    ----------
    rows
        ``data``, ``arm``, ``seed``, ``evaluation``, ``macro_f1``; one evaluation is named ``"ours"``.

    Returns
    -------
    dict
        ``summary``: per data, evaluation and arm the mean over seeds, lowest, highest, rank, and the shift from ours,
        paired by seed. ``reversals``: pairs whose mean difference has another sign than under ours; ``clear`` where
        every seed has the sign of its mean in both evaluations.
    """
    summary: list[dict[str, Any]] = []
    reversals: list[dict[str, Any]] = []
    for name, mine in rows.groupby("data", sort=False):
        tables = {
            evaluation: part.pivot_table(index="seed", columns="arm", values="macro_f1", sort=False)
            for evaluation, part in mine.groupby("evaluation", sort=False)
        }
        ours = tables["ours"]
        for evaluation, table in tables.items():
            shift, ranks = table - ours, table.mean().rank(ascending=False, method="min")
            summary += [
                {
                    "data": name,
                    "evaluation": evaluation,
                    "arm": arm,
                    **_spread(table[arm], "macro_f1"),
                    "rank": int(ranks[arm]),
                    **_spread(shift[arm], "shift"),
                }
                for arm in table.columns
            ]
            for first, second in combinations(ours.columns, 2):
                before, after = ours[first] - ours[second], table[first] - table[second]
                if np.sign(before.mean()) == np.sign(after.mean()):
                    continue
                reversals.append(
                    {
                        "data": name,
                        "evaluation": evaluation,
                        "pair": [first, second],
                        **_spread(before, "ours"),
                        **_spread(after, "theirs"),
                        "clear": bool(_one_sign(before) and _one_sign(after)),
                    }
                )
    return {"summary": summary, "reversals": reversals}


def _spread(values: pd.Series, name: str) -> dict[str, float]:
    """Mean, lowest and highest over seeds."""
    found = {name: values.mean(), f"{name}_lowest": values.min(), f"{name}_highest": values.max()}
    return {key: round(float(value), 4) for key, value in found.items()}


def _one_sign(values: pd.Series) -> bool:
    return bool((values > 0).all() or (values < 0).all())
