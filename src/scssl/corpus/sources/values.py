"""What the numbers of a matrix are: raw counts, log1p values, normalised or scaled ones, or something else."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np

from scssl.corpus.format.shard import LARGEST_COUNT
from scssl.errors import DataError

if TYPE_CHECKING:
    import scipy.sparse as sp

    from scssl.corpus.sources.source import CellSource

Kind = Literal["counts", "log1p", "normalised", "scaled", "other"]

LARGEST_LOG: Final = 20.0
"""exp(20) is 5e8: no log1p value of a cell's expression is above."""
SAME: Final = 0.01
"""Spread (standard deviation over mean) below which all cells have the same total."""
_BASES: Final = {"e": np.e, "2": 2.0, "10": 10.0}


@dataclass(frozen=True, kw_only=True)
class MatrixKind:
    """What some cells' values look like, and the evidence."""

    kind: Kind
    minimum: float
    maximum: float
    """Over the finite values looked at, zeros included."""
    share_integer: float
    """Share of the non-zero finite values that are whole numbers."""
    n_negative: int
    n_nan: int
    n_infinite: int
    n_cells: int
    """Cells looked at."""
    target_sum: float | None = None
    """Total that every cell was normalised to, if that is what was done and all genes are there."""
    log_base: str | None = None
    """``"e"``, ``"2"`` or ``"10"`` for log values."""
    restorable: bool = False
    """True if each cell's values, logs undone, are whole multiples of its smallest: the counts could be restored."""
    n_values: int = 0
    """Non-zero values looked at."""
    n_cells_whole: int = 0
    """Cells, not empty ones, all of whose values are whole numbers and not negative."""

    @property
    def joined(self) -> bool:
        """True if many cells hold counts and many do not: two kinds of data in one matrix."""
        return 0.05 * self.n_cells < self.n_cells_whole < 0.95 * self.n_cells

    def __str__(self) -> str:
        if self.kind == "log1p":
            base = "log1p" if self.log_base in (None, "e") else f"log{self.log_base}(x + 1)"
            to = f" of counts normalised to {self.target_sum:,.0f} per cell" if self.target_sum else ""
            return f"{base} values{to} (up to {self.maximum:.3g})"
        if self.kind == "normalised" and self.target_sum:
            return f"values normalised to {self.target_sum:,.6g} per cell, without logs (up to {self.maximum:.3g})"
        if self.kind == "scaled":
            return f"scaled values ({self.minimum:.3g} to {self.maximum:.3g})"
        if self.kind == "counts":
            return f"raw counts (whole numbers, up to {self.maximum:,.0f})"
        broken = [
            f"{n:,} {name}"
            for n, name in (
                (self.n_nan, "missing (NaN)"),
                (self.n_infinite, "infinite"),
                (self.n_negative, "negative"),
            )
            if n
        ]
        if broken:
            return f"values of which {' and '.join(broken)}"
        if self.n_values == 0:
            return "nothing but zeros"
        return f"values of an unknown kind ({self.minimum:.3g} to {self.maximum:.3g}, {self.share_integer:.0%} whole)"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def describe_values(source: CellSource, *, n_cells: int = 2000) -> MatrixKind:
    """Look at a sample of cells, taken in blocks from all over the file, and say what their values are.

    Parameters
    ----------
    source
        Open file.
    n_cells
        Cells to look at, at most.
    """
    return describe_matrix(sample_rows(source, n_cells=n_cells)[1])


