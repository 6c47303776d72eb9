"""Which genes are hidden from the encoder: keyed by (seed, epoch, cell), so no batch order or worker matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from scssl.errors import SettingsError
from scssl.nn import kernels

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus.batch import CellBatch
    from scssl.genes.programmes import Programmes
    from scssl.pretext.base import Draw

Masking = Literal["random", "programme", "programme_to_programme", "programme_to_tf"]
_AT_ONCE: Final = 20_000_000
"""Entries of cells by (programme, gene) pairs handled at a time: 80 MB."""

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
    if keys.device.type == "cpu":
        return torch.from_numpy(kernels.random_mask(keys.numpy(), n_genes, rate=rate))
    # Four genes share one 64-bit draw, 16 bits each: a fourth of the work of one draw per gene.
    n_words = -(-n_genes // 4)
    counter = torch.arange(1, n_words + 1, dtype=torch.int64, device=cell.device) * _GOLDEN
    words = _mix(keys.unsqueeze(1) + counter)
    sixteen = words.view(torch.int16)[:, :n_genes]
    return sixteen < round(rate * 65_536) - 32_768 if rate < 1 else torch.ones_like(sixteen, dtype=torch.bool)


class Hiding(NamedTuple):
    """What masks do to some cells."""

    masks: Tensor
    """(n_masks, n_genes) bool: not seen by the encoder."""
    targets: Tensor
    """(n_masks, n_genes) bool: to be predicted, where measured; hidden."""
    group_size: int
    """Consecutive cells that share a mask."""

    def cells(self, batch: CellBatch) -> tuple[Tensor, Tensor]:
        """Return what is hidden from each cell, and asked of it, (n_cells, n_genes) bool each."""
        hidden, target = (m.repeat_interleave(self.group_size, dim=0)[: batch.n_cells] for m in self[:2])
        return hidden, target & batch.measured[batch.measured_row]


def measured_share(batch: CellBatch, masks: Tensor, *, group_size: int) -> Tensor:
    """Return which share of the measured entries masks cover, a scalar.

    Parameters
    ----------
    batch
        Cells.
    masks
        (n_masks, n_genes) bool.
    group_size
        Consecutive cells per mask.
    """
    if bool(batch.measured.all()):
        sizes = torch.full((len(masks),), group_size)
        sizes[-1] = batch.n_cells - group_size * (len(masks) - 1)
        return (count(masks) * sizes.to(masks.device)).sum() / (batch.n_cells * batch.n_genes)
    each = masks if group_size == 1 else masks.repeat_interleave(group_size, dim=0)[: batch.n_cells]
    n_measured = batch.measured.sum(dim=1)[batch.measured_row].sum()
    return count(each & batch.measured[batch.measured_row]).sum() / n_measured


def count(masks: Tensor) -> Tensor:
    """Return how many entries of each row are true."""
    if masks.device.type == "cpu":
        # Ten times as fast as torch's sum.
        return torch.from_numpy(np.asarray(np.count_nonzero(masks.numpy(), axis=1)))
    return masks.sum(dim=1)


class Masker(nn.Module):
    """Chooses hidden genes and targets for a batch, by one of four ways.

    `random` hides each gene with the same probability. `programme` hides whole gene programmes, in random order, until
    the share of the measured genes asked for is reached, genes in several programmes counted once; the last programme
    is hidden or not at random, so that the expected share is exactly the one asked for. `programme_to_programme` shows
    one programme A only and asks for another, B: of B, the genes that are not in A. `programme_to_tf` shows one
    programme without its transcription factors, and asks for these.

    Parameters
    ----------
    masking
        The way.
    rate
        Share of the genes hidden, for `random` and `programme`.
    programmes
        Gene programmes over the panel; not used by `random`.
    group_size
        Consecutive cells of a batch that share a mask, keyed by the first of them: then the decoder need compute hidden
        genes only, but masks depend on the order of the cells.

    Raises
    ------
    SettingsError
        If programmes are missing, have no transcription factors where these are asked for, or cover fewer genes than
        should be hidden; the message states the largest rate.
    """

    members: Tensor
    regulators: Tensor

    def __init__(
        self, masking: Masking, *, rate: float, programmes: Programmes | None = None, group_size: int = 1
    ) -> None:
        super().__init__()
        self.masking, self.rate, self.group_size = masking, rate, group_size
        if masking == "random":
            return
        _check_programmes(masking, rate, programmes)
        assert programmes is not None
        members, regulators = torch.from_numpy(programmes.members), torch.from_numpy(programmes.regulators)
        if masking == "programme_to_tf":
            known = regulators.any(dim=1)
            # What is to be predicted is never shown.
            members, regulators = members[known] & ~regulators[known], regulators[known]
        self.register_buffer("members", members, persistent=False)
        self.register_buffer("regulators", regulators, persistent=False)

    def forward(self, batch: CellBatch, *, draw: Draw) -> Hiding:
        """Draw the masks of a batch.

        Parameters
        ----------
        batch
            Cells.
        draw
            Seed and epoch.
        """
        first = torch.arange(0, batch.n_cells, self.group_size, device=batch.cell.device)
        keys = cell_keys(batch.cell[first], draw=draw)
        row = batch.measured_row[first]
        if self.masking == "random":
            hidden = random_mask(batch.cell[first], batch.n_genes, rate=self.rate, draw=draw)
            target = hidden
        elif self.masking == "programme":
            hidden = self._hide_programmes(keys, batch.measured[row])
            target = hidden
        else:
            visible, target = self._isolate(keys, batch.measured, row)
            target = target & batch.measured[row]
            # A cell whose source measured nothing of what would be asked for is shown whole, and asked for nothing.
            hidden = ~visible & target.any(dim=1, keepdim=True)
        return Hiding(hidden, target, self.group_size)

    def _hide_programmes(self, keys: Tensor, measured: Tensor) -> Tensor:
        n_programmes, n_genes = self.members.shape
        place = _random_order(keys, n_programmes)
        programme, gene = self.members.nonzero(as_tuple=True)
        # Per gene, the place in the random order of the first programme that has it.
        first = torch.full((len(keys), n_genes), n_programmes, dtype=torch.int64, device=keys.device)
        step = max(1, _AT_ONCE // max(1, programme.numel()))
        for start in range(0, len(keys), step):
            part = slice(start, start + step)
            places = place[part][:, programme]
            first[part].scatter_reduce_(1, gene.expand_as(places), places, reduce="amin")
        new = torch.zeros(len(keys), n_programmes + 1, device=keys.device)
        new.scatter_add_(1, first, measured.float())
        share = new[:, :n_programmes].cumsum(dim=1) / measured.sum(dim=1, keepdim=True).clamp(min=1)
        # With `last` programmes hidden the share is below the rate, with one more it is reached.
        last = (share < self.rate).sum(dim=1, keepdim=True).clamp(max=n_programmes - 1)
        below = torch.where(last > 0, share.gather(1, (last - 1).clamp(min=0)), 0.0)
        above = share.gather(1, last)
        wanted = (self.rate - below) / (above - below).clamp(min=1e-12)
        n_hidden = last + (_uniform(keys, stream=1).unsqueeze(1) < wanted)
        return first < n_hidden

    def _isolate(self, keys: Tensor, measured: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Choose what alone is visible, and what is asked for."""
        table = measured.float()
        can_show = (table @ self.members.float().T)[row] > 0
        if self.masking == "programme_to_tf":
            can_show &= (table @ self.regulators.float().T)[row] > 0
            shown = _choose(keys, can_show, stream=2)
            visible, target = self.members[shown], self.regulators[shown]
        else:
            sizes = self.members.sum(dim=1)
            shared = self.members.float() @ self.members.float().T
            # Of B something is left that is not in A.
            other = sizes.unsqueeze(0) > shared
            can_show &= other.any(dim=1)
            shown = _choose(keys, can_show, stream=2)
            asked = _choose(keys, other[shown] & (table @ self.members.float().T > 0)[row], stream=3)
            visible = self.members[shown]
            target = self.members[asked] & ~visible & (asked != shown).unsqueeze(1)
        return visible, target & can_show.any(dim=1, keepdim=True)


