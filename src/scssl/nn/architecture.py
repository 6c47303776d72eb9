"""The shape of the network, as plain settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from scssl.errors import require

MAX_WIDTH: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Encoder and decoder. Preset `richter2024` has the paper's: ``hidden=(512, 512, 256, 256), n_latent=64``."""

    hidden: tuple[int, ...] = (512,)
    """Widths of the encoder's hidden layers, from the genes inwards; the decoder mirrors them."""
    n_latent: int = 128
    """Width of the code, the embedding that is used downstream."""
    activation: Literal["selu", "gelu", "relu"] = "selu"
    """Non-linearity after every hidden layer. The code itself is linear."""
    norm: Literal["none", "layer", "batch"] = "none"
    """Normalisation before every activation."""
    dropout: float = 0.1
    """Share of the hidden units dropped while training."""
    output: Literal["linear", "softplus"] = "linear"
    """What the decoder ends in. A sigmoid cannot reach log1p values above 1, so it is not offered."""
    source_decoder: bool = True
    """Tell the decoder the source of a cell, so that the code need not carry the batch. The encoder is never told."""
    source_dropout: float = 0.1
    """Share of the cells whose source is withheld from the decoder in training, so that it works for a new source."""

    def __post_init__(self) -> None:
        must = f"at least 1 and at most {MAX_WIDTH:,} units"
        for width in self.hidden:
            require("architecture.hidden", list(self.hidden), holds=0 < width <= MAX_WIDTH, must=f"widths of {must}")
        require("architecture.n_latent", self.n_latent, holds=0 < self.n_latent <= MAX_WIDTH, must=must)
        for name in ("dropout", "source_dropout"):
            value = getattr(self, name)
            require(f"architecture.{name}", value, holds=0 <= value < 1, must="a share: 0 or more, and less than 1")
