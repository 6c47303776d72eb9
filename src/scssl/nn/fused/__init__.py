r"""The two wide layers of the network on a processor, without dense copies of the batch.

With about 20,000 genes, the first layer of the encoder and the last of the decoder hold nearly all of the arithmetic,
and what surrounds them nearly all of the memory. Here the input is written in one pass from sparse counts (normalised,
centred, hidden and unmeasured genes marked; see `GeneStates`) in the type that the matrix product reads, and the
squared error of the output is taken in one pass which leaves its gradient in the output's place. Where cells share a
mask, both layers compute the genes that matter only: those that are seen, and those that are asked for. The results are
those of the plain modules (tested), up to rounding.
"""

from __future__ import annotations

from scssl.nn.fused.batches import Counts, usable
from scssl.nn.fused.first_layer import first_layer
from scssl.nn.fused.likelihood import likelihood
from scssl.nn.fused.squared_error import SquaredError, squared_error

__all__ = ["Counts", "SquaredError", "first_layer", "likelihood", "squared_error", "usable"]
