"""The reliability diagram: whether confidence means what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.errors import DataError
from scssl.report.style import GRID, TEXT, new_figure, palette, styled

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = ("n_cells", "confidence", "accuracy")


def reliability(curves: pd.DataFrame | Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the share of right labels over the confidence, with the expected calibration error (ECE) in the legend.

    How to read it: on the dashed line a label given with 80 % confidence is right in 80 % of the cells. Points below
    it: too sure; above it: not sure enough. The vertical bars are 95 % intervals (Wilson) of the cells in a bin, as if
    these were independent; cells of one donor are not. The lower panel says how many cells each point stands for.

    Parameters
    ----------
    curves
        Table as from `scssl.metrics.reliability_curve`, or several by name, such as before and after calibration.

    Returns
    -------
    matplotlib.figure.Figure
        A figure of 4.6 by 5.4 inches.

    Raises
    ------
    DataError
        If there is no curve, one is empty, or lacks ``n_cells``, ``confidence`` or ``accuracy``.
    """
    from collections.abc import Mapping

    named = dict(curves) if isinstance(curves, Mapping) else {"": curves}
    for name, curve in named.items():
        missing = [column for column in COLUMNS if column not in curve]
        if missing or curve.empty:
            what = f"has no column {missing[0]!r}" if missing else "is empty"
            message = f"reliability: the curve {name!r} {what}; make it with scssl.metrics.reliability_curve"
            raise DataError(message)
    if not named:
        message = "reliability: there is no curve to draw"
        raise DataError(message)
    with styled():
        from matplotlib.ticker import PercentFormatter

        figure, _ = new_figure(4.6, 5.4)
        figure.clear()
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1, linestyle="--")
        for (name, curve), colour, marker in zip(named.items(), palette(len(named)), _markers(len(named)), strict=True):
            n, sure, right = (curve[column].to_numpy(dtype=float) for column in COLUMNS)
            low, high = _wilson(right, n=n)
            axes.vlines(sure, low, high, color=colour, linewidth=1, alpha=0.6)
            label = ", ".join(part for part in (name, f"ECE {_error(curve):.3f}") if part)
            axes.plot(sure, right, color=colour, marker=marker, markersize=5, linewidth=1.2, label=label)
            below.vlines(sure, 0, n, color=colour, linewidth=3, alpha=0.7)
        axes.set(xlim=(0, 1.01), ylim=(0, 1.01), ylabel="share of right labels")
        below.set(xlabel="confidence", ylabel="cells", ylim=(0, None))
        for part in (axes.xaxis, axes.yaxis):
            part.set_major_formatter(PercentFormatter(1))
        axes.grid(color=GRID, alpha=0.25, linewidth=0.6)
        axes.text(0.98, 0.03, "too sure", ha="right", color=TEXT, alpha=0.7)
        axes.legend(loc="upper left")
    return figure


def _markers(n: int) -> list[str]:
    """Return shapes, so that colour alone carries nothing."""
    return [("o", "s", "^", "D", "v", "P")[i % 6] for i in range(n)]


def _error(curve: pd.DataFrame) -> float:
    mass = curve["weight"] if "weight" in curve else curve["n_cells"] / curve["n_cells"].sum()
    return float((mass * (curve["accuracy"] - curve["confidence"]).abs()).sum())


def _wilson(share: np.ndarray, *, n: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the interval of a share (Wilson 1927)."""
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half
