"""The ranked answer in plain words: what changes most, in which cells, and how sure that is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.tasks.compare.layout import Layout, NotTestable

if TYPE_CHECKING:
    from scssl.tasks.compare.design import Design
    from scssl.tasks.compare.settings import ComparerSettings
    from scssl.tasks.compare.tables import Tables

COLUMNS: Final = [
    "rank", "cell_type", "kind", "what", "sure", "found", "effect", "low", "high", "p_value", "q_value", "smallest_p",
    "n_tests", "n_found", "unit",
]  # fmt: skip
TYPES: Final = 10
"""Cell types that are told of."""
NAMED: Final = 4
"""Genes and programmes named in a sentence."""
MODULE: Final = re.compile(r"^(module \d+): (.+)$")
"""The name of a programme that was learned, with its most central genes."""
HINT: Final = 0.05
"""p-value up to which something that was not found is called a hint."""


def rank_answers(tables: Tables, design: Design, settings: ComparerSettings) -> pd.DataFrame:
    """Put the questions in the order of what is known, what is found first.

    Parameters
    ----------
    tables
        What was found.
    design
        What was compared.
    settings
        How.
    """
    rows = []
    for record in tables.questions.to_dict(orient="records"):
        question: dict[str, Any] = {str(name): value for name, value in record.items()}
        kind, name = question["kind"], question["cell_type"]
        if kind not in permuted(settings):
            # What permuting could give is no bound of a p-value that rests on a model.
            question["smallest_p"] = np.nan
        table = tables.of(kind)
        part = table[table["cell_type"] == name]
        words, effect = _WORDS[kind](part, question, settings)
        found = bool(question["q_value"] <= settings.fdr)
        sure = how_sure(question, settings, donors=_donors(design))
        rows.append({**question, **effect, "what": words, "sure": sure, "found": found})
    table = pd.DataFrame(rows, columns=[c for c in COLUMNS if c != "rank"])
    table["size"] = table["effect"].astype(float).abs().fillna(0.0)
    keys = ["found", "q_value", "p_value", "size"]
    table = table.sort_values(keys, ascending=[False, True, True, False], kind="stable", na_position="last")
    table = table.drop(columns="size").reset_index(drop=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def how_sure(question: dict[str, Any], settings: ComparerSettings, *, donors: str) -> str:
    """Say how sure an answer is.

    Parameters
    ----------
    question
        Row of the questions.
    settings
        With the false discovery rate.
    donors
        How many there are, in words.
    """
    p, q, smallest = (float(question[name]) for name in ("p_value", "q_value", "smallest_p"))
    if question["unit"] == "cell":
        return "not known: says something about these cells only, nothing about other donors"
    if np.isnan(p):
        return "not known: could not be tested"
    if q <= settings.fdr:
        return f"found (q = {number(q)})"
    if smallest > settings.fdr:
        most = " (as small as it can be)" if p <= smallest * 1.000001 else ""
        return f"cannot be shown with {donors}: p = {number(p)}{most}"
    if p <= HINT:
        return f"a hint only: p = {number(p)}, but q = {number(q)} given all that was asked"
    return f"not shown (p = {number(p)}), which is not the same as no change"


def permuted(settings: ComparerSettings) -> tuple[str, ...]:
    """Name the kinds of change whose p-values come from permuting the conditions.

    Parameters
    ----------
    settings
        With the test.
    """
    return ("state", "composition", "programmes") if settings.test == "permutation" else ("state",)


def _donors(design: Design) -> str:
    n_control, n_case = design.n_donors
    return f"{n_control} pairs" if design.paired else f"{n_control} against {n_case} donors"


def number(value: float) -> str:
    """Write a p-value as people do.

    Examples
    --------
    >>> number(0.0312), number(0.00004), number(0.1)
    ('0.031', '4e-05', '0.1')
    """
    return f"{value:.0e}" if 0 < value < 0.001 else f"{value:.2g}"


def _composition(
    part: pd.DataFrame, question: dict[str, Any], settings: ComparerSettings
) -> tuple[str, dict[str, Any]]:
    del question, settings
    row = part.iloc[0]
    words = (
        f"share of cells {_percent(row['share_control'])} -> {_percent(row['share_case'])} "
        f"(log2 ratio, against the mean of all types, {row['log2_ratio']:+z.2f}{_interval(row)})"
    )
    return words, {"effect": row["log2_ratio"], "low": row["low"], "high": row["high"]}


def _state(part: pd.DataFrame, question: dict[str, Any], settings: ComparerSettings) -> tuple[str, dict[str, Any]]:
    del question, settings
    row = part.iloc[0]
    if row["unit"] == "cell":
        words = f"cells lie {row['relative_shift']:.2f} of the usual distance between two cell types apart"
        return words, {"effect": row["relative_shift"]}
    words = (
        f"cells move by {max(float(row['relative_shift']), 0.0):.2f} of the usual distance between two cell types"
        f"{_interval(row)}; {row['condition_share']:.0%} of the distance between donors of different conditions is the "
        f"condition; a classifier tells that of cells of unseen donors with AUC {row['auc']:.2f} (0.5 is chance)"
    )
    return words, {"effect": row["relative_shift"], "low": row["low"], "high": row["high"]}


def _genes(part: pd.DataFrame, question: dict[str, Any], settings: ComparerSettings) -> tuple[str, dict[str, Any]]:
    return _many(part, question, settings, name="symbol", one="gene", effect=float(question["n_found"]))


def _programmes(part: pd.DataFrame, question: dict[str, Any], settings: ComparerSettings) -> tuple[str, dict[str, Any]]:
    strongest = float(part["log2_ratio"].iloc[0]) if len(part) else np.nan
    return _many(part, question, settings, name="programme", one="programme", effect=strongest)


def _many(
    part: pd.DataFrame, question: dict[str, Any], settings: ComparerSettings, *, name: str, one: str, effect: float
) -> tuple[str, dict[str, Any]]:
    if question["unit"] == "cell":
        part = part.iloc[(-part["log2_ratio"].abs()).argsort(kind="stable")]
        return f"{one}s that differ most: {_listed(part, name)}", {"effect": np.nan}
    found = part[part["q_value"] <= settings.fdr]
    if len(found):
        up = int((found["log2_ratio"] > 0).sum())
        words = f"{len(found):,} of {question['n_tests']:,} {one}s differ ({up:,} up, {len(found) - up:,} down)"
        return words + f"{', such as' if len(found) > NAMED else ':'} {_listed(found, name)}", {"effect": effect}
    words = f"none of {question['n_tests']:,} {one}s is found; first of them: {_listed(part.head(2), name)}"
    return words, {"effect": effect}


def _listed(part: pd.DataFrame, name: str) -> str:
    """Names with their log2 ratios; a learned programme's genes in brackets, as the ratio is not the last gene's."""
    first = part.head(NAMED)
    names = [MODULE.sub(r"\1 (\2)", str(one)) for one in first[name]]
    return ", ".join(f"{one} {ratio:+z.1f}" for one, ratio in zip(names, first["log2_ratio"], strict=True))


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _interval(row: pd.Series) -> str:
    if not (np.isfinite(row["low"]) and np.isfinite(row["high"])):
        return ""
    return f", 95 % interval {row['low']:z.2f} to {row['high']:z.2f}"


_ORDER: Final = ["state", "composition", "genes", "programmes"]
_WORDS: Final = {"composition": _composition, "state": _state, "genes": _genes, "programmes": _programmes}


def sentences(answers: pd.DataFrame, design: Design, settings: ComparerSettings) -> list[str]:
    """Say what came out in plain words: warnings first, then what was found, then what cannot be known.

    Parameters
    ----------
    answers
        Ranked.
    design
        What was compared.
    settings
        How.
    """
    question, (n_control, n_case) = design.question, design.n_donors
    said = [f"WARNING: {found.words}." for found in design.confounded]
    units = f"{n_control} donor{'s' * (n_control != 1)}"
    if design.paired:
        units += ", each under both conditions and compared with itself" if n_control > 1 else " under both conditions"
    else:
        units += f" against {n_case}"
    said.append(f"{question.case!r} was compared with {question.control!r}: {units}, {len(design.types)} cell types.")
    if not design.testable:
        said.append(
            "Fewer than two donors on a side: whether anything here would be seen in other donors cannot be known, "
            "however many cells there are, so nothing was tested. What follows is how these cells differ, which may be "
            "the donors, the day or the sample as much as the condition."
        )
        return said + [f"{name}: {'; '.join(words)}." for name, words in _by_type(answers, answers)]
    found = answers[answers["found"]]
    said.append(
        f"{len(found)} of {answers['p_value'].notna().sum()} questions (does {_asked(settings)} of a cell type "
        f"differ?) have a clear answer, at a false discovery rate of {settings.fdr:.0%} across all of them."
    )
    if len(found):
        asked = "state" in settings.kinds
        order = "those first whose cells move furthest" if asked else "the surest first"
        said.append(f"Cell types in which something is found, {order} (numbers after names are log2 ratios):")
        listed = _by_type(found, answers)
        said += [f"{n}. {name}: {'; '.join(words)}." for n, (name, words) in enumerate(listed[:TYPES], start=1)]
        if len(listed) > TYPES:
            said.append(f"... and {len(listed) - TYPES} more cell types, see answers.csv.")
    else:
        hints = answers[answers["p_value"].notna()].head(3)
        said += [f"{row.cell_type}, {row.kind}: {row.what}; {row.sure}." for row in hints.itertuples()]
        said.append("Nothing found does not mean that nothing changes: see which differences the intervals leave open.")
    return [*said, *_smallest(answers, design, settings)]


def _asked(settings: ComparerSettings) -> str:
    """Name what was asked of each cell type."""
    names = {"composition": "the share", "state": "the state", "genes": "any gene", "programmes": "any programme"}
    *others, last = [name for kind, name in names.items() if kind in settings.kinds]
    return f"{', '.join(others)} or {last}" if others else last


def _by_type(shown: pd.DataFrame, answers: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """List what is shown of each type, those whose cells move furthest first, then in the order of the answers."""
    moved = answers[answers["kind"] == "state"].set_index("cell_type")["effect"].astype(float)
    names = shown["cell_type"].drop_duplicates()
    names = names.iloc[np.argsort(-names.map(moved).fillna(-np.inf).to_numpy(), kind="stable")]
    listed = []
    for name in names:
        part = shown[shown["cell_type"] == name]
        part = part.iloc[np.argsort(part["kind"].map(_ORDER.index), kind="stable")]
        words = [
            row["what"] + (f" (q = {number(row['q_value'])})" if row["found"] else "")
            for row in part.to_dict(orient="records")
        ]
        listed.append((str(name), words))
    return listed


def _smallest(answers: pd.DataFrame, design: Design, settings: ComparerSettings) -> list[str]:
    """Say what so many donors can show at all."""
    try:
        layout = Layout.of(design.samples, covariates=design.question.covariates, paired=design.paired)
    except NotTestable as reason:
        return [f"Not tested: {reason}."]
    smallest = layout.assignments(most=settings.max_permutations).smallest
    names = {"state": "state shifts", "composition": "shares", "programmes": "programmes", "genes": "genes"}
    permutes = permuted(settings)
    by_permutation = [names[kind] for kind in names if kind in settings.kinds and kind in permutes]
    by_model = [names[kind] for kind in names if kind in settings.kinds and kind not in permutes]
    said = f"With {_donors(design)} the smallest p-value that permuting conditions can give"
    said += f" ({', '.join(by_permutation)})" * bool(by_permutation) + f" is {number(smallest)}."
    if by_model:
        said += (
            f" P-values of {', '.join(by_model)} may be smaller: they rest on a model of how donors vary, the more so "
            "the fewer they are."
        )
    states = answers[(answers["kind"] == "state") & ~answers["found"] & (answers["unit"] == "donor")]
    if smallest <= settings.fdr or states.empty:
        return [said]
    largest = states.sort_values("effect", ascending=False, kind="stable").head(3)
    seen = [f"{row.cell_type} ({row.effect:.2f})" for row in largest.itertuples()]
    return [
        f"{said} So state shifts can be seen but not shown; the largest, in units of the usual distance between two "
        f"cell types: {', '.join(seen)}."
    ]
