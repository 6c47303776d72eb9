"""Dropout whose random bits are cheap on a processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from scssl.nn import kernels

if TYPE_CHECKING:
    from torch import Tensor


class Dropout(nn.Dropout):
    """Drop units at random while training: what `torch.nn.Dropout` does, ten times as fast on a processor.

    One number of torch's generator seeds the bits of a cell. The rate is honoured to 1/65,536.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Set units to zero, and scale the others up.

        Parameters
        ----------
        input
            (n_cells, n_units).
        """
        if not self.training or self.p == 0 or input.device.type != "cpu" or input.ndim != 2:
            return super().forward(input)
        keys = torch.randint(2**62, (input.shape[0],))
        kept = kernels.random_mask(keys.numpy(), input.shape[1], rate=1 - self.p)
        return input * (torch.from_numpy(kept).to(input.dtype) / (1 - self.p))
