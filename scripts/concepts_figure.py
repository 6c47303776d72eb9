"""Draw the figure of the concepts page: from cells without labels, by a pretext task, to answers about one's own.

Usage: python scripts/concepts_figure.py docs/concepts.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

from scssl.report.style import palette, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

INK, SOFT, LINE = "#1F2328", "#59626D", "#8A8F98"
BLUE, ORANGE, GREEN, RED = palette(4)
CELL = 0.165
"""Side of one gene in one cell."""


def main(out: Path) -> None:
    """Draw the two rows: what is learned without labels, and what it is used for."""
    with styled():
        figure = Figure(figsize=(10.4, 6.1))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 10.4), ylim=(0, 6.1), aspect="equal")
        axes.axis("off")
        _band(axes, 3.3, 2.65, "1   Pre-training: many cells, no labels")
        _band(axes, 0.15, 2.95, "2   Use: your own cells")
        _pretrain(axes)
        _use(axes)
        figure.savefig(out, dpi=130, facecolor="white", metadata={"Software": None})


def _pretrain(axes: Axes) -> None:
    rng = np.random.default_rng(4)
    counts = rng.poisson(1.1, (5, 9))
    hidden = rng.random((5, 9)) < 0.35
    unmeasured = np.zeros_like(hidden)
    unmeasured[3:, 6:8] = True
    y = 4.25
    _cells(axes, 0.45, y, counts, unmeasured=unmeasured)
    _words(axes, 0.45 + 4.5 * CELL, y - 0.2, "counts of cells by genes,\nfrom many studies")
    _arrow(axes, (2.05, y + 0.42), (2.55, y + 0.42))
    _cells(axes, 2.7, y, counts, hidden=hidden & ~unmeasured, unmeasured=unmeasured)
    _words(axes, 2.7 + 4.5 * CELL, y - 0.2, "some genes of each\ncell are hidden")
    _arrow(axes, (4.3, y + 0.42), (4.75, y + 0.42))
    _network(axes, 4.85, y + 0.42, "encoder", BLUE, narrow_right=True)
    _code(axes, 6.12, y + 0.42)
    _words(axes, 6.2, y - 0.2, "code: what a\ncell is like")
    _network(axes, 6.45, y + 0.42, "decoder", SOFT, narrow_right=False)
    _arrow(axes, (7.65, y + 0.42), (8.1, y + 0.42))
    _cells(axes, 8.25, y, counts, only=hidden & ~unmeasured)
    _words(axes, 8.25 + 4.5 * CELL, y - 0.2, "the hidden ones are\npredicted, and compared")
    for i, (kind, text) in enumerate((("count", "measured"), ("hidden", "hidden"), ("unmeasured", "not measured"))):
        x = 6.6 + 1.15 * i
        _gene(axes, x, 5.52, 2, kind)
        axes.text(x + 0.24, 5.52 + CELL / 2, text, va="center", fontsize=8.5, color=SOFT)


def _use(axes: Axes) -> None:
    rng = np.random.default_rng(7)
    y = 1.05
    _cells(axes, 0.45, y, rng.poisson(1.1, (5, 9)))
    _words(axes, 0.45 + 4.5 * CELL, y - 0.2, "your cells, a few\nof them labelled")
    _arrow(axes, (2.05, y + 0.42), (2.5, y + 0.42))
    _network(axes, 2.6, y + 0.42, "encoder", BLUE, narrow_right=True)
    axes.add_patch(FancyArrowPatch((5.25, 4.02), (3.2, y + 1.02), connectionstyle="arc3,rad=0.12", arrowstyle="-|>",
                                   mutation_scale=12, color=BLUE, linestyle=(0, (4, 3)), linewidth=1.3))  # fmt: skip
    axes.text(4.62, 2.9, "the same encoder", fontsize=9, color=BLUE, ha="left", va="center")
    _arrow(axes, (3.85, y + 0.42), (4.3, y + 0.42))
    left, width = 4.45, 1.75
    axes.add_patch(FancyBboxPatch((left, y - 0.12), width, 1.28, boxstyle="round,pad=0.03", facecolor="white",
                                  edgecolor=LINE, linewidth=0.8))  # fmt: skip
    for (cx, cy), colour in zip(((0.4, 0.85), (1.3, 0.8), (0.85, 0.3)), (BLUE, ORANGE, GREEN), strict=True):
        known = rng.normal((left + cx, y - 0.12 + cy), (0.13, 0.1), (26, 2))
        axes.scatter(*known.T, s=7, color=colour, linewidths=0, alpha=0.9)
    axes.scatter([left + 1.42], [y + 0.42], s=42, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=3)
    axes.text(left + 1.42, y + 0.415, "?", ha="center", va="center", fontsize=7, color=INK, zorder=4)
    _words(axes, left + width / 2, y - 0.24, "cells that are alike\nlie together")
    _arrow(axes, (6.35, y + 0.42), (6.75, y + 0.42))
    answers = [
        ("annotate", "names, how sure, or unknown"),
        ("reconstruct, translate", "expression, proteins, peaks"),
        ("integrate", "batches brought together"),
        ("compare, simulate", "what a condition changes"),
        ("study", "did pre-training help here?"),
    ]
    for i, (name, text) in enumerate(answers):
        at = 2.32 - 0.45 * i
        axes.text(6.9, at, name, fontsize=9.5, color=INK, fontweight="bold", va="center")
        axes.text(6.9, at - 0.185, text, fontsize=8.5, color=SOFT, va="center")


def _band(axes: Axes, bottom: float, height: float, title: str) -> None:
    axes.add_patch(FancyBboxPatch((0.2, bottom), 10.0, height - 0.1, boxstyle="round,pad=0.02,rounding_size=0.08",
                                  facecolor="#F6F7F9", edgecolor="none", zorder=-5))  # fmt: skip
    axes.text(0.4, bottom + height - 0.38, title, fontsize=11.5, fontweight="bold", color=INK, va="center")


def _cells(
    axes: Axes,
    x: float,
    y: float,
    counts: NDArray[Any],
    *,
    hidden: NDArray[np.bool_] | None = None,
    unmeasured: NDArray[np.bool_] | None = None,
    only: NDArray[np.bool_] | None = None,
) -> None:
    for row, column in np.ndindex(*counts.shape):
        place = (x + column * CELL, y + (counts.shape[0] - 1 - row) * CELL)
        kind = "count"
        if unmeasured is not None and unmeasured[row, column]:
            kind = "unmeasured"
        elif hidden is not None and hidden[row, column]:
            kind = "hidden"
        elif only is not None:
            kind = "predicted" if only[row, column] else "blank"
        _gene(axes, *place, int(counts[row, column]), kind)


def _gene(axes: Axes, x: float, y: float, count: int, kind: str) -> None:
    shade = min(count, 4) / 4
    colour = {"count": BLUE, "predicted": ORANGE}.get(kind)
    style: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.8}
    if colour is not None:
        face: Any = tuple(1 - shade * 0.85 * (1 - c) for c in _rgb(colour)) if count else "#E4E8EC"
    else:
        face = {"hidden": INK, "unmeasured": "white", "blank": "#EEF0F2"}[kind]
    if kind == "unmeasured":
        style = {"edgecolor": LINE, "linewidth": 0.5, "hatch": "//////"}
    axes.add_patch(Rectangle((x, y), CELL, CELL, facecolor=face, **style))


def _rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]


def _network(axes: Axes, x: float, middle: float, name: str, colour: str, *, narrow_right: bool) -> None:
    wide, narrow = 0.52, 0.22
    left, right = (wide, narrow) if narrow_right else (narrow, wide)
    corners = [(x, middle - left), (x, middle + left), (x + 1.15, middle + right), (x + 1.15, middle - right)]
    axes.add_patch(Polygon(corners, closed=True, facecolor=colour, edgecolor="none"))
    axes.text(x + 0.575, middle, name, ha="center", va="center", color="white", fontsize=10, fontweight="bold")


def _code(axes: Axes, x: float, middle: float) -> None:
    shades = np.random.default_rng(1).random(4)
    for i, shade in enumerate(shades):
        face = tuple(1 - (0.25 + 0.7 * shade) * (1 - c) for c in _rgb(GREEN))
        axes.add_patch(Rectangle((x, middle + (i - 2) * CELL), CELL, CELL, facecolor=face, edgecolor="white"))


def _words(axes: Axes, x: float, y: float, text: str) -> None:
    axes.text(x, y, text, ha="center", va="top", fontsize=9, color=SOFT, linespacing=1.25)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=SOFT, linewidth=1.3))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
