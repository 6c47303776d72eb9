"""Names beside points, placed so that they lie neither on each other nor on the points that matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from scssl.report.style import GRID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIZE: Final = 7.5
"""Of letters, in points."""
WIDE: Final = 0.62 * SIZE
"""Of a letter, in points."""
HIGH: Final = 1.15 * SIZE
"""Of a line of letters, in points."""
GAP: Final = 3.5
"""Points between a point and its name."""
RINGS: Final = (0.0, 7.0, 14.0, 22.0, 32.0)
"""Distances that are tried, nearest first."""
LINE_FROM: Final = 7.0
"""Distance from which on a line leads from the point to its name."""


class Box(NamedTuple):
    """A rectangle, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Say whether two rectangles overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def holds(self, points: NDArray[np.floating]) -> int:
        """Count the points inside."""
        x, y = points[:, 0], points[:, 1]
        return int(((x > self.left) & (x < self.right) & (y > self.bottom) & (y < self.top)).sum())


def place_names(
    places: NDArray[np.floating],
    names: Sequence[str],
    *,
    crowd: NDArray[np.floating],
    inside: tuple[float, float],
) -> list[Box | None]:
    """Find a place for each name, those first that come first.

    Around each point places are tried, nearest first; the first that meets no other name, leaves no edge and covers no
    point of the crowd is taken, else the one that covers fewest.

    Parameters
    ----------
    places
        (n_names, 2) where the points lie, in points from the lower left corner.
    names
        (n_names,) of them.
    crowd
        (n_points, 2) what is better not covered.
    inside
        Width and height there is.

    Returns
    -------
    list of Box or None
        None where every place meets another name.
    """
    taken: list[Box] = []
    found: list[Box | None] = []
    for (x, y), name in zip(places, names, strict=True):
        wide = WIDE * len(name)
        best: tuple[int, Box] | None = None
        for ring in RINGS:
            for across, up in ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1)):
                reach = GAP + ring
                left = x + reach if across > 0 else x - reach - wide if across < 0 else x - wide / 2
                middle = y + up * (ring + (HIGH / 2 + GAP if across == 0 else HIGH / 2 * (ring > 0)))
                box = Box(left, middle - HIGH / 2, left + wide, middle + HIGH / 2)
                if box.left < 0 or box.right > inside[0] or box.bottom < 0 or box.top > inside[1]:
                    continue
                if any(box.meets(other) for other in taken):
                    continue
                covered = box.holds(crowd)
                if best is None or covered < best[0]:
                    best = (covered, box)
            if best is not None and best[0] == 0:
                break
        found.append(None if best is None else best[1])
        taken += [] if best is None else [best[1]]
    return found


def put_names(
    axes: Any,
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    names: Sequence[str],
    *,
    places: NDArray[np.floating],
    crowd: NDArray[np.floating],
    inside: tuple[float, float],
) -> None:
    """Write names beside points of axes whose limits are set; those for which there is no place are left out.

    Parameters
    ----------
    axes
        Of matplotlib.
    x, y
        (n_names,) of the points, as the axes count.
    names
        (n_names,).
    places, crowd, inside
        See `place_names`.
    """
    for i, box in enumerate(place_names(places, names, crowd=crowd, inside=inside)):
        if box is None:
            continue
        middle = ((box.left + box.right) / 2, (box.bottom + box.top) / 2)
        away = np.array(middle) - places[i]
        far = float(np.abs(away[1]) > HIGH or np.abs(away[0]) - (box.right - box.left) / 2 > LINE_FROM)
        line = {"arrowstyle": "-", "color": GRID, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 1.5}
        axes.annotate(
            names[i], (x[i], y[i]), xytext=(float(away[0]), float(away[1])), textcoords="offset points",
            ha="center", va="center", fontsize=SIZE, arrowprops=line if far else None,
        )  # fmt: skip