def sample_rows(source: CellSource, *, n_cells: int) -> tuple[np.ndarray, sp.csr_matrix]:
    """Read about `n_cells` cells (all, if there are fewer), in four blocks from all over the file.

    Returns
    -------
    numbers : (n,) int64
        Which cells.
    X : scipy.sparse.csr_matrix
        (n, n_features).
    """
    import scipy.sparse as sp

    # Where values lie in another order, every block costs a pass over the whole file: then one, from the middle.
    n_blocks = 4 if source.n_cells > n_cells and not source.by_column else 1
    step = max(1, min(n_cells, source.n_cells) // n_blocks)
    last = source.n_cells - step
    starts = [last * block // 3 for block in range(4)] if n_blocks == 4 else [last // 2]
    numbers = np.concatenate([np.arange(start, start + step) for start in starts])
    return numbers, sp.vstack([source.rows(start, start + step) for start in starts], format="csr")


def describe_matrix(X: sp.csr_matrix) -> MatrixKind:
    """Say what the values of some cells are; X is (n_cells, n_features) and may hold anything."""
    values = X.data
    finite = np.isfinite(values) if values.dtype.kind == "f" else np.ones(len(values), dtype=bool)
    good = values[finite].astype(np.float64)
    present = good[good != 0]
    whole = float(np.mean(present == np.rint(present))) if len(present) else 0.0
    n_nan = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    negative = int((present < 0).sum())
    padded = len(good) < X.shape[0] * X.shape[1]
    extremes = [*([0.0] if padded else []), *([good.min(), good.max()] if len(good) else [])]
    base: dict[str, Any] = {
        "minimum": float(min(extremes, default=0.0)),
        "maximum": float(max(extremes, default=0.0)),
        "share_integer": whole,
        "n_negative": negative,
        "n_nan": n_nan,
        "n_infinite": int(len(values) - finite.sum()) - n_nan,
        "n_cells": X.shape[0],
        "n_values": len(present),
        "n_cells_whole": int((whole_cells(X) & (np.diff(X.indptr) > 0)).sum()),
    }
    if not finite.all() or len(present) == 0:
        return MatrixKind(kind="other", **base)
    if negative:
        # Scaling moves zeros too, so it leaves hardly any; a few negatives among many zeros are something else.
        filled = len(present) > 0.9 * X.shape[0] * X.shape[1]
        return MatrixKind(kind="scaled" if filled else "other", **base)
    if whole == 1.0:
        return MatrixKind(kind="counts", **base)
    return MatrixKind(**base, **_guess_transform(X, largest=base["maximum"]))


def whole_cells(X: sp.csr_matrix) -> np.ndarray:
    """(n_cells,) bool, cells all of whose values could be counts."""
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    wrong = (X.data != np.rint(X.data)) | (X.data < 0) | ~np.isfinite(X.data)
    return cast("np.ndarray", np.bincount(rows[wrong], minlength=X.shape[0]) == 0)


def _guess_transform(X: sp.csr_matrix, *, largest: float) -> dict[str, Any]:
    """Undo each transform in turn and see whether what remains are counts over a cell's total."""
    rows = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    data = X.data.astype(np.float64)
    candidates: list[tuple[Kind, str | None, np.ndarray]] = [("normalised", None, data)]
    if largest <= LARGEST_LOG:
        candidates += [("log1p", name, np.expm1(data * np.log(value))) for name, value in _BASES.items()]
    scored = []
    for kind, name, linear in candidates:
        totals = np.bincount(rows, weights=linear, minlength=X.shape[0])
        totals = totals[totals > 0]
        spread = float(totals.std() / totals.mean())
        multiples = _share_multiples(linear, X.indptr)
        scored.append((multiples, -spread, kind, name, float(np.median(totals))))
    by_multiples, by_spread = max(scored, key=lambda s: s[0]), max(scored, key=lambda s: s[1])
    if by_multiples[0] > 0.9:
        best = by_multiples
    elif -by_spread[1] < SAME:
        best = by_spread
    else:
        # Values such as log1p of a subset of genes after batch correction: the size is all there is to go by.
        return {"kind": "log1p" if largest < 0.5 * LARGEST_LOG else "other"}
    target = best[4] if -best[1] < SAME else None
    return {"kind": best[2], "log_base": best[3], "target_sum": target, "restorable": best[0] > 0.9}


def _share_multiples(linear: np.ndarray, indptr: np.ndarray) -> float:
    """Share of values that are whole multiples of the smallest in their cell, among multiples up to 50."""
    filled = np.flatnonzero(np.diff(indptr) > 0)
    positive = np.where(linear > 0, linear, np.inf)
    smallest = np.minimum.reduceat(positive, indptr[filled])
    ratio = linear / np.repeat(smallest, np.diff(indptr)[filled])
    told = (ratio > 1.01) & (ratio < 50)
    if not told.any():
        return 0.0
    # Chance alone puts 4 % of the values this close to a whole number.
    return float(np.mean(np.abs(ratio[told] - np.rint(ratio[told])) < 0.02))


def check_counts(X: sp.csr_matrix, *, file: str, layer: str | None, first_row: int) -> None:
    """Refuse anything but raw counts.

    Parameters
    ----------
    X
        (n_cells, n_features), some cells of the file.
    file, layer
        Where they come from, for the message; layer None is X.
    first_row
        Number of the first cell in the file, for the message.

    Raises
    ------
    DataError
        If a value is negative, NaN, infinite or no whole number, or larger than any count; the message says what the
        values look like.
    """
    values = X.data
    where = "X" if layer in (None, "X") else f"layer {layer!r}"
    if values.dtype.kind in "iu":
        wrong = values < 0 if values.dtype.kind == "i" else np.zeros(0, dtype=bool)
    else:
        # NaN compares unequal to everything; infinity equals its own rounding.
        wrong = (values != np.rint(values)) | (values < 0) | np.isinf(values)
    if not wrong.any():
        largest = values.max(initial=0)
        if largest > LARGEST_COUNT:
            message = f"{file}: {where} holds {too_large(largest)}"
            raise DataError(message)
        return
    at = int(np.argmax(wrong))
    cell = first_row + int(np.searchsorted(X.indptr, at, side="right")) - 1
    kind = describe_matrix(X)
    # "adata" is no file, but cells in memory.
    how = "name it with layer="
    if file != "adata":
        how = f"`scssl check {shlex.quote(file)}` says where; name it with --layer"
    message = (
        f"{file}: {where} holds no raw counts but {kind}; the first such value is {values[at]:.6g}, in cell {cell:,}. "
        f"Counts may be in another layer or in raw: {how}"
    )
    raise DataError(message)


def too_large(value: float) -> str:
    """Say why a value above `LARGEST_COUNT` is refused."""
    return f"a value of {value:,.0f}, which no count of molecules reaches (at most {LARGEST_COUNT:,} are possible)"
