"""The figures of docs/recipes.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.recipes.variants import VARIANTS
from scssl.report.style import GRID, new_figure, styled

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

FEW = "10"
COLOURS = {"code": "#56B4E9", "code and own PCA": "#0072B2", "adapted code": "#E69F00"}
COLOURS |= {"adapted code and own PCA": "#D55E00", "all three": "#CC79A7"}
BASELINES = {"PCA of the corpus": GRID, "PCA of the target": "#009E73"}
KINDS = ("mask", "loss", "scale", "noise", "network", "panel", "schedule", "source", "views", "control")


def levers(scores: pd.DataFrame, out: Path, *, best_simple: float) -> None:
    """Draw what each change of the recipe does on the real development data: probe, ten labels per type."""
    few = scores[(scores["role"] == "development") & (scores["n_labels"] == FEW) & (scores["readout"] == "probe:0.1")]
    few = few[
        few["corpus"].str.endswith("real") & few["method"].isin(VARIANTS) & ~few["method"].str.endswith("adapted")
    ]
    wide = few.pivot_table(index="method", columns="use", values="f1")
    names = [n for kind in KINDS for n in wide.index if VARIANTS[n].kind == kind]
    with styled():
        figure, (axes,) = new_figure(8, 0.21 * len(names) + 1.4)
        for use, name in (("code", "code"), ("with pca", "code and own PCA")):
            colour = COLOURS[name]
            axes.scatter(wide.loc[names, use], range(len(names)), color=colour, s=22, label=name, zorder=3)
            axes.axvline(wide.loc["start", use], color=colour, linewidth=1, linestyle=":")
        axes.axvline(best_simple, color=GRID, linewidth=1.5, label="best simple baseline")
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.3, -0.7)
        axes.set_xlabel("macro F1, ten labels per type, mean of three data sets")
        axes.axvline(np.nan, color=GRID, linewidth=1, linestyle=":", label="where the screen started")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.savefig(out)


def confirmation(means: pd.DataFrame, simple: pd.DataFrame, out: Path) -> None:
    """Draw each confirmation data set: the simple baselines, and four ways of using the default model.

    Parameters
    ----------
    means
        ``target``, ``name`` (of `NAMES`), ``f1``, ``low``, ``high``.
    simple
        ``target``, ``name``, ``f1`` of the simple baselines.
    """
    targets = list(dict.fromkeys(means["target"]))
    with styled():
        figure, (axes,) = new_figure(8, 0.62 * len(targets) + 1.6)
        for number, target in enumerate(targets):
            theirs = simple[simple["target"] == target]
            axes.scatter(theirs["f1"], [number - 0.3] * len(theirs), color=GRID, marker="|", s=60)
            axes.scatter(theirs["f1"].max(), number - 0.3, color=GRID, marker="D", s=22)
            for place, name in enumerate(COLOURS):
                row = means[(means["target"] == target) & (means["name"] == name)].iloc[0]
                y = number - 0.16 + 0.13 * place
                axes.plot([row["low"], row["high"]], [y, y], color=COLOURS[name], linewidth=1.5)
                axes.scatter(row["f1"], y, color=COLOURS[name], s=20, label=name if number == 0 else None, zorder=3)
        axes.scatter([], [], color=GRID, marker="D", s=22, label="simple baselines (diamond: best of them here)")
        axes.set_yticks(range(len(targets)), targets)
        axes.set_ylim(len(targets) - 0.4, -0.6)
        axes.set_xlabel("macro F1 with ten labels per type (line: 95 % interval)")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
        figure.savefig(out)


def sizes(curves: dict[str, pd.DataFrame], out: Path) -> None:
    """Draw how scores grow with the cells of the corpus.

    Parameters
    ----------
    curves
        Per panel, ``name``, ``cells``, ``f1``, ``low``, ``high``; ``cells`` is missing for what needs no corpus. Rings
        are put where a curve is above that from there on.
    """
    with styled():
        figure, panels = new_figure(max(6, 3.8 * len(curves)), 4.4, columns=len(curves))
        for axes, (title, table) in zip(panels, curves.items(), strict=True):
            simple = float(table.loc[table["cells"].isna(), "f1"].max())
            for name, mine in table.groupby("name", sort=False):
                colour = {**COLOURS, **BASELINES}[str(name)]
                if mine["cells"].isna().all():
                    axes.axhline(mine["f1"].iloc[0], color=colour, linewidth=1, linestyle="--", label=name)
                    continue
                if len(mine) < 2:
                    continue
                mine = mine.sort_values("cells")
                axes.fill_between(mine["cells"], mine["low"], mine["high"], color=colour, alpha=0.15, linewidth=0)
                axes.plot(mine["cells"], mine["f1"], color=colour, marker="o", markersize=4, label=name)
                place = pays_from(mine["f1"].to_numpy(), simple)
                if place is not None:
                    first = mine.iloc[place]
                    axes.plot(first["cells"], first["f1"], "o", color=colour, fillstyle="none", markersize=11)
            axes.set_xscale("log")
            ticks = np.unique(table["cells"].dropna())
            axes.set_xticks(ticks, [f"{int(t):,}" for t in ticks], rotation=30)
            axes.minorticks_off()
            axes.set_title(title)
            axes.set_xlabel("cells of the corpus")
        panels[0].set_ylabel("macro F1, ten labels per type")
        ring = {"color": GRID, "fillstyle": "none", "markersize": 11, "linestyle": "none"}
        panels[0].plot([], [], marker="o", label="ahead of PCA of the target from here on", **ring)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.savefig(out)


def pays_from(scores: NDArray[np.floating], simple: float) -> int | None:
    """Return the first place from which on all scores are above a simple method's; None if the last is not."""
    behind = np.flatnonzero(scores <= simple)
    first = int(behind[-1]) + 1 if len(behind) else 0
    return first if first < len(scores) else None
