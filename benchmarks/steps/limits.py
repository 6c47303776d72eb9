"""What the matrix products of a step take alone, in memory that is there already: the limit of any implementation."""

from __future__ import annotations

import time
from itertools import pairwise

import torch

ENCODER = (512, 512, 256, 256, 64)
REPEATS = 5


def _seconds(rows: int, n_in: int, n_out: int, kind: str, dtype: torch.dtype) -> float:
    x, weight = torch.randn(rows, n_in).to(dtype), torch.randn(n_out, n_in).to(dtype)
    grad = torch.randn(rows, n_out).to(dtype)
    left, right = {"forward": (x, weight.t()), "weight": (grad.t(), x), "input": (grad, weight)}[kind]
    out = torch.empty(left.shape[0], right.shape[1], dtype=dtype)
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        taken.append(time.perf_counter() - started)
    return min(taken)


def training(n_cells: int, n_genes: int, *, bf16: bool, seen: float = 1.0, asked: float = 1.0) -> float:
    """Seconds of all products of a masked step, where the encoder reads some genes and the decoder predicts some."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    encoder = list(pairwise((int(seen * n_genes), *ENCODER)))
    decoder = list(pairwise((*ENCODER[::-1], int(asked * n_genes))))
    total = 0.0
    for number, (n_in, n_out) in enumerate(encoder + decoder):
        for kind in ("forward", "weight", "input"):
            # Nothing is upstream of the first layer.
            if number or kind != "input":
                total += _seconds(n_cells, n_in, n_out, kind, dtype)
    return total


def forward(n_cells: int, n_genes: int, *, bf16: bool) -> float:
    """Seconds of the encoder's products, forwards."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    return sum(_seconds(n_cells, n_in, n_out, "forward", dtype) for n_in, n_out in pairwise((n_genes, *ENCODER)))
