"""How every figure looks: colours that colour-blind readers can tell apart, sizes readable when saved."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.errors import import_extra

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure

# Okabe & Ito (2008), without black, and with the yellow, pale on white, last.
_OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D31", "#F0E442")
MISSING = "#B0B0B0"
"""Colour of cells without a value."""
ACCENT = "#0072B2"
TEXT = "#1F2328"
# On a light fill: a page turns TEXT into its own colour, which is light on dark screens, where fills stay as they are.
INK = "#1F2329"
GRID = "#8A8F98"
RC: dict[Any, Any] = {
    "axes.edgecolor": TEXT,
    "axes.labelcolor": TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "figure.dpi": 100,
    "font.size": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "savefig.dpi": 160,
    "svg.fonttype": "none",
    "svg.hashsalt": "scssl",
    "text.color": TEXT,
    "xtick.color": TEXT,
    "xtick.labelsize": 9,
    "ytick.color": TEXT,
    "ytick.labelsize": 9,
}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the style to the figures made inside; the user's own settings come back afterwards."""
    matplotlib = import_extra("matplotlib", extra="report")
    with matplotlib.rc_context(RC):
        yield


def new_figure(width: float, height: float, *, columns: int = 1) -> tuple[Figure, list[Any]]:
    """Make a figure with a row of axes, in inches; no window and no global state are involved."""
    import_extra("matplotlib", extra="report")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns)))


def palette(n: int) -> list[str]:
    """Return `n` colours as ``#RRGGBB``.

    Up to 8 they are those of Okabe and Ito, safe for the common kinds of colour blindness. Beyond that no set is:
    hues then go round in golden-angle steps over three lightness levels, so that neighbours also differ in grey, and
    figures add labels.

    Parameters
    ----------
    n
        Number of categories.

    Examples
    --------
    >>> palette(2)
    ['#0072B2', '#E69F00']
    """
    if n <= len(_OKABE_ITO):
        return list(_OKABE_ITO[:n])
    lightness = (0.55, 0.78, 0.66)
    return [_oklch(lightness[i % 3], 0.13, np.deg2rad(250 + 137.508 * i)) for i in range(n)]


def category_order(values: Sequence[str]) -> list[str]:
    """Return the distinct values in reading order: numbers inside names by value ("donor2" before "donor10")."""
    import re

    return sorted(
        set(values),
        key=lambda value: [(not p.isdigit(), int(p) if p.isdigit() else p) for p in re.split(r"(\d+)", value)],
    )


def _oklch(lightness: float, chroma: float, hue: float) -> str:
    """Turn an OKLCH colour (Ottosson 2020) into sRGB, with less chroma where the screen cannot show it."""
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    lms = np.array(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    matrix = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = matrix @ lms**3
    if (linear.min() < 0 or linear.max() > 1) and chroma > 0.01:
        return _oklch(lightness, chroma * 0.9, hue)
    linear = linear.clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * float(channel)):02X}" for channel in srgb)
