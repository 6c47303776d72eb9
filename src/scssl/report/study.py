"""Figures of a study: methods side by side, differences with their intervals, and curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.errors import DataError
from scssl.report.style import GRID, TEXT, new_figure, palette, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

GROUPS: Final = ("pre-trained", "scratch", "control", "baseline")
_NAMES: Final = {"scratch": "not pre-trained", "control": "control", "baseline": "no network"}
ALL_LABELS: Final = "all"
MOST_ACROSS: Final = 14
"""Columns of numbers that can be read side by side."""


def method_scores(table: pd.DataFrame, *, prefix: str = "") -> Figure:
    """Draw the score of each method with its interval, best on top, in the colour of its kind.

    How to read it: intervals of two methods may overlap although one is clearly better, as both rise and fall with the
    same donors; look at their difference.

    Parameters
    ----------
    table
        One row per method: ``title``, ``group``, ``macro_f1``, ``low``, ``high``.
    prefix
        Before the names of the last three: ``"hierarchical_"`` for scores with a kind of the true type counted as
        right.

    Returns
    -------
    matplotlib.figure.Figure
        7.2 inches wide, taller with more methods.

    Raises
    ------
    DataError
        If a column is absent, or the table is empty.
    """
    table = _with_prefix(table, prefix, ("macro_f1", "low", "high"))
    _check(table, ("title", "group", "macro_f1", "low", "high"))
    shown = table.sort_values("macro_f1", ascending=False, kind="stable")
    colours = dict(zip(GROUPS, palette(len(GROUPS)), strict=True))
    with styled():
        figure, (axes,) = new_figure(7.2, 1.0 + 0.3 * len(shown))
        said = set()
        for y, (_, row) in enumerate(shown.iterrows()):
            group = str(row["group"])
            label = None if group in said else _NAMES.get(group, group)
            said.add(group)
            colour = colours.get(group, TEXT)
            axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.6)
            axes.plot([row["macro_f1"]], [y], "o", color=colour, markersize=6, label=label)
            axes.annotate(
                f"{row['macro_f1']:.3f}",
                (row["high"], y),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_yticks(range(len(shown)), shown["title"].astype(str))
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        low, high = float(np.nanmin(shown["low"])), float(np.nanmax(shown["high"]))
        room = max(high - low, 0.05)
        axes.set_xlim(max(0.0, low - 0.08 * room), high + 0.22 * room)
        axes.set_xlabel("macro F1, a kind of the true type counted as right" if prefix else "macro F1")
        axes.grid(axis="x", color=GRID, alpha=0.25, linewidth=0.6)
        figure.legend(loc="outside upper right", ncols=4)
    return figure


def differences(table: pd.DataFrame, *, min_effect: float = 0.0, prefix: str = "") -> Figure:
    """Draw differences between methods with their intervals, and the band within which they do not matter.

    Parameters
    ----------
    table
        One row per comparison: ``method``, ``against``, ``difference``, ``low``, ``high``; shown are ``title`` and
        ``against_title`` where they are there.
    min_effect
        Half the width of the band.
    prefix
        As for `method_scores`.

    Returns
    -------
    matplotlib.figure.Figure
        7.2 inches wide, taller with more comparisons.

    Raises
    ------
    DataError
        If a column is absent, or the table is empty.
    """
    table = _with_prefix(table, prefix, ("difference", "low", "high"))
    _check(table, ("method", "against", "difference", "low", "high"))
    better, worse = palette(4)[2:4]
    pairs = [
        table[title if title in table else name] for name, title in (("method", "title"), ("against", "against_title"))
    ]
    with styled():
        figure, (axes,) = new_figure(7.2, 0.9 + 0.42 * len(table))
        axes.axvspan(-min_effect, min_effect, color=GRID, alpha=0.2, linewidth=0)
        axes.axvline(0, color=TEXT, linewidth=0.8)
        for y, (_, row) in enumerate(table.iterrows()):
            colour = better if row["low"] > 0 else worse if row["high"] < 0 else GRID
            axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.8)
            axes.plot([row["difference"]], [y], "o", color=colour, markersize=6)
            axes.annotate(
                f"{row['difference']:+.3f}",
                (row["high"], y),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_yticks(range(len(table)), [f"{m}\nagainst {a}" for m, a in zip(*pairs, strict=True)])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(table) - 0.5, -0.5)
        low, high = min(float(table["low"].min()), -min_effect), max(float(table["high"].max()), min_effect)
        room = max(high - low, 0.02)
        axes.set_xlim(low - 0.08 * room, high + 0.2 * room)
        axes.set_xlabel("difference in macro F1\n(right of 0: the first is better)")
        axes.grid(axis="x", color=GRID, alpha=0.25, linewidth=0.6)
    return figure


def learning_curves(table: pd.DataFrame, *, x: str, x_label: str) -> Figure:
    """Draw scores over the number of labels, or over the share of cells in pre-training, one line per method.

    Parameters
    ----------
    table
        One row per method and value of `x`: ``title``, ``group``, ``macro_f1``, ``low``, ``high``. Methods with one
        value of several make no line, and are left out.
    x
        Column on the horizontal axis; ``"all"`` comes last.
    x_label
        What the axis says.

    Returns
    -------
    matplotlib.figure.Figure
        A figure of 7.2 by 4.2 inches.

    Raises
    ------
    DataError
        If a column is absent, or the table is empty.
    """
    _check(table, (x, "title", "group", "macro_f1", "low", "high"))
    values = sorted({str(value) for value in table[x]}, key=lambda v: float("inf") if v == ALL_LABELS else float(v))
    points = table.groupby(table["title"].astype(str), sort=False)[x].nunique()
    titles = list(points.index[points > 1] if len(values) > 1 and (points > 1).any() else points.index)
    step = min(0.04, 0.5 / len(titles))
    markers = "osD^vP*X"
    with styled():
        figure, (axes,) = new_figure(7.2, 4.2)
        for number, (title, colour) in enumerate(zip(titles, palette(len(titles)), strict=True)):
            rows = table[table["title"].astype(str) == title]
            at = np.array([values.index(str(value)) for value in rows[x]])
            order = np.argsort(at)
            # Side by side, or intervals at the same place could not be told apart.
            at = at[order] + step * (number - (len(titles) - 1) / 2)
            score = rows["macro_f1"].to_numpy(dtype=float)[order]
            errors = np.abs(np.stack([rows[end].to_numpy(dtype=float)[order] for end in ("low", "high")]) - score)
            axes.errorbar(
                at,
                score,
                yerr=errors,
                color=colour,
                marker=markers[number % len(markers)],
                markersize=5,
                linewidth=1.4,
                elinewidth=0.8,
                label=title,
            )
        axes.set_xticks(range(len(values)), values)
        axes.set(xlabel=x_label, ylabel="macro F1")
        axes.grid(axis="y", color=GRID, alpha=0.25, linewidth=0.6)
        figure.legend(loc="outside right upper", fontsize=8)
    return figure


def type_scores(table: pd.DataFrame) -> Figure:
    """Draw the F1 of every type and method as a table of shades, frequent types on top.

    Of more methods than fit side by side (`MOST_ACROSS`) and than there are types, each has a row, and frequent types
    are on the left. Numbers stand where there is room for them.

    Parameters
    ----------
    table
        One row per type and method: ``type``, ``title``, ``test_cells``, ``few_cells``, ``f1``.

    Returns
    -------
    matplotlib.figure.Figure
        7.2 inches wide, taller with more rows.

    Raises
    ------
    DataError
        If a column is absent, or the table is empty.
    """
    _check(table, ("type", "title", "test_cells", "few_cells", "f1"))
    about = table.drop_duplicates("type").sort_values("test_cells", ascending=False, kind="stable")
    f1 = table.pivot_table(index="type", columns="title", values="f1", sort=False).loc[about["type"]]
    marks = np.where(about["few_cells"].astype(str) == "True", "*", "")
    f1.index = [
        f"{name}{mark} ({n:,})" for name, mark, n in zip(about["type"], marks, about["test_cells"], strict=True)
    ]
    if f1.shape[1] > MOST_ACROSS and f1.shape[1] > len(f1):
        f1 = f1.T
    with styled():
        figure, (axes,) = new_figure(7.2, 2.6 + 0.28 * len(f1))
        axes.imshow(f1, cmap="Blues", vmin=0, vmax=1.7, aspect="auto")
        if f1.size <= 600 and f1.shape[1] <= MOST_ACROSS:
            for (i, j), value in np.ndenumerate(f1.to_numpy(dtype=float)):
                # Dark on all shades, whatever the colours of the page around the figure.
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color="#101418")
        axes.set_yticks(range(len(f1)), f1.index)
        axes.set_xticks(range(f1.shape[1]), f1.columns, rotation=40, ha="right", rotation_mode="anchor")
        axes.tick_params(length=0)
    return figure


def _with_prefix(table: pd.DataFrame, prefix: str, names: tuple[str, ...]) -> pd.DataFrame:
    """Put the columns of these names and `prefix` in place of those without it."""
    if not prefix:
        return table
    _check(table, tuple(f"{prefix}{name}" for name in names))
    return table.assign(**{name: table[f"{prefix}{name}"] for name in names})


def _check(table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    absent = [column for column in columns if column not in table]
    if absent or table.empty:
        why = f"no column {', '.join(absent)}" if absent else "the table is empty"
        message = f"study: {why}; columns are {', '.join(map(str, table.columns))}"
        raise DataError(message)
