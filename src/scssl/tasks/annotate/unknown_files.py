"""What is kept of how unknown cells are told, and how it is checked when read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.errors import FormatError
from scssl.tasks.annotate.novelty import SCORES, Space
from scssl.tasks.annotate.quantile import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scssl.tasks.annotate.unknown import Novelty

ARRAYS = ("centres", "spread", "white", "cells", "scale")


def to_dict(novelty: Novelty) -> dict[str, Any]:
    """Return all but the arrays as plain values for JSON, which has no infinity: None stands for it."""
    return {
        "error_budget": novelty.error_budget,
        "score": novelty.score,
        "limit": novelty.limit if math.isfinite(novelty.limit) else None,
        "unit": novelty.unit,
        "power": dict(novelty.power),
        "wrongly": dict(novelty.wrongly),
        "least_counts": novelty.least_counts,
        "least_genes": novelty.least_genes,
        "k": novelty.space.k,
    }


def arrays(space: Space) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of a space by name."""
    return {name: np.ascontiguousarray(getattr(space, name)) for name in ARRAYS}


def read(values: Any, *, arrays: Mapping[str, NDArray[Any]], n_latent: int) -> dict[str, Any]:
    """Check what was read from a file, and return the fields of a `Novelty`.

    Raises
    ------
    FormatError
        If anything is missing, not possible, or does not fit together.
    """
    if not isinstance(values, dict) or not _good(values):
        message = "the settings by which unknown cells are told are incomplete or malformed; the file was altered"
        raise FormatError(message)
    found = {name: arrays.get(name) for name in ARRAYS}
    given = {name: value for name, value in found.items() if value is not None and value.dtype == np.float32}
    shapes = {name: value.shape for name, value in given.items()}
    n_types, n_cells = (shapes.get(name, (0,))[0] if shapes.get(name) else 0 for name in ("spread", "scale"))
    wanted: dict[str, tuple[int, ...]] = {
        "centres": (n_types, n_latent),
        "spread": (n_types,),
        "white": (n_latent, n_latent),
        "cells": (n_cells, n_latent),
        "scale": (n_cells,),
    }
    if shapes != wanted or not n_types or not n_cells or not all(np.isfinite(value).all() for value in given.values()):
        message = (
            f"the cells by which unknown cells are told have shapes {shapes}, which do not fit each other or an "
            f"embedding of width {n_latent}; the file was altered, or belongs to another annotator"
        )
        raise FormatError(message)
    fields = {name: value for name, value in values.items() if name in _FIELDS}
    limit = values["limit"]
    return {**fields, "limit": math.inf if limit is None else float(limit), "space": Space(k=values["k"], **given)}


_FIELDS = ("error_budget", "score", "unit", "power", "wrongly", "least_counts", "least_genes")


def _good(values: dict[str, Any]) -> bool:
    return (
        _number(values.get("error_budget"), least=0)
        and values["error_budget"] < 1
        and values.get("score") in SCORES
        and "limit" in values
        and (values["limit"] is None or _number(values["limit"]))
        and values.get("unit") in UNITS
        and all(_shares(values.get(name)) for name in ("power", "wrongly"))
        and all(_number(values.get(name), least=0) for name in ("least_counts", "least_genes"))
        and isinstance(values.get("k"), int)
        and values["k"] >= 1
    )


def _number(value: Any, *, least: float = -math.inf) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= least


def _shares(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and _number(share, least=0) and share <= 1 for key, share in value.items()
    )
