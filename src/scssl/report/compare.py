"""Figures of a comparison: volcano, shares of donors and how they change, states that move, programmes that shift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import DataError
from scssl.report.compare_ranking import UNTESTED, comparison_overview, share_changes, short, state_shifts
from scssl.report.names import put_names
from scssl.report.style import ACCENT, GRID, INK, MISSING, category_order, new_figure, palette, styled
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

PANELS: Final = 9
"""Cell types of a volcano at most."""
COLUMNS: Final = 3
NAMED: Final = 8
"""Genes named in a panel."""
INSIDE: Final = (190.0, 160.0)
"""Points that a panel has inside its axes, about."""
DOWN: Final = "#D55E00"
PROGRAMMES: Final = 25
"""Programmes shown."""
DRAWN: Final = ("answers", "volcano", "shares", "share_changes", "state_shifts", "programme_shifts")
"""Sections of the report."""
IN_WORDS: Final = ["cell_type", "what", "sure"]
"""Columns of the answers that people read; the file has the numbers."""


def draw(kind: str, table: pd.DataFrame, *, fdr: float, types: Sequence[str] = ()) -> Figure:
    """Draw the figure of a section of the report; see the functions named after the kinds.

    Parameters
    ----------
    kind
        One of `DRAWN`.
    table
        What it shows.
    fdr
        False discovery rate.
    types
        Order of the cell types of a volcano.
    """
    if kind == "volcano":
        return volcano(table, fdr=fdr, types=types)
    return donor_shares(table) if kind == "shares" else _DRAW[kind](table, fdr=fdr)


def volcano(genes: pd.DataFrame, *, fdr: float = 0.05, types: Sequence[str] = ()) -> Figure:
    """Draw how strongly genes differ against how sure that is, one panel per cell type.

    How to read it: right is higher under the case, left is lower; the higher up, the smaller the p-value. Genes that
    are found are coloured, the surest of them named. Shown are nine types at most, those in which genes are found
    before others; how many are not drawn is written below.

    Parameters
    ----------
    genes
        Of a `Comparison`: ``cell_type``, ``symbol``, ``log2_ratio``, ``p_value``, ``q_value``.
    fdr
        False discovery rate.
    types
        Cell types in their order, that of the overview; by the smallest p-value otherwise.

    Returns
    -------
    matplotlib.figure.Figure
        3.4 inches by 3.1 for each panel.

    Raises
    ------
    DataError
        If no gene was tested.
    """
    tested = genes[genes["p_value"].notna()]
    if tested.empty:
        message = "volcano: no gene was tested"
        raise DataError(message)
    order, words = _panels(tested, fdr=fdr, types=types)
    n_columns = 2 if len(order) == 4 else min(COLUMNS, len(order))
    with styled():
        figure, panels = _grid(len(order), columns=n_columns, width=3.4, height=3.1)
        for axes, name in zip(panels, order, strict=True):
            part = tested[tested["cell_type"] == name]
            x = part["log2_ratio"].to_numpy(dtype=float)
            y = -np.log10(np.maximum(part["p_value"].to_numpy(dtype=float), 1e-300))
            found = part["q_value"].to_numpy(dtype=float) <= fdr
            for chosen, colour, size in (
                (~found, MISSING, 5),
                (found & (x > 0), ACCENT, 11),
                (found & (x < 0), DOWN, 11),
            ):
                # As a picture inside the drawing: thousands of points make a page slow.
                axes.scatter(x[chosen], y[chosen], s=size, color=colour, linewidths=0, rasterized=True)
            reach, top = max(float(np.abs(x).max()) * 1.15, 0.5), max(float(y.max()) * 1.12, 1.5)
            axes.set(xlim=(-reach, reach), ylim=(0, top))
            surest = np.flatnonzero(found)[np.argsort(-y[found], kind="stable")][:NAMED]
            places = np.column_stack([(x + reach) / (2 * reach) * INSIDE[0], y / top * INSIDE[1]])
            names = [short(str(name), most=14) for name in part["symbol"].iloc[surest]]
            put_names(axes, x[surest], y[surest], names, crowd=places[found], places=places[surest], inside=INSIDE)
            axes.set_title(f"{short(str(name), most=24)}: {found.sum():,} of {len(part):,}", fontsize=9.5)
            axes.set(xlabel="log2 ratio", ylabel="-log10 p-value")
            axes.axvline(0, color=GRID, linewidth=0.6, zorder=0)
        if words:
            figure.supxlabel(words, fontsize=9)
    return figure


def _panels(tested: pd.DataFrame, *, fdr: float, types: Sequence[str]) -> tuple[list[str], str]:
    """Return the types to draw, those with findings first chosen, and how many are not drawn, in words."""
    p = tested.groupby("cell_type")["p_value"].min().sort_values(kind="stable")
    place = {name: i for i, name in enumerate(dict.fromkeys([*types, *p.index]))}
    hits = set(tested.loc[tested["q_value"].astype(float) <= fdr, "cell_type"])
    names = sorted(p.index, key=place.__getitem__)
    first = sorted(names, key=lambda name: name not in hits)
    rest = first[PANELS:]
    n_found, n_untested = sum(name in hits for name in rest), len(set(types) - set(names))
    n_rest = len(rest) + n_untested
    words = f"Not drawn: {count(n_rest, 'cell type')}, {n_found or 'none'} with genes found" if n_rest else ""
    return [name for name in names if name not in rest], words


def donor_shares(shares: pd.DataFrame) -> Figure:
    """Draw the composition of each donor as one bar, donors under the same condition side by side.

    How to read it: donors under one condition show how much composition differs anyway.

    Parameters
    ----------
    shares
        Of a `Comparison`: ``donor``, ``condition``, ``cell_type``, ``share``.

    Returns
    -------
    matplotlib.figure.Figure
        Wider with more donors.

    Raises
    ------
    DataError
        If there are no shares.
    """
    if shares.empty:
        message = "shares: there are no samples"
        raise DataError(message)
    types = category_order(list(shares["cell_type"].astype(str)))
    colours = dict(zip(types, palette(len(types)), strict=True))
    conditions = list(dict.fromkeys(shares["condition"].astype(str)))
    with styled():
        n = len(shares[["donor", "condition"]].drop_duplicates())
        figure, (axes,) = new_figure(max(5.0, 3.2 + 0.34 * n), 3.6)
        place, ticks, names = 0.0, [], []
        for condition in conditions:
            part = shares[shares["condition"].astype(str) == condition]
            first = place
            for donor in category_order(list(part["donor"].astype(str))):
                rows = part[part["donor"].astype(str) == donor].set_index("cell_type")["share"]
                bottom = 0.0
                for name in types:
                    height = float(rows.get(name, 0.0))
                    axes.bar(place, height, bottom=bottom, width=0.85, color=colours[name], linewidth=0)
                    bottom += height
                ticks.append(place)
                names.append(donor)
                place += 1
            axes.text(
                (first + place - 1) / 2, 1.03, condition, ha="center", va="bottom", fontsize=10, fontweight="bold"
            )
            place += 0.7
        axes.set_xticks(ticks, names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.tick_params(axis="x", length=0)
        axes.set(ylim=(0, 1), xlim=(-0.6, place - 1.1), xlabel="donor", ylabel="share of cells")
        handles = [axes.bar(0, 0, color=colours[name]) for name in types]
        axes.legend(
            handles[::-1], types[::-1], loc="center left", bbox_to_anchor=(1.01, 0.5), ncols=1 + len(types) // 16
        )
    return figure


def programme_shifts(programmes: pd.DataFrame, *, fdr: float = 0.05) -> Figure:
    """Draw how programmes shift in each type: blue up, orange down, a dot where it is found, grey: not expressed.

    How to read it: the colour is the mean log2 ratio of the programme's genes, of which a type expresses as many as
    stand behind the name (fewest to most). Shown are at most 25 programmes, those with the smallest p-values.

    Parameters
    ----------
    programmes
        Of a `Comparison`.
    fdr
        False discovery rate.

    Returns
    -------
    matplotlib.figure.Figure
        Wider with more types, taller with more programmes.

    Raises
    ------
    DataError
        If there are no programmes.
    """
    from matplotlib.colors import LinearSegmentedColormap

    if programmes.empty:
        message = "programmes: none were compared"
        raise DataError(message)
    best = programmes.assign(
        p_value=programmes["p_value"].astype(float).fillna(1.0), size=-programmes["log2_ratio"].astype(float).abs()
    )
    names = list(
        best.groupby("programme")[["p_value", "size"]].min().sort_values(["p_value", "size"]).index[:PROGRAMMES]
    )
    types = category_order(list(programmes["cell_type"].astype(str)))
    chosen = programmes[programmes["programme"].isin(names)]
    values = chosen.pivot_table(index="programme", columns="cell_type", values="log2_ratio").reindex(
        names, columns=types
    )
    q = chosen.assign(q_value=chosen["q_value"].astype(float).fillna(1.0)).pivot_table(
        index="programme", columns="cell_type", values="q_value"
    )
    q = q.reindex(names, columns=types)
    size = [_range(chosen.loc[chosen["programme"] == name, "n_genes"]) for name in names]
    # Grey is a colour of the image and not the background of the axes, which is transparent on a page.
    colours = LinearSegmentedColormap.from_list("shift", [DOWN, "#FFFFFF", ACCENT]).with_extremes(bad=UNTESTED)
    with styled():
        figure, (axes,) = new_figure(4.2 + 0.42 * len(types), 1.9 + 0.26 * len(names))
        reach = max(float(np.nanmax(np.abs(values.to_numpy(dtype=float)))), 0.1)
        image = axes.imshow(values.to_numpy(dtype=float), cmap=colours, vmin=-reach, vmax=reach, aspect="auto")
        for (row, column), value in np.ndenumerate(q.to_numpy(dtype=float)):
            if value <= fdr:
                axes.plot(column, row, "o", color=INK, markersize=3.5)
        axes.set_xticks(range(len(types)), types, rotation=90)
        axes.set_yticks(range(len(names)), [f"{short(name)}  ({n})" for name, n in zip(names, size, strict=True)])
        axes.tick_params(length=0)
        figure.colorbar(image, ax=axes, label="mean log2 ratio", shrink=min(1.0, 4 / max(len(names) * 0.26, 1)))
    return figure


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low}-{high}"


def _grid(n: int, *, columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    from matplotlib.figure import Figure as NewFigure

    rows = -(-n // columns)
    figure = NewFigure(figsize=(width * columns, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).reshape(-1))
    for axes in panels[n:]:
        axes.remove()
    return figure, panels[:n]


_DRAW: Final = {
    "answers": comparison_overview,
    "share_changes": share_changes,
    "state_shifts": state_shifts,
    "programme_shifts": programme_shifts,
}
