"""Which genes are hidden from the encoder: keyed by (seed, epoch, cell), so no batch order or worker matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.pretext.base import Draw

# Constants of splitmix64 (Steele, Lea and Flood, OOPSLA 2014, doi 10.1145/2660193.2660195) as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def _mix(z: Tensor) -> Tensor:
    # splitmix64's finaliser, in place. Torch shifts keep the sign, hence the masks.
    z ^= (z >> 30) & (2**34 - 1)
    z *= _MIX_1
    z ^= (z >> 27) & (2**37 - 1)
    z *= _MIX_2
    z ^= (z >> 31) & (2**33 - 1)
    return z


def cell_keys(cell: Tensor, *, draw: Draw) -> Tensor:
    """Return one pseudo-random 64-bit key per cell, (n_cells,) int64, from (seed, epoch, cell)."""
    key = torch.tensor(draw.seed, dtype=torch.int64, device=cell.device)
    key = _mix(key * _GOLDEN + draw.epoch)
    return _mix(cell.to(torch.int64) * _GOLDEN + key)


def random_mask(cell: Tensor, n_genes: int, *, rate: float, draw: Draw) -> Tensor:
    """Hide each gene of each cell with the same probability, independently.

    Parameters
    ----------
    cell
        (n_cells,) numbers of the cells in the corpus.
    n_genes
        Genes in the panel.
    rate
        Probability that a gene is hidden, in [0, 1]; honoured to 1/65,536.
    draw
        Seed and epoch.

    Returns
    -------
    Tensor
        (n_cells, n_genes) bool, True where hidden.
    """
    keys = cell_keys(cell, draw=draw)
    # Four genes share one 64-bit draw, 16 bits each: a fourth of the work of one draw per gene.
    n_words = -(-n_genes // 4)
    counter = torch.arange(1, n_words + 1, dtype=torch.int64, device=cell.device) * _GOLDEN
    words = _mix(keys.unsqueeze(1) + counter)
    sixteen = words.view(torch.int16)[:, :n_genes]
    return sixteen < round(rate * 65_536) - 32_768 if rate < 1 else torch.ones_like(sixteen, dtype=torch.bool)
