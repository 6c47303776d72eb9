"""Cells that a model carries with it, and their codes: they tell whether it still computes what it computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp
import torch

from scssl.corpus.batch import CellBatch

if TYPE_CHECKING:
    from scssl.nn import Encoder

N_CELLS: Final = 4
N_SEEN: Final = 64
TOLERANCE: Final = 1e-4
"""Of codes, relative to the largest: what other processors and orders of summation make of them stays far below."""


def make_example(encoder: Encoder) -> dict[str, Any]:
    """Return made-up cells, ``genes`` and ``counts`` per cell, and their ``codes``.

    Parameters
    ----------
    encoder
        Encoder of the model; it is left as it is.
    """
    rng = np.random.default_rng(0)
    n_seen = min(N_SEEN, encoder.n_genes)
    genes = [np.sort(rng.choice(encoder.n_genes, n_seen, replace=False)).tolist() for _ in range(N_CELLS)]
    counts = [rng.integers(1, 30, n_seen).tolist() for _ in range(N_CELLS)]
    codes = [[float(f"{value:.8g}") for value in row] for row in _codes(encoder, genes, counts)]
    return {"genes": genes, "counts": counts, "codes": codes}


def difference(encoder: Encoder, example: Any) -> float:
    """Return the largest difference between the codes now and then, relative to the largest code; inf if none fit.

    Parameters
    ----------
    encoder
        Encoder of the model.
    example
        From `make_example`.
    """
    try:
        now = _codes(encoder, example["genes"], example["counts"])
        then = np.asarray(example["codes"], dtype=np.float64)
        if now.shape != then.shape or not np.isfinite(then).all():
            return float("inf")
        return float(np.abs(now - then).max() / max(float(np.abs(then).max()), 1e-12))
    except (TypeError, ValueError, KeyError, IndexError, OverflowError):
        return float("inf")


@torch.no_grad()
def _codes(encoder: Encoder, genes: list[list[int]], counts: list[list[int]]) -> np.ndarray:
    """(n_cells, n_latent) codes, computed on the processor."""
    dense = np.zeros((len(genes), encoder.n_genes), dtype=np.int32)
    for row, (where, values) in enumerate(zip(genes, counts, strict=True)):
        dense[row, where] = values
    batch = CellBatch.from_csr(sp.csr_matrix(dense))
    device, training = encoder.gene_share.device, encoder.training
    try:
        return encoder.to("cpu").eval().embed(batch).float().numpy()
    finally:
        encoder.to(device).train(training)
