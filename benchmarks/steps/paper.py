"""The paper's step written plainly: dense values, a mask per cell, the full decoder, loss times mask."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


def network(n_genes: int) -> nn.ModuleDict:
    """Return the paper's autoencoder: G-512-512-256-256-64 and its mirror, SELU, dropout 0.1, ending in a sigmoid."""
    widths = [n_genes, 512, 512, 256, 256, 64]

    def layers(sizes: list[int]) -> nn.Sequential:
        parts: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            parts += [nn.Linear(n_in, n_out), nn.SELU(), nn.Dropout(0.1)]
        return nn.Sequential(*parts[:-2])

    return nn.ModuleDict(
        {"encoder": layers(widths), "decoder": nn.Sequential(layers(widths[::-1]), nn.Sigmoid())},
    )


class Paper:
    """Steps of masked pre-training, half of the genes hidden. The dense values are there already.

    Parameters
    ----------
    dense
        (n_cells, n_genes) fp32 log1p values per batch.
    bf16
        Under autocast.
    """

    def __init__(self, dense: list[torch.Tensor], *, bf16: bool) -> None:
        self._dense, self._bf16 = dense, bf16
        self._network = network(dense[0].shape[1])
        self._optimiser = torch.optim.AdamW(self._network.parameters(), lr=1e-3, weight_decay=0.01)

    def step(self, number: int) -> None:
        """Take a step."""
        x = self._dense[number % len(self._dense)]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._bf16):
            mask = torch.bernoulli(torch.full_like(x, 0.5))
            out = self._network["decoder"](self._network["encoder"](x * (1 - mask)))
            loss = ((out.float() - x).square() * mask).sum() / mask.sum()
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimiser.step()
