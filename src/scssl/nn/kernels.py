"""Loops over the cells of a batch that torch has no single operation for. Each makes one pass, row by row.

A row is worked on in fp32, in a piece of memory that stays in the processor's cache, and written once, as fp32 or bf16.
bf16 travels as uint16: its bits are the upper half of those of fp32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from scssl.compiled import compiled, over_rows

# Constants of splitmix64, as in `scssl.pretext.masking`.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SMALL = 32


@compiled
def log_values(start: int, stop: int, values: Any, indptr: Any, scale: Any, out: Any) -> None:
    """Write log1p(scale of the cell * count) for every stored count; small counts are looked up."""
    table = np.empty(_SMALL, np.float32)
    for c in range(start, stop):
        for n in range(_SMALL):
            table[n] = math.log1p(np.float32(n) * scale[c])
        for i in range(indptr[c], indptr[c + 1]):
            n = values[i]
            out[i] = table[n] if n < _SMALL else math.log1p(np.float32(n) * scale[c])


@compiled
def random_bits(start: int, stop: int, keys: Any, n_genes: int, below: int, out: Any) -> None:
    """Write for each gene of each cell whether its 16 random bits are less than `below`: see `random_mask`."""
    # Bits are compared without their sign; torch's have one, which turning over the highest bit amounts to.
    limit, turn = np.uint64(below + 32_768), np.uint64(0x8000)
    low = np.uint64(0xFFFF)
    n_words = n_genes // 4
    for c in range(start, stop):
        key, row = np.uint64(keys[c]), out[c]
        for word in range(n_words + 1):
            z = key + np.uint64(word + 1) * _GOLDEN
            z = (z ^ (z >> np.uint64(30))) * _MIX_1
            z = (z ^ (z >> np.uint64(27))) * _MIX_2
            z = z ^ (z >> np.uint64(31))
            if word < n_words:
                row[4 * word] = ((z & low) ^ turn) < limit
                row[4 * word + 1] = (((z >> np.uint64(16)) & low) ^ turn) < limit
                row[4 * word + 2] = (((z >> np.uint64(32)) & low) ^ turn) < limit
                row[4 * word + 3] = ((z >> np.uint64(48)) ^ turn) < limit
            else:
                for lane in range(n_genes - 4 * n_words):
                    row[4 * n_words + lane] = (((z >> np.uint64(16 * lane)) & low) ^ turn) < limit


def random_mask(keys: Any, n: int, *, rate: float) -> Any:
    """Return independent draws, true with probability `rate` (to 1/65,536).

    Parameters
    ----------
    keys
        (n_rows,) int64, one 64-bit key per row.
    n
        Draws per row.
    rate
        Probability, from 0 to 1.

    Returns
    -------
    numpy.ndarray
        (n_rows, n) bool.
    """
    out = np.empty((len(keys), n), dtype=np.bool_)
    below = round(rate * 65_536) - 32_768
    over_rows(random_bits, len(keys), keys, n, below, out, threads=torch.get_num_threads())
    return out


@compiled
def write_row(row: Any, out: Any, bf16: bool) -> None:  # noqa: FBT001 (compiled)
    """Write a row of fp32 as it is, or rounded to bf16 (to nearest, ties to even)."""
    if not bf16:
        for j in range(row.size):
            out[j] = row[j]
        return
    bits = row.view(np.uint32)
    for j in range(row.size):
        b = bits[j]
        out[j] = (b + np.uint32(0x7FFF) + ((b >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)


@compiled
def dot(a: Any, b: Any) -> float:
    """Return the sum of products, in 16 partial sums of fp32, as one that is added to in turn cannot be vectorised."""
    parts = np.zeros(16, np.float32)
    n = a.size // 16 * 16
    for j in range(0, n, 16):
        for k in range(16):
            parts[k] += a[j + k] * b[j + k]
    total = 0.0
    for k in range(16):
        total += parts[k]
    for j in range(n, a.size):
        total += a[j] * b[j]
    return total


@compiled
def fill_input(
    start: int,
    stop: int,
    logs: Any,
    indices: Any,
    indptr: Any,
    mean: Any,
    pattern: Any,
    base: Any,
    per_unit: Any,
    mask: Any,
    columns: Any,
    out: Any,
    bf16: bool,  # noqa: FBT001 (compiled)
) -> None:
    """Write what the first layer reads: see `scssl.nn.fused.first_layer`.

    Parameters
    ----------
    start, stop
        Cells to write.
    logs, indices, indptr
        (n_nonzeros,) log1p values, their genes, and (n_cells + 1,) where each cell's begin.
    mean
        (n_genes,) fp32, subtracted.
    pattern
        (n_cells,) which row of the two below is the cell's: its set of measured genes.
    base
        (n_patterns, n_columns) fp32, what a gene without a count reads as.
    per_unit
        (n_patterns,) fp32, what a unit of a measured value reads as.
    mask
        (n_cells, n_columns) bool, hidden genes, which read as 0; (0, 0) without any.
    columns
        (n_genes,) where a gene is written; n_columns if it is not, which must not be where there is a mask.
    out
        (n_cells, n_columns) uint16 (bf16 bits) or fp32.
    bf16
        Which.
    """
    n_columns = out.shape[1]
    # One place more, for genes that are written nowhere.
    row = np.empty(n_columns + 1, np.float32)
    masked, none = mask.shape[0] > 0, np.float32(0)
    for c in range(start, stop):
        visible, unit = base[pattern[c]], per_unit[pattern[c]]
        if masked:
            hidden = mask[c]
            for j in range(n_columns):
                value = visible[j]
                row[j] = none if hidden[j] else value
            for i in range(indptr[c], indptr[c + 1]):
                g = np.int64(indices[i])
                j = columns[g]
                value = (logs[i] - mean[g]) * unit
                # Not a branch: nobody could foretell it.
                row[j] = none if hidden[j] else value
        else:
            for j in range(n_columns):
                row[j] = visible[j]
            for i in range(indptr[c], indptr[c + 1]):
                g = np.int64(indices[i])
                row[columns[g]] = (logs[i] - mean[g]) * unit
        write_row(row[:n_columns], out[c], bf16)


@compiled
def squared_error(
    start: int,
    stop: int,
    logs: Any,
    indices: Any,
    indptr: Any,
    pattern: Any,
    measured: Any,
    mask: Any,
    columns: Any,
    zero_weight: float,
    out: Any,
    bf16: bool,  # noqa: FBT001 (compiled)
) -> tuple[float, int, int]:
    """Sum up squared errors of predictions over the genes asked for, and put half their gradient in their place.

    Parameters
    ----------
    start, stop
        Cells to score.
    logs, indices, indptr
        The true log1p values that are not zero, as in `fill_input`.
    pattern
        (n_cells,) row of `measured`.
    measured
        (n_patterns, n_columns) bool.
    mask
        (n_cells, n_columns) bool, what is asked for; (0, 0) for everything.
    columns
        (n_genes,) where a gene is predicted; n_columns if it is not.
    zero_weight
        Weight of errors where the truth is zero; others weigh 1.
    out
        (n_cells, n_columns) predictions, uint16 (bf16 bits) or fp32; overwritten by weight * (prediction - truth).
    bf16
        Which.

    Returns
    -------
    tuple
        Weighted sum, entries asked for that are zero, and those that are not.
    """
    n_columns = out.shape[1]
    # One place more, for genes that are not predicted.
    row, error = np.zeros(n_columns + 1, np.float32), np.zeros(n_columns + 1, np.float32)
    wanted = np.zeros(n_columns + 1, np.bool_)
    weight, none = np.float32(zero_weight), np.float32(0)
    masked = mask.shape[0] > 0
    total, n_zero, n_seen = 0.0, 0, 0
    for c in range(start, stop):
        known, predicted = measured[pattern[c]], out[c]
        if masked:
            asked = mask[c]
            for j in range(n_columns):
                wanted[j] = known[j] & asked[j]
        else:
            for j in range(n_columns):
                wanted[j] = known[j]
        if bf16:
            bits = row.view(np.uint32)
            for j in range(n_columns):
                bits[j] = np.uint32(predicted[j]) << np.uint32(16)
        else:
            for j in range(n_columns):
                row[j] = predicted[j]
        n_wanted = 0
        for j in range(n_columns):
            n_wanted += wanted[j]
        for j in range(n_columns):
            value = weight * row[j]
            error[j] = value if wanted[j] else none
        in_row = dot(error[:n_columns], row[:n_columns])
        seen = 0
        for i in range(indptr[c], indptr[c + 1]):
            j = columns[np.int64(indices[i])]
            off = row[j] - logs[i]
            # Not a branch: nobody could foretell it.
            change = np.float64(off * off - error[j] * row[j])
            in_row += change if wanted[j] else 0.0
            kept = error[j]
            error[j] = off if wanted[j] else kept
            seen += wanted[j]
        n_zero += n_wanted - seen
        n_seen += seen
        total += in_row
        write_row(error[:n_columns], predicted, bf16)
    return total, n_zero, n_seen


@compiled
def take_columns(start: int, stop: int, matrix: Any, columns: Any, out: Any, bf16: bool) -> None:  # noqa: FBT001
    """Write some columns of an fp32 matrix, row by row."""
    row = np.empty(columns.size, np.float32)
    for k in range(start, stop):
        for j in range(columns.size):
            row[j] = matrix[k, columns[j]]
        write_row(row, out[k], bf16)


@compiled
def add_columns(start: int, stop: int, part: Any, columns: Any, out: Any, bf16: bool) -> None:  # noqa: FBT001
    """Add a matrix to some columns of an fp32 one, row by row."""
    row = np.empty(columns.size, np.float32)
    bits = row.view(np.uint32)
    for k in range(start, stop):
        for j in range(columns.size):
            if bf16:
                bits[j] = np.uint32(part[k, j]) << np.uint32(16)
            else:
                row[j] = part[k, j]
        for j in range(columns.size):
            out[k, columns[j]] += row[j]


@compiled
def take_rows(start: int, stop: int, matrix: Any, rows: Any, out: Any, bf16: bool) -> None:  # noqa: FBT001
    """Write some rows of an fp32 matrix."""
    for k in range(start, stop):
        write_row(matrix[rows[k]], out[k], bf16)


@compiled
def add_rows(start: int, stop: int, part: Any, rows: Any, scale: float, out: Any, bf16: bool) -> None:  # noqa: FBT001
    """Add the rows of a matrix, multiplied, to some rows of an fp32 one."""
    row = np.empty(part.shape[1], np.float32)
    bits, factor = row.view(np.uint32), np.float32(scale)
    for k in range(start, stop):
        for j in range(row.size):
            if bf16:
                bits[j] = np.uint32(part[k, j]) << np.uint32(16)
            else:
                row[j] = part[k, j]
        onto = out[rows[k]]
        for j in range(row.size):
            onto[j] += factor * row[j]
