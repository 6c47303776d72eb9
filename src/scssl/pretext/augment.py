"""Views of a cell: the same cell seen again, with other genes hidden, counted less deeply, noisier, or mixed.

Every draw is keyed by (seed, epoch, cell, view), so no batch order, worker or rank matters. The one exception is `mix`,
which needs a second cell and so depends on which cells are in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
import torch

from scssl.errors import require
from scssl.nn import unmeasured_genes
from scssl.pretext.base import Draw
from scssl.pretext.masking import cell_keys, random_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scssl.corpus.batch import CellBatch

Purpose = Literal["mask", "counts", "mix", "partner"]
_PURPOSES: Final[tuple[Purpose, ...]] = ("mask", "counts", "mix", "partner")
_WORD: Final = 2**32 - 1
LARGEST: Final = 255
"""Largest count that is drawn in one go; a larger one is the sum of independent pieces."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How views differ from their cell. Every rate is the share that is *changed*: 0 changes nothing."""

    mask: float = 0.25
    """Share of the genes hidden from the encoder. Hidden is a state of its own: not a zero."""
    thin: float = 0.5
    """Share of a cell's counts removed, on average: each molecule is lost with this probability."""
    noise: float = 0.0
    """Share of a cell's counts added as noise, on average: every count n gains a negative binomial draw of mean
    noise * n and variance n * noise * (1 + noise). Zeros stay zero."""
    mix: float = 0.0
    """Share of the genes that take the value they have in another cell of the batch."""

    def __post_init__(self) -> None:
        for name, what in (("mask", "genes hidden"), ("thin", "counts removed"), ("mix", "genes taken over")):
            value = getattr(self, name)
            require(f"task.{name}", value, holds=0 <= value < 1, must=f"the share of {what}: 0 or more, less than 1")
        require("task.noise", self.noise, holds=0 <= self.noise <= 1, must="the share of counts added, from 0 to 1")


class View(NamedTuple):
    """What an encoder reads of some cells."""

    batch: CellBatch
    """Their counts, changed."""
    hidden: Tensor | None
    """(n_cells, n_genes) bool, or None where nothing is hidden."""
    x: Tensor | None = None
    """(n_cells, n_genes) log1p values in place of those of the counts, where cells were mixed."""


def make_view(
    batch: CellBatch, rates: Augmentation, *, normalise: Callable[[CellBatch], Tensor], draw: Draw, view: int
) -> View:
    """Draw one view of each cell: thin, add noise, normalise, mix, hide.

    The size factor is the total of the counts that are left, as if the cell had been sequenced less deeply: so a view
    has the expected values of its cell, with the zeros and the scatter of a shallower one. Unmeasured genes stay so.

    Parameters
    ----------
    batch
        Cells, raw counts.
    rates
        How much to change.
    normalise
        From counts to log1p values, such as `scssl.nn.Encoder.normalise`.
    draw
        Seed and epoch.
    view
        Number of the view: others differ.

    Returns
    -------
    View
        Counts or values, and which genes are hidden.
    """
    changed = change_counts(batch, thin=rates.thin, noise=rates.noise, draw=view_draw(draw, view, "counts"))
    x = None
    if rates.mix:
        x, unmeasured = normalise(changed), unmeasured_genes(batch)
        partner = partners(batch.cell, draw=view_draw(draw, view, "partner"))
        taken = random_mask(batch.cell, batch.n_genes, rate=rates.mix, draw=view_draw(draw, view, "mix"))
        if unmeasured is not None:
            # What either has not measured cannot be taken.
            taken &= ~(unmeasured | unmeasured[partner])
        x = torch.where(taken, x[partner], x)
    hidden = None
    if rates.mask:
        hidden = random_mask(batch.cell, batch.n_genes, rate=rates.mask, draw=view_draw(draw, view, "mask"))
    return View(changed, hidden, x)


def view_draw(draw: Draw, view: int, purpose: Purpose) -> Draw:
    """Return the key of one kind of draw in one view, independent of those of all others."""
    # From 1: in seed 0 and epoch 0, number 0 would give back the key that it was made from.
    number = torch.tensor([view * len(_PURPOSES) + _PURPOSES.index(purpose) + 1])
    return Draw(int(cell_keys(number, draw=draw)), 0)


def partners(cell: Tensor, *, draw: Draw) -> Tensor:
    """Give each cell another one of the batch, in a way that depends on which cells there are but not on their order.

    The cells are put into the order of their keys; each gets the next, and the last the first.

    Parameters
    ----------
    cell
        (n_cells,) numbers of the cells in the corpus.
    draw
        Seed and epoch.

    Returns
    -------
    Tensor
        (n_cells,) int64, row of the partner. A cell that is alone is its own.
    """
    order = torch.argsort(cell_keys(cell, draw=draw), stable=True)
    partner = torch.empty_like(order)
    partner[order] = order.roll(-1)
    return partner


