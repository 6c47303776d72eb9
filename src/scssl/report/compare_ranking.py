"""Figures of a comparison that say what changes most: an overview, and shares and states in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import DataError
from scssl.report.style import ACCENT, GRID, INK, MISSING, new_figure, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS: Final = {
    "composition": "change of log2\nshare against\nmean of types",
    "state": "state shift",
    "genes": "genes found,\nof those tested",
    "programmes": "programmes found,\nof those tested",
}
HINT: Final = "#BBD7EC"
"""Shade of what has a small p-value and is not found."""
UNTESTED: Final = "#ECEDEF"


def comparison_overview(answers: pd.DataFrame, *, fdr: float = 0.05) -> Figure:
    """Draw what changes in which cells at one glance: a row per cell type, a column per kind of change.

    How to read it: dark blue is found at the false discovery rate; pale blue has a p-value up to 0.05 and is not found;
    white has a larger one, which is not the same as no change; grey could not be tested, or so few donors cannot give a
    small p-value. Numbers: change of the log2 share against the mean of all types; state shift (1 is the usual distance
    between two cell types); genes and programmes found, of those tested.

    Parameters
    ----------
    answers
        Of a `Comparison`.
    fdr
        False discovery rate.

    Returns
    -------
    matplotlib.figure.Figure
        Taller with more types.

    Raises
    ------
    DataError
        If nothing was asked.
    """
    if answers.empty:
        message = "overview: nothing was asked"
        raise DataError(message)
    kinds = [kind for kind in COLUMNS if (answers["kind"] == kind).any()]
    types = by_type(answers)
    rows = answers.set_index(["cell_type", "kind"])
    with styled():
        figure, (axes,) = new_figure(2.6 + 1.25 * len(kinds), 1.2 + 0.33 * len(types))
        for y, name in enumerate(types):
            for x, kind in enumerate(kinds):
                row = rows.loc[(name, kind)] if (name, kind) in rows.index else None
                shade, ink, text = _cell(row, kind, fdr)
                axes.add_patch(_box(x, y, shade))
                axes.text(x, y, text, ha="center", va="center", color=ink, fontsize=9)
        axes.set(xlim=(-0.5, len(kinds) - 0.5), ylim=(len(types) - 0.5, -0.5))
        axes.set_xticks(range(len(kinds)), [COLUMNS[kind] for kind in kinds])
        axes.set_yticks(range(len(types)), [short(name) for name in types])
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        handles = [_box(0, 0, shade) for shade in (ACCENT, HINT, "#FFFFFF", UNTESTED)]
        names = [f"found (FDR {fdr:.0%})", "p up to 0.05, not found", "p above 0.05", "too few to tell"]
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8, handlelength=1.2)
    return figure


def by_type(answers: pd.DataFrame) -> list[str]:
    """Order cell types: those in which anything is found first, then by how far their cells move, then by rank.

    Parameters
    ----------
    answers
        Of a `Comparison`.
    """
    names = list(dict.fromkeys(answers["cell_type"].astype(str)))
    found = {str(name) for name in answers.loc[answers["found"].astype(bool), "cell_type"]}
    moved = answers[answers["kind"] == "state"].set_index("cell_type")["effect"].astype(float).to_dict()
    return sorted(names, key=lambda name: (name not in found, -np.nan_to_num(moved.get(name, np.nan), nan=-np.inf)))


def _cell(row: Any, kind: str, fdr: float) -> tuple[str, str, str]:
    """Return shade, ink and text of a cell."""
    if row is None:
        return UNTESTED, INK, ""
    effect, p, q = float(row["effect"]), float(row["p_value"]), float(row["q_value"])
    if kind in ("genes", "programmes"):
        text = f"{int(row['n_found']):,} of {int(row['n_tests']):,}" if np.isfinite(p) else ""
    else:
        text = (
            ""
            if np.isnan(effect)
            else (f"{effect:+z.2f}" if kind == "composition" else f"{round(effect, 2) + 0.0:.2f}")
        )
    if np.isnan(p):
        return UNTESTED, INK, text
    if q <= fdr:
        return ACCENT, "white", text
    if p <= 0.05:
        return HINT, INK, text
    hopeless = kind == "state" and float(row["smallest_p"]) > fdr
    return (UNTESTED if hopeless else "#FFFFFF"), INK, text


def _box(x: float, y: float, shade: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=shade, edgecolor=GRID, linewidth=0.4)


def share_changes(composition: pd.DataFrame, *, fdr: float = 0.05) -> Figure:
    """Draw how the share of each type changes, with its interval.

    How to read it: intervals that cross the line leave it open whether the share rises or falls. Shares are relative:
    the values are differences of centred log-ratios, each type against the mean of all, and may differ in sign from
    those of the shares themselves.

    Parameters
    ----------
    composition
        Of a `Comparison`.
    fdr
        False discovery rate.

    Returns
    -------
    matplotlib.figure.Figure
        Taller with more types.

    Raises
    ------
    DataError
        If there are no types.
    """
    return _ranking(
        composition, value="log2_ratio", fdr=fdr, x_label="change of log2 share against the mean of all types",
        what="composition", by_size=False, note=_p_note,
    )  # fmt: skip


def state_shifts(state: pd.DataFrame, *, fdr: float = 0.05) -> Figure:
    """Draw how far the cells of each type move, most first.

    How to read it: 0 is no more than donors under one condition differ by chance; 1 is as far as two cell types usually
    lie apart. Beside it is written how well a classifier tells the condition of cells of donors that it has not seen
    (AUC, 0.5 is chance).

    Parameters
    ----------
    state
        Of a `Comparison`.
    fdr
        False discovery rate.

    Returns
    -------
    matplotlib.figure.Figure
        Taller with more types.

    Raises
    ------
    DataError
        If no state was looked at.
    """
    return _ranking(
        state, value="relative_shift", fdr=fdr, x_label="state shift (1: usual distance between two cell types)",
        what="states", by_size=True, note=_state_note,
    )  # fmt: skip


def _ranking(
    table: pd.DataFrame, *, value: str, fdr: float, x_label: str, what: str, by_size: bool, note: Any
) -> Figure:
    shown = table[table[value].notna()]
    if shown.empty:
        message = f"{what}: nothing was compared"
        raise DataError(message)
    shown = shown.sort_values(value, key=None if by_size else np.abs, ascending=False, kind="stable")
    x = shown[value].to_numpy(dtype=float)
    low, high = (
        shown[name].to_numpy(dtype=float) if name in shown else np.full(len(x), np.nan) for name in ("low", "high")
    )
    found = shown["q_value"].astype(float).to_numpy() <= fdr
    left, right = (float(f(np.concatenate([x, e[np.isfinite(e)], [0.0]]))) for f, e in ((np.min, low), (np.max, high)))
    with styled():
        figure, (axes,) = new_figure(6.8, 1.1 + 0.32 * len(shown))
        axes.axvline(0, color=GRID, linewidth=0.8, zorder=0)
        room = 0.03 * max(right - left, 1e-9)
        for y, row in enumerate(shown.to_dict(orient="records")):
            colour = ACCENT if found[y] else MISSING
            if np.isfinite(low[y]) and np.isfinite(high[y]):
                axes.plot([low[y], high[y]], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt")
            axes.plot(x[y], y, "o", color=colour, markersize=7)
            axes.text(right + 2 * room, y, note(row), va="center", fontsize=8.5)
        axes.set_xlim(left - room, right + room)
        axes.set_yticks(range(len(shown)), [str(name) for name in shown["cell_type"]])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlabel(x_label)
        if (shown["unit"] == "donor").any():
            axes.set_title(f"blue: found at a false discovery rate of {fdr:.0%}", fontsize=9)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=GRID, alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
    return figure


def _p_note(row: dict[str, Any]) -> str:
    return (
        "these cells only" if row["unit"] == "cell" else f"p = {_number(row['p_value'])}, q = {_number(row['q_value'])}"
    )


def _state_note(row: dict[str, Any]) -> str:
    return _p_note(row) if row["unit"] == "cell" else f"AUC {row['auc']:.2f}, {_p_note(row)}"


def _number(value: float) -> str:
    return f"{value:.0e}" if 0 < value < 0.001 else f"{value:.2g}"


def short(name: str, *, most: int = 44) -> str:
    """Cut a name that is too long for its place.

    Parameters
    ----------
    name
        Of a type, gene or programme.
    most
        Letters that there is room for.
    """
    return name if len(name) <= most else f"{name[: most - 2]}..."
