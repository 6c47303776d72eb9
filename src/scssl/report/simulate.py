"""Simulated cells beside measured ones, and how they score beside baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import DataError, require
from scssl.report.names import put_names
from scssl.report.style import GRID, INK, MISSING, new_figure, palette, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from scssl.tasks.simulate.beside import Beside
    from scssl.tasks.simulate.scoring import SimulationScores

SECTIONS: Final = ("simulation_scores", "simulation_means", "simulation_cells")
"""Of the report."""
NAMED = 8
INSIDE: Final = (250.0, 220.0)
"""Points that a panel of changes has inside its axes, about."""
MOST_POINTS = 1500
SHOWN = {
    "explained": "explained",
    "distance": "distance",
    "energy_distance": "energy\ndistance",
    "mae": "error of\nmeans",
    "pearson_delta": "Pearson\ndelta",
    "discrimination": "discrimi-\nnation",
    "de_overlap": "DE\noverlap",
}
DOWN = ("distance", "energy_distance", "mae")
CEILING = "half of the truth"
MADE = "(made the cells)"
LOWEST = -0.5
"""Where bars end that go on below."""
OVER: Final = "means over cell types; explained and discrimination: of all types together"
"""What the scores of methods are taken over."""


def simulation_means(beside: Beside, *, n: int = NAMED) -> Figure:
    """Draw the change of each gene's mean expression, measured over simulated, and the means themselves.

    How to read it: every point is a gene; on the dashed line simulation and measurement agree. On the left, genes that
    lie on the vertical line were predicted not to change; names are those of the largest measured changes. The numbers
    are of all cells together, whatever their type; the scores of `Simulator.evaluate` are means over types. On the
    right nearly every prediction looks good, no change at all among them: grey is the mean of the control cells.

    Parameters
    ----------
    beside
        From `Simulator.beside`.
    n
        Genes to name.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels: changes, and the means themselves.
    """
    require("n", n, holds=n >= 0, must="a number of genes, 0 or more")
    x, y = beside.mean_simulated - beside.mean_control, beside.mean_measured - beside.mean_control
    with styled():
        figure, (axes, means) = new_figure(8.6, 4.2, columns=2)
        ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
        axes.plot(ends, ends, color=GRID, linewidth=1, linestyle="--", zorder=1)
        axes.axhline(0, color=GRID, linewidth=0.6, alpha=0.5, zorder=0)
        axes.axvline(0, color=GRID, linewidth=0.6, alpha=0.5, zorder=0)
        axes.plot(x, y, ".", color=palette(1)[0], markersize=5, alpha=0.5, markeredgewidth=0, rasterized=True)
        low, span = ends[0] - 0.05 * (ends[1] - ends[0]), 1.1 * max(ends[1] - ends[0], 1e-9)
        axes.set(xlim=(low, low + span), ylim=(low, low + span))
        places = np.column_stack([x - low, y - low]) / span * INSIDE
        largest = np.argsort(-np.abs(y), kind="stable")[:n]
        names = [str(beside.genes[gene]) for gene in largest]
        put_names(axes, x[largest], y[largest], names, crowd=places, places=places[largest], inside=INSIDE)
        axes.set_xlabel("change of mean log expression, simulated")
        axes.set_ylabel("measured")
        axes.set_title(beside.title)
        r = np.corrcoef(x, y)[0, 1] if x.std() > 0 and y.std() > 0 else float("nan")
        label = f"all cells together:\nPearson delta {r:z.2f}\nerror of means {np.abs(x - y).mean():.3f}"
        axes.annotate(label, (0.97, 0.04), xycoords="axes fraction", ha="right", va="bottom", fontsize=8)
        known = {"markersize": 5, "alpha": 0.5, "markeredgewidth": 0, "rasterized": True}
        for values, name, colour in (
            (beside.mean_control, "control cells", MISSING), (beside.mean_simulated, "simulated cells", palette(1)[0])
        ):  # fmt: skip
            means.plot(values, beside.mean_measured, ".", color=colour, label=name, **known)
        top = float(max(beside.mean_simulated.max(), beside.mean_measured.max(), beside.mean_control.max()))
        means.plot([0, top], [0, top], color=GRID, linewidth=1, linestyle="--", zorder=1)
        means.set_xlabel("mean log expression")
        means.set_ylabel("measured")
        means.legend(loc="upper left")
    return figure


def simulation_cells(beside: Beside, *, seed: int = 0) -> Figure:
    """Draw control, measured and simulated cells in two dimensions.

    The dimensions are the direction from control to measured cells, and the direction in which cells otherwise differ
    most, both of log expression. How to read it: simulated cells should cover the measured ones: where they lie between
    control and measured, the change is too small; where they are a tighter cloud, cells are too much alike.

    Parameters
    ----------
    beside
        From `Simulator.beside`.
    seed
        Of the order in which points are drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels: cells, and their distribution along the first direction.
    """
    names = ("control", "measured", "simulated")
    # In the order in which a page colours names, whose UMAP lies below.
    colours = dict(zip(names, palette(3), strict=True))
    rng = np.random.default_rng(seed)
    parts = []
    for points in (beside.control, beside.measured, beside.simulated):
        if not len(points):
            message = "simulation: there are no cells to draw"
            raise DataError(message)
        parts.append(points[np.sort(rng.permutation(len(points))[:MOST_POINTS])])
    flat = dict(zip(names, _plane(parts), strict=True))
    with styled():
        figure, (left, right) = new_figure(8.2, 3.8, columns=2)
        points = np.concatenate([flat[name] for name in names])
        colour = np.concatenate([np.repeat(colours[name], len(flat[name])) for name in names])
        order = rng.permutation(len(points))
        left.scatter(
            points[order, 0], points[order, 1], c=colour[order], s=7, alpha=0.55, linewidths=0, rasterized=True
        )
        left.set_xlabel("from control to measured")
        left.set_ylabel("main other difference")
        left.set_xticks([])
        left.set_yticks([])
        left.set_title(beside.title)
        edges = np.linspace(points[:, 0].min(), points[:, 0].max(), 40)
        for name in names:
            right.hist(
                flat[name][:, 0], bins=edges, density=True, histtype="stepfilled", color=colours[name], alpha=0.25
            )
            right.hist(
                flat[name][:, 0], bins=edges, density=True, histtype="step", color=colours[name], linewidth=1.6,
                label=f"{name} ({len(flat[name]):,} cells)",
            )  # fmt: skip
        right.set_xlabel("from control to measured")
        right.set_ylabel("share of cells")
        right.set_yticks([])
        right.set_ylim(top=right.get_ylim()[1] * 1.35)
        right.legend(loc="upper left")
    return figure


def simulation_table(scores: SimulationScores, *, made: Sequence[str] = ()) -> Figure:
    """Draw the scores of all methods as a table, best first.

    How to read it: the model should stand above every baseline, and near the last row, one half of the truth against
    the other, beyond which nothing can be told. The darker, the better in its column.

    Parameters
    ----------
    scores
        From `Simulator.evaluate`.
    made
        Methods that the simulated cells are of, to be marked.

    Returns
    -------
    matplotlib.figure.Figure
        One table.
    """
    table = scores.methods
    columns = [name for name in SHOWN if name in table and table[name].notna().any()]
    order = table["explained"].sort_values(ascending=False, kind="stable").index
    rows = [name for name in order if name != CEILING] + [name for name in order if name == CEILING]
    with styled():
        figure, (axes,) = new_figure(2.4 + 0.85 * len(columns) + 1.2 * bool(made), 0.8 + 0.3 * len(rows))
        from matplotlib.colors import LinearSegmentedColormap

        shade = LinearSegmentedColormap.from_list("scssl", ["#FFFFFF", palette(1)[0]])
        for x, name in enumerate(columns):
            values = table.loc[rows, name].to_numpy(dtype=float)
            digits = 3 if name == "mae" else 2
            rank = _rank(np.round(-values if name in DOWN else values, digits))
            for y, (value, high) in enumerate(zip(values, rank, strict=True)):
                axes.add_patch(_cell(x, y, shade(0.75 * high)))
                text = "-" if np.isnan(value) else f"{value:z.{digits}f}"
                axes.text(x, y, text, ha="center", va="center", fontsize=9, color="white" if high > 0.8 else INK)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), [SHOWN[name] for name in columns])
        axes.set_yticks(range(len(rows)), [f"{name} {MADE}" if name in made else name for name in rows])
        for name, label in zip(rows, axes.get_yticklabels(), strict=True):
            label.set_fontweight("bold" if name in (made or ("model",)) else "normal")
            label.set_fontstyle("italic" if name == CEILING else "normal")
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("bottom")
        axes.tick_params(length=0)
        axes.set_xlabel(OVER, fontsize=8)
        for side in axes.spines.values():
            side.set_visible(False)
    return figure


def simulation_bars(table: pd.DataFrame, *, made: Sequence[str]) -> Figure:
    """Draw how much of the change each method explains, best first, with the one that made the cells marked.

    Bars that go on below the axis end in an arrow, and their value is written beside them.

    Parameters
    ----------
    table
        ``method`` and ``explained``.
    made
        Methods that the simulated cells are of.

    Returns
    -------
    matplotlib.figure.Figure
        6.4 inches wide.
    """
    order = table.sort_values("explained", ascending=False, kind="stable", na_position="last")
    order = order[order["method"] != CEILING]
    limit = table.loc[table["method"] == CEILING, "explained"]
    with styled():
        figure, (axes,) = new_figure(6.4, 0.9 + 0.3 * len(order))
        for y, (name, value) in enumerate(zip(order["method"], order["explained"].astype(float), strict=True)):
            drawn = max(value, LOWEST) if np.isfinite(value) else 0.0
            axes.barh(y, drawn, height=0.75, color=palette(1)[0] if name in made else MISSING)
            text = f"{value:z.2f}" if np.isfinite(value) else "not known"
            end = (max(drawn, 0.0), y)
            if value < LOWEST:
                axes.plot(LOWEST, y, "<", color=INK, markersize=6)
                text += " (longer than drawn)"
            axes.annotate(text, end, xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
        names = [f"{name} {MADE}" if name in made else str(name) for name in order["method"]]
        axes.set_yticks(range(len(order)), names)
        for name, label in zip(order["method"], axes.get_yticklabels(), strict=True):
            label.set_fontweight("bold" if name in made else "normal")
        axes.tick_params(axis="y", length=0)
        axes.axvline(0, color=GRID, linewidth=0.8)
        if len(limit) and np.isfinite(limit.iloc[0]):
            axes.axvline(float(limit.iloc[0]), color=GRID, linewidth=1, linestyle="--")
            axes.annotate(CEILING, (float(limit.iloc[0]), -0.9), ha="center", va="bottom", fontsize=8)
        axes.set_ylim(len(order) - 0.4, -0.9)
        low = float(order["explained"].min())
        axes.set_xlim(max(low, LOWEST) - 0.04 if low < 0 else 0.0, 1.14)
        axes.set_xlabel("part of the change explained\n(0 is no change, 1 the truth)")
        axes.spines["left"].set_visible(False)
    return figure


def draw_simulated(kind: str, table: pd.DataFrame, *, options: dict[str, Any]) -> Figure:
    """Draw the figure of a section of the report.

    Parameters
    ----------
    kind
        One of `SECTIONS`.
    table
        What it shows.
    options
        Of the section: ``made`` (methods) for scores, ``title`` for the others.
    """
    if kind == "simulation_scores":
        return simulation_bars(table, made=[str(name) for name in options.get("made", [])])
    from scssl.tasks.simulate.beside import KINDS, Beside

    nothing = np.zeros((0, 2))
    known: dict[str, Any] = dict.fromkeys(KINDS, nothing) | {f"mean_{kind}": np.zeros(0) for kind in KINDS}
    known |= {"title": str(options.get("title", "")), "genes": []}
    if kind == "simulation_means":
        known |= {f"mean_{name}": table[name].to_numpy(dtype=float) for name in KINDS}
        return simulation_means(Beside(**known | {"genes": [str(name) for name in table["gene"]]}))
    points = table[[name for name in table.columns if name.startswith("c") and name[1:].isdigit()]]
    return simulation_cells(Beside(**known | {name: points[table["kind"] == name].to_numpy(float) for name in KINDS}))


def _cell(x: int, y: int, colour: tuple[float, ...]):  # type: ignore[no-untyped-def] # noqa: ANN202
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=colour, edgecolor="none")


def _rank(values: np.ndarray) -> np.ndarray:
    """Between 0, the worst or unknown, and 1, the best; equals share the better rank."""
    known = ~np.isnan(values)
    ranks = np.zeros(len(values))
    if known.sum() > 1:
        ordered = np.sort(values[known])
        ranks[known] = (np.searchsorted(ordered, values[known], side="right") - 1) / (known.sum() - 1)
    return ranks


def _plane(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Two coordinates of cells: along the change of the mean, and along the main direction across that."""
    control, measured, _ = parts
    along = measured.mean(axis=0) - control.mean(axis=0)
    along = along / max(float(np.linalg.norm(along)), 1e-12)
    middle = control.mean(axis=0)
    rest = np.concatenate([part - part.mean(axis=0) for part in (control, measured)])
    rest = rest - np.outer(rest @ along, along)
    across = np.linalg.svd(rest, full_matrices=False)[2][0]
    return [np.stack([(part - middle) @ along, (part - middle) @ across], axis=1) for part in parts]
