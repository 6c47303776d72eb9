"""The answer in a few lines: what changes most, in which cells, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.tasks.compare.answers import HINT, MODULE, number

if TYPE_CHECKING:
    from collections.abc import Hashable

    import pandas as pd

    from scssl.tasks.compare.comparison import Comparison

LISTED: Final = 3
"""Types named in a line."""
MANY: Final = {"genes": ("Genes", "symbol", 3, 2), "programmes": ("Programmes", "programme", 2, 1)}
"""Kinds with many tests: their name, the column that names what was tested, how many are named in how many types."""


def brief(found: Comparison) -> list[str]:
    """Say in six lines or fewer, warnings aside, what `Comparison.sentences` say at length.

    Parameters
    ----------
    found
        The comparison.
    """
    settings, answers = found.settings, found.answers
    n_control, n_case = int(settings["n_donors_control"]), int(settings["n_donors_case"])
    paired = bool(settings["compared_as_pairs"])
    units = f"{n_control} pair{'s' * (n_control != 1)}" if paired else f"{n_control} against {n_case} donors"
    whom = f"{units} (each donor with itself)" if paired else units
    smallest = float(answers["smallest_p"].astype(float).min())
    tested = int(answers["p_value"].notna().sum())
    said = [f"WARNING: {words}." for words in found.warnings]
    head = f"{settings['case']!r} was compared with {settings['control']!r}: {whom}, {settings['n_types']} cell types"
    if min(n_control, n_case) < 2:
        said.append(
            f"{head}. Fewer than two donors on a side: nothing was tested, and nothing can be known about other "
            "donors. What is shown is how these cells differ."
        )
    else:
        said.append(
            f"{head}. {len(found.found)} of {tested} questions have a clear answer at a false discovery rate of "
            f"{float(settings['fdr']):.0%}."
            + f" The smallest p-value that permutations allow is {number(smallest)}."
            * bool(np.isfinite(smallest))
        )
    lines = (_states(answers), *(_many(found, kind) for kind in MANY), _shares(found))
    said += [line for line in lines if line]
    if found.notes:
        said.append(f"Took no part: {'; '.join(note.removesuffix(' take no part') for note in found.notes)}.")
    return said


def _states(answers: pd.DataFrame) -> str:
    asked = answers[(answers["kind"] == "state") & answers["effect"].notna()]
    if asked.empty:
        return ""
    asked = asked.sort_values("effect", ascending=False, kind="stable")
    first = [
        f"{row['cell_type']} ({max(float(row['effect']), 0.0):.2f}{_sure(row)})"
        for row in asked.head(LISTED).to_dict(orient="records")
    ]
    line = f"Cells that move furthest (1: the usual distance between two cell types): {', '.join(first)}."
    n_found = int(asked["found"].astype(bool).sum())
    if n_found > LISTED:
        line += f" In all, {n_found} of {len(asked)} types are found to move."
    elif not n_found and (asked["unit"] == "donor").any():
        hopeless = float(asked["smallest_p"].astype(float).min()) > HINT
        line += " So few donors can show none of this." if hopeless else " None of this is found."
    return line


def _sure(row: dict[Hashable, Any]) -> str:
    return f", q = {number(float(row['q_value']))}" if row["found"] else ""


def _many(found: Comparison, kind: str) -> str:
    title, name, most, n_types = MANY[kind]
    asked = found.answers[found.answers["kind"] == kind]
    if asked.empty:
        return ""
    table: pd.DataFrame = getattr(found, kind)
    if not asked["p_value"].notna().any():
        largest = table.iloc[np.argsort(-table["log2_ratio"].abs().to_numpy(), kind="stable")].drop_duplicates(name)
        if largest.empty:
            return ""
        return f"{title} that differ most in these cells (log2 ratios): {_listed(largest, name, most=most)}."
    there = asked[asked["found"].astype(bool)].sort_values("n_found", ascending=False, kind="stable")
    n_tested = int(asked["p_value"].notna().sum())
    if there.empty:
        return f"{title}: none is found in any of {n_tested} types."
    parts = []
    for row in there.head(n_types).to_dict(orient="records"):
        hits = table[(table["cell_type"] == row["cell_type"]) & (table["q_value"] <= float(found.settings["fdr"]))]
        named = _listed(hits, name, most=most)
        parts.append(f"{row['cell_type']} ({row['n_found']:,} of {row['n_tests']:,}{_sure(row)}: {named})")
    return f"{title} are found in {len(there)} of {n_tested} types, most in {' and '.join(parts)}."


def _listed(table: pd.DataFrame, name: str, *, most: int) -> str:
    rows = table.head(most)
    names = [MODULE.sub(r"\1 (\2)", str(one)) for one in rows[name]]
    more = ", ..." if len(table) > most else ""
    return ", ".join(f"{one} {ratio:+.1f}" for one, ratio in zip(names, rows["log2_ratio"], strict=True)) + more


def _shares(found: Comparison) -> str:
    asked = found.answers[found.answers["kind"] == "composition"]
    if asked.empty or not asked["p_value"].notna().any():
        return ""
    there = asked[asked["found"].astype(bool)]
    if there.empty:
        return f"Shares of cells: no change is found in any of {len(asked)} types."
    parts = [
        f"{row['cell_type']} (log2, against the mean of types, {row['effect']:+z.2f}{_sure(row)})"
        for row in there.head(LISTED).to_dict(orient="records")
    ]
    more = f" and {len(there) - LISTED} more" if len(there) > LISTED else ""
    return f"Shares of cells change in {', '.join(parts)}{more}."
