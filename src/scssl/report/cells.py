"""What the page needs to draw cells in the plane by itself: small arrays, packed."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.report.embedding import categories, is_number
from scssl.report.style import palette

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

MAX_CELLS = 20_000
"""More cells are not drawn: the picture would not change, the page would get slow."""
MISSING_CODE = 65_535
MISSING_BYTE = 255


def thin(table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Return at most `MAX_CELLS` rows, drawn at random and in their old order.

    Parameters
    ----------
    table
        One row per cell.
    seed
        Seed of the draw.
    """
    if len(table) <= MAX_CELLS:
        return table
    rows = np.sort(np.random.default_rng(seed).choice(len(table), MAX_CELLS, replace=False))
    return table.iloc[rows]


def pack(
    points: NDArray[np.floating],
    colours: pd.DataFrame,
    *,
    panels: Sequence[str],
    features: Mapping[str, Sequence[str]] | None = None,
    hover: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Pack positions and columns for the page's script.

    Parameters
    ----------
    points
        (n_cells, 2) positions, at most `MAX_CELLS`.
    colours
        One row per cell: the columns that can be chosen as colour.
    panels
        Columns shown at first, one panel each.
    features
        Heading to columns with numbers of which there are many, such as the expression of genes; packed as bytes.
    hover
        Columns that hovering shows beside the one that is the colour; all that are no features by default.

    Returns
    -------
    dict
        JSON content: positions as uint16 over the span of each axis, categories as uint16 codes (65,535: missing),
        numbers as float32 (NaN: missing), features as bytes over their span (255: missing), each little-endian and
        base64-coded.
    """
    heading = {name: title for title, names in (features or {}).items() for name in names}
    obs = colours.drop(columns=list(heading))
    shown = set(obs.columns if hover is None else hover)
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-9)
    orders = categories(obs)
    scaled = np.round((points - low) / span * 65_535).astype("<u2")
    return {
        "x": _base64(scaled[:, 0]),
        "y": _base64(scaled[:, 1]),
        "spanX": float(span[0]),
        "spanY": float(span[1]),
        # Drawn in random order, or the last cells hide the others where groups mix.
        "order": _base64(np.random.default_rng(0).permutation(len(points)).astype("<u2")),
        "columns": [
            _feature(colours[name], heading[name]) if name in heading else _column(colours[name], orders.get(name, []))
            for name in colours.columns
        ],
        "hover": [i for i, name in enumerate(colours.columns) if name in shown],
        "panels": [list(colours.columns).index(name) for name in panels],
    }


def _feature(values: pd.Series, heading: str) -> dict[str, Any]:
    numbers = values.to_numpy(dtype=np.float64)
    known = np.isfinite(numbers)
    low, high = (float(numbers[known].min()), float(numbers[known].max())) if known.any() else (0.0, 0.0)
    codes = np.full(len(numbers), MISSING_BYTE, dtype=np.uint8)
    codes[known] = np.round((numbers[known] - low) / max(high - low, 1e-12) * (MISSING_BYTE - 1))
    name = str(values.name)
    return {"name": name, "kind": "feature", "heading": heading, "min": low, "max": high, "codes": _base64(codes)}


def _column(values: pd.Series, names: list[str]) -> dict[str, Any]:
    name = str(values.name)
    if is_number(values):
        numbers = values.to_numpy(dtype="<f4")
        return {
            "name": name,
            "kind": "number",
            "min": float(np.nanmin(numbers)),
            "max": float(np.nanmax(numbers)),
            "values": _base64(numbers),
        }
    present = values.notna().to_numpy()
    text = values.astype(str).to_numpy()
    code = {value: i for i, value in enumerate(names)}
    codes = np.array([code[t] if p else MISSING_CODE for t, p in zip(text, present, strict=True)], dtype="<u2")
    return {"name": name, "kind": "category", "names": names, "colours": palette(len(names)), "codes": _base64(codes)}


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
