"""The barcode in a cell's name, which stays the same however a study names its cells."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_RUN: Final = re.compile("[ACGT]{12,}")
_PARTS: Final = re.compile("(?:[ACGT]{6,}[-_.+]?){2,}")


def barcode_keys(names: Sequence[str] | NDArray[np.object_]) -> NDArray[np.uint64]:
    """Return a number per cell name that depends on the barcode in it alone.

    The barcode is the longest run of at least 12 letters A, C, G, T (the first of equally long ones); or else the
    longest series of such runs of at least 6 letters, joined by ``-``, ``_``, ``.`` or ``+`` (combinatorial indexing),
    of at least 12 letters in all; or else the whole name after its last ``:`` (a corpus puts the file before it).

    Parameters
    ----------
    names
        Cell names, as in ``obs_names``.

    Returns
    -------
    numpy.ndarray
        (n,) uint64, the same on every machine.

    Example
    -------
    >>> a, b, c = barcode_keys(["AAACATACAACCAC-1", "pbmc:donor1_AAACATACAACCAC-1-0", "AAACATACAACCAG-1"])
    >>> bool(a == b), bool(a == c)
    (True, False)
    """
    digests = (blake2b(_barcode(str(name)).encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _barcode(name: str) -> str:
    found = _find(name)
    return name.rpartition(":")[2] if found is None else found


def _find(name: str) -> str | None:
    runs = _RUN.findall(name)
    if runs:
        return str(max(runs, key=len))
    series = [re.sub("[-_.+]", "", found) for found in _PARTS.findall(name)]
    longest = max(series, key=len, default="")
    return longest if len(longest) >= 12 else None


def has_barcode(names: Sequence[str] | NDArray[np.object_]) -> NDArray[np.bool_]:
    """(n,) bool, whether there is a barcode in each cell name."""
    return np.array([_find(str(name)) is not None for name in names], dtype=bool)
