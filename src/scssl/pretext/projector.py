"""The small networks that stand between the code and a two-view loss, and the averaged copy that BYOL compares with."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from scssl.nn.networks import linear

if TYPE_CHECKING:
    from collections.abc import Sequence


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers with layer norm and GELU between them; the last is linear. Projectors and predictors.

    Layer norm, because it works on each cell alone: with batch norm, what a cell is compared with would depend on the
    other cells of its batch and on how a batch is shared out over processes (gathering its statistics costs a wait in
    each layer, and torch has no such layer for processors), and would differ between training and validation.

    Parameters
    ----------
    widths
        Units, from the input to the output.
    """
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths[:-1]):
        layers += [linear(n_in, n_out, activation="gelu"), nn.LayerNorm(n_out), nn.GELU()]
    return nn.Sequential(*layers, linear(widths[-2], widths[-1], activation="none"))


class Averaged(nn.Module):
    """A copy of a module that follows it slowly: an exponential moving average of its weights, without gradient.

    It drops no units: what is to be predicted need not be noisy.

    Parameters
    ----------
    module
        What to follow.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(requires_grad=False)
        for part in self.module.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the copy computes, without gradient."""
        with torch.no_grad():
            return self.module(*args, **kwargs)

    @torch.no_grad()
    def follow(self, module: nn.Module, *, momentum: float) -> None:
        """Move towards the module.

        Parameters
        ----------
        module
            The module followed.
        momentum
            Share of the old weights that is kept; buffers are copied.
        """
        for mine, theirs in zip(self.module.parameters(), module.parameters(), strict=True):
            mine.lerp_(theirs, 1.0 - momentum)
        for buffer, copied in zip(self.module.buffers(), module.buffers(), strict=True):
            buffer.copy_(copied)


def cosine_momentum(start: float, *, progress: float) -> float:
    r"""Return the momentum of an average: from `start` to 1 along a cosine.

    .. math:: \tau = 1 - (1 - \tau_0) (\cos \pi p + 1) / 2

    Parameters
    ----------
    start
        Momentum at the beginning, :math:`\tau_0`.
    progress
        Share of the run that is done, :math:`p`.

    Examples
    --------
    >>> cosine_momentum(0.99, progress=0.0), cosine_momentum(0.99, progress=1.0)
    (0.99, 1.0)
    """
    return 1.0 - (1.0 - start) * (math.cos(math.pi * progress) + 1.0) / 2.0