def _check_programmes(masking: str, rate: float, programmes: Programmes | None) -> None:
    if programmes is None or not programmes.names:
        message = (
            f"masking {masking!r} needs gene programmes; give some with task.programmes, e.g. modules:50 (learned from "
            "the corpus) or a .gmt file"
        )
        raise SettingsError(message)
    if masking == "programme" and rate > programmes.covered:
        message = (
            f"task.rate is {rate}, but the {len(programmes.names):,} gene programmes cover only "
            f"{programmes.covered:.0%} of the genes; choose a rate of at most {int(100 * programmes.covered) / 100}, "
            "or more programmes"
        )
        raise SettingsError(message)
    if masking == "programme_to_programme" and len(programmes.names) < 2:
        message = "masking 'programme_to_programme' needs at least 2 gene programmes; there is 1"
        raise SettingsError(message)
    if masking == "programme_to_tf" and not programmes.regulators.any():
        message = (
            "masking 'programme_to_tf' needs gene programmes with their transcription factors; give some with "
            "task.programmes, e.g. regulons:TF_LIST (learned from the corpus), collectri, or a table of TF and target"
        )
        raise SettingsError(message)


def _words(keys: Tensor, n: int, *, stream: int) -> Tensor:
    """(n_cells, n) int64, random words of a stream of their own."""
    counter = torch.arange(1, n + 1, dtype=torch.int64, device=keys.device) * _GOLDEN
    start = _mix(keys + stream)
    return _mix(start.unsqueeze(1) + counter)


def _random_order(keys: Tensor, n: int) -> Tensor:
    """(n_cells, n) int64: the place of each of n things in a random order, per cell."""
    return _words(keys, n, stream=4).argsort(dim=1).argsort(dim=1)


def _uniform(keys: Tensor, *, stream: int) -> Tensor:
    """(n_cells,) float32 in [0, 1)."""
    return ((_words(keys, 1, stream=stream)[:, 0] >> 40) & (2**24 - 1)).float() / 2**24


def _choose(keys: Tensor, possible: Tensor, *, stream: int) -> Tensor:
    """(n_cells,) int64: for each cell one of the possible columns, all with the same probability."""
    priority = (_words(keys, possible.shape[1], stream=stream) >> 1) & (2**62 - 1)
    return torch.where(possible, priority, -1).argmax(dim=1)
