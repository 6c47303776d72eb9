"""The encoder (cells to codes) and the decoder (codes to genes)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from scssl.nn import fused
from scssl.nn.dropout import Dropout
from scssl.nn.inputs import GeneStates, log_normalise, unmeasured_genes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from scssl.corpus.batch import CellBatch
    from scssl.nn.architecture import Architecture

_ACTIVATIONS = {"selu": nn.SELU, "gelu": nn.GELU, "relu": nn.ReLU}


def linear(n_in: int, n_out: int, *, activation: str) -> nn.Linear:
    """Return a linear layer initialised for the activation that follows it (LeCun for SELU and none, He otherwise)."""
    layer = nn.Linear(n_in, n_out)
    gain = 1.0 if activation in {"selu", "none"} else 2.0
    nn.init.normal_(layer.weight, std=(gain / n_in) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


def hidden_layers(sizes: Sequence[int], architecture: Architecture) -> nn.Sequential:
    """Return hidden layers of the given widths, the first width being the input's."""
    norms = {"none": None, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
    norm = norms[architecture.norm]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers.append(linear(n_in, n_out, activation=architecture.activation))
        if norm is not None:
            layers.append(norm(n_out))
        layers.append(_ACTIVATIONS[architecture.activation]())
        if architecture.dropout:
            layers.append(Dropout(architecture.dropout))
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Cells to codes: gene states, hidden layers, linear code. The same module in pre-training and in every use.

    Parameters
    ----------
    n_genes
        Genes in the panel.
    architecture
        Widths, activation and so on.
    target_sum
        Total to which each cell's counts are scaled before log1p.
    """

    gene_share: Tensor

    def __init__(self, n_genes: int, architecture: Architecture, *, target_sum: float = 1e4) -> None:
        super().__init__()
        self.n_genes, self.n_latent, self.target_sum = n_genes, architecture.n_latent, target_sum
        self.states = GeneStates(n_genes)
        self.layers = hidden_layers((n_genes, *architecture.hidden), architecture)
        self.code = linear((n_genes, *architecture.hidden)[-1], architecture.n_latent, activation="none")
        # Share of a typical cell's counts per gene in the pre-training corpus: makes small panels comparable at use.
        self.register_buffer("gene_share", torch.full((n_genes,), 1.0 / n_genes))

    def normalise(self, batch: CellBatch) -> Tensor:
        """Return log1p values, (n_cells, n_genes): see `scssl.nn.inputs.log_normalise`."""
        return log_normalise(batch, target_sum=self.target_sum)

    def forward(self, x: Tensor, *, hidden: Tensor | None = None, unmeasured: Tensor | None = None) -> Tensor:
        """Encode normalised cells.

        Parameters
        ----------
        x
            (n_cells, n_genes) log1p values.
        hidden, unmeasured
            (n_cells, n_genes) bool, or None where there are none.

        Returns
        -------
        Tensor
            (n_cells, n_latent) code.
        """
        code: Tensor = self.code(self.layers(self.states(x, hidden=hidden, unmeasured=unmeasured)))
        return code

    def encode(
        self, batch: CellBatch, *, masks: Tensor | None = None, group_size: int = 1, x: Tensor | None = None
    ) -> Tensor:
        """Encode cells from their counts, in the fastest way there is for them.

        Parameters
        ----------
        batch
            Cells, raw counts.
        masks
            (n_masks, n_genes) bool, genes hidden from `group_size` consecutive cells each; None where nothing is.
        group_size
            Cells per mask.
        x
            (n_cells, n_genes) log1p values to read in place of those of the counts.

        Returns
        -------
        Tensor
            (n_cells, n_latent) code.
        """
        first = next(layer for layer in (*self.layers, self.code) if isinstance(layer, nn.Linear))
        if x is None and fused.usable(first):
            units = fused.first_layer(
                first, self.states, batch, target_sum=self.target_sum, masks=masks, group_size=group_size
            )
            code: Tensor = self.code(self.layers[1:](units)) if len(self.layers) else units
            return code
        hidden = None if masks is None else masks.repeat_interleave(group_size, dim=0)[: batch.n_cells]
        code = self(self.normalise(batch) if x is None else x, hidden=hidden, unmeasured=unmeasured_genes(batch))
        return code

    def embed(self, batch: CellBatch) -> Tensor:
        """Encode a batch of counts with nothing hidden, as downstream tasks do."""
        return self.encode(batch)


class Decoder(nn.Module):
    """Codes to genes: the encoder mirrored, optionally told the source of each cell.

    Parameters
    ----------
    n_genes
        Genes in the panel.
    architecture
        The encoder's; widths are mirrored.
    n_sources
        Sources in the corpus; used if ``architecture.source_decoder``.
    """

    def __init__(self, n_genes: int, architecture: Architecture, *, n_sources: int) -> None:
        super().__init__()
        widths = (architecture.n_latent, *reversed(architecture.hidden))
        self.layers = hidden_layers(widths, architecture)
        self.output = linear(widths[-1], n_genes, activation="none")
        self.softplus = architecture.output == "softplus"
        self.source_dropout = architecture.source_dropout
        # One vector per source added to the code's own: the same as appending a one-hot source to the code before a
        # linear layer. It starts at zero, so at first no source differs from an unseen one.
        told = architecture.source_decoder and n_sources > 1
        self.source = nn.Embedding(n_sources, architecture.n_latent) if told else None
        if self.source is not None:
            nn.init.zeros_(self.source.weight)

    @torch.no_grad()
    def start_from(self, gene_mean: Tensor) -> None:
        """Set the output's bias so that an untrained decoder predicts about the gene means, (n_genes,) log1p values."""
        if self.softplus:
            # The inverse of softplus; a gene that is never seen would need minus infinity.
            gene_mean = torch.log(torch.expm1(gene_mean.clamp(min=1e-4)))
        self.output.bias.copy_(gene_mean)

    def forward(self, code: Tensor, source: Tensor) -> Tensor:
        """Decode.

        Parameters
        ----------
        code
            (n_cells, n_latent).
        source
            (n_cells,) source codes; -1 for a source that the corpus does not have.

        Returns
        -------
        Tensor
            (n_cells, n_genes) predicted log1p values.
        """
        return self.outputs(self.units(code, source))

    def units(self, code: Tensor, source: Tensor) -> Tensor:
        """Return the last hidden layer, (n_cells, width)."""
        if self.source is not None:
            known = source >= 0
            if self.training and self.source_dropout:
                known = known & (torch.rand(source.shape, device=source.device) >= self.source_dropout)
            code = code + self.source(source.clamp(min=0)) * known.unsqueeze(1)
        units: Tensor = self.layers(code)
        return units

    def outputs(self, units: Tensor, genes: Tensor | None = None) -> Tensor:
        """Return predictions for all genes, or for some.

        Parameters
        ----------
        units
            (n_cells, width) from `units`.
        genes
            (n_chosen,) positions in the panel, None for all.
        """
        if genes is None:
            out: Tensor = self.output(units)
        else:
            out = nn.functional.linear(units, self.output.weight[genes], self.output.bias[genes])
        return nn.functional.softplus(out) if self.softplus else out