def change_counts(batch: CellBatch, *, thin: float, noise: float, draw: Draw) -> CellBatch:
    r"""Remove a binomial share of the counts, then add negative binomial noise in proportion to what is left.

    .. math:: m \sim \mathrm{Binomial}(n, 1 - t), \qquad m' = m + \mathrm{NB}(m, 1 / (1 + e))

    with counts :math:`n`, ``thin`` :math:`t`, ``noise`` :math:`e`, and :math:`\mathrm{NB}(r, p)` the failures before
    :math:`r` successes: as if each molecule brought a geometric number of false copies. Draws are exact (inversion of
    the distribution function, to :math:`2^{-32}`) and keyed by cell and gene.

    Parameters
    ----------
    batch
        Cells, raw counts.
    thin
        Share of the counts removed, on average.
    noise
        Share of the counts added, on average.
    draw
        Seed and epoch.

    Returns
    -------
    CellBatch
        The same cells with other counts, and size factors that are their totals. Emptied entries are gone.
    """
    if not thin and not noise:
        return batch
    rows, values = batch.rows(), batch.values.long()
    entry = cell_keys(batch.cell, draw=draw)[rows].add_(batch.indices.long())
    # One hash per count serves both: its upper half thins, its lower half adds noise.
    word = cell_keys(entry, draw=draw)
    if thin:
        values = _draw("binomial", 1 - thin, values, word=(word >> 32) & _WORD, entry=entry, draw=draw)
    if noise:
        values = _draw("negative_binomial", noise, values, word=word & _WORD, entry=entry, draw=draw)
    kept = values > 0
    indptr, total = _before(kept)[batch.indptr], _before(values)[batch.indptr]
    return replace(
        batch,
        values=values[kept].to(batch.values.dtype),
        indices=batch.indices[kept],
        indptr=indptr,
        size_factor=total.diff().to(batch.size_factor.dtype),
    )


def _before(values: Tensor) -> Tensor:
    """Sum of all values before each position, (n + 1,)."""
    return torch.nn.functional.pad(values.cumsum(0, dtype=torch.int64), (1, 0))


def _draw(kind: str, rate: float, n: Tensor, *, word: Tensor, entry: Tensor, draw: Draw) -> Tensor:
    """Draw for every count n, given 32 random bits each."""
    drawn = _invert(kind, rate, n.clamp(max=LARGEST), word)
    beyond = (n > LARGEST).nonzero()[:, 0]
    if beyond.numel():
        # Binomial and negative binomial counts of sums are sums of such counts.
        left = n[beyond] - LARGEST
        pieces = (left + LARGEST - 1) // LARGEST
        number = torch.arange(int(pieces.sum()), device=n.device)
        which = torch.repeat_interleave(torch.arange(beyond.numel(), device=n.device), pieces)
        number -= (pieces.cumsum(0) - pieces)[which]
        size = (left[which] - number * LARGEST).clamp(max=LARGEST)
        fresh = cell_keys(entry[beyond][which] + ((number + 1) << 24), draw=draw)
        # As above, so that the two kinds of draw stay independent.
        fresh = (fresh >> 32 if kind == "binomial" else fresh) & _WORD
        drawn.index_add_(0, beyond[which], _invert(kind, rate, size, fresh))
    return drawn if kind == "binomial" else drawn + n


def _invert(kind: str, rate: float, n: Tensor, word: Tensor) -> Tensor:
    flat, start = _table(kind, rate, n.device)
    return torch.searchsorted(flat, (n << 32) | word, right=True) - start[n]


@lru_cache(maxsize=16)
def _table(kind: str, rate: float, device: Any) -> tuple[Tensor, Tensor]:
    """Distribution functions of all counts up to LARGEST, one after another, in units of 2**-32; and their starts."""
    from scipy.special import bdtr, nbdtr

    n = np.arange(LARGEST + 1)[:, None]
    if kind == "binomial":
        k = np.arange(LARGEST)[None, :]
        below, used = bdtr(np.minimum(k, n), n, rate), k < n
    else:
        # Nine standard deviations and nine exponential tails beyond the mean: past 1 - 2**-32 for every n.
        k = np.arange(int(LARGEST * rate + 30 * (1 + (LARGEST * rate * (1 + rate)) ** 0.5)))[None, :]
        below = nbdtr(k, np.maximum(n, 1), 1 / (1 + rate))
        used = (n > 0) & (np.pad(below, ((0, 0), (1, 0)))[:, :-1] < 1 - 2.0**-32)
    thresholds = (n << 32) + np.minimum(np.rint(below * 2.0**32).astype(np.int64), _WORD)
    lengths = used.sum(axis=1)
    start = np.cumsum(lengths) - lengths
    return torch.from_numpy(thresholds[used]).to(device), torch.from_numpy(start).to(device)
