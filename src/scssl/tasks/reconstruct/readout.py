"""What a model's decoder says of cells: expression, expected counts, and how far measurements stray from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scssl.cores import own_cores
from scssl.errors import SettingsError
from scssl.pretext.reconstruction import LARGEST_LOG_THETA
from scssl.tasks.reconstruct.moments import count_moments, log_moments
from scssl.training import resolve_device

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray
    from torch import Tensor

    from scssl.corpus.batch import CellBatch
    from scssl.training.devices import Device

COUNTED = ("nb", "zinb", "poisson")
"""Losses whose decoder predicts counts."""


def loss_of(model: Any) -> str:
    """Return what a model's decoder was trained on; "" without a decoder."""
    reconstruction = getattr(getattr(model, "task", None), "reconstruction", None)
    return "" if reconstruction is None else str(reconstruction.loss)


def check_readable(model: Any) -> None:
    """Make sure that expression can be read from a model.

    Raises
    ------
    SettingsError
        If it has no decoder, or one that does not predict expression; the message says what to do.
    """
    loss = loss_of(model)
    fix = (
        "use mode 'finetune', which trains one on a reference (--mode finetune), or a model pre-trained with "
        "--pretext masked"
    )
    if not loss:
        name = model.config.pretext if hasattr(model, "config") else type(model).__name__
        message = f"a model of the pretext task {name!r} has no decoder, so no expression can be read from it; {fix}"
        raise SettingsError(message)
    if loss == "bce":
        message = f"the model's decoder predicts whether a gene is seen (loss 'bce'), not how much of it; {fix}"
        raise SettingsError(message)


class Decoded(NamedTuple):
    """What a decoder gives for some cells and genes, before it is put on a scale."""

    log: Tensor | None
    """(n_cells, n_genes) log1p values, from decoders of ``mse``."""
    share: Tensor | None
    """(n_cells, n_genes) share of a cell's counts, without extra zeros; from those that predict counts."""
    theta: Tensor | None
    """(n_genes,) inverse dispersion; None where there is none."""
    zero: Tensor | None
    """(n_cells, n_genes) probability of an extra zero; None where there is none."""

    def expected_share(self) -> Tensor:
        """(n_cells, n_genes) expected share of the cell's counts."""
        assert self.share is not None
        return self.share if self.zero is None else (1 - self.zero) * self.share


class Readout:
    """Reads expression from a `CellModel`.

    Parameters
    ----------
    model
        Model with a decoder of expression.
    genes
        (n_genes,) positions of the genes to read; None for all of the panel.
    source
        Source of the model's corpus that the cells are of; "" for a new one, about which a decoder is told nothing.
    device
        Where to compute.

    Raises
    ------
    SettingsError
        If the model has no such decoder or source.
    """

    def __init__(
        self, model: Any, *, genes: NDArray[np.int64] | None = None, source: str = "", device: Device = "auto"
    ) -> None:
        check_readable(model)
        if source and source not in model.sources:
            known = ", ".join(map(repr, model.sources[:6])) + (", ..." if len(model.sources) > 6 else "")
            message = f"source {source!r} is none of the model; leave it out, or choose one of: {known}"
            raise SettingsError(message)
        self.code_of_source = model.sources.index(source) if source else -1
        self.device = resolve_device(device)
        self.task = model.task.to(self.device).eval()
        self.loss, self.target_sum = loss_of(model), float(model.config.target_sum)
        self.genes = None if genes is None else torch.from_numpy(genes).to(self.device)
        share = model.encoder.gene_share.cpu().numpy()
        self.learned: NDArray[np.bool_] = (share > 0)[slice(None) if genes is None else genes]
        """(n_genes,) genes that had counts in the training cells: nothing is known of the others."""

    @property
    def counted(self) -> bool:
        """Whether the decoder predicts counts."""
        return self.loss in COUNTED

    @torch.inference_mode()
    def decode(self, batch: CellBatch, *, hidden: NDArray[np.bool_] | None = None) -> Decoded:
        """Encode cells and decode them.

        Parameters
        ----------
        batch
            Cells, on the processor.
        hidden
            (n_cells, n_all_genes) entries whose values the encoder may not see.
        """
        batch = batch.to(self.device)
        masks = None if hidden is None else torch.from_numpy(hidden).to(self.device)
        decoder, of_counts = self.task.decoder, self.task.reconstruction
        with own_cores(self.device):
            code = self.task.encoder.encode(batch, masks=masks)
            units = decoder.units(code.float(), torch.full_like(batch.source, self.code_of_source))
            out = decoder.outputs(units, self.genes).float()
            if self.loss == "mse":
                # Log values of counts are not below 0, which a linear output can be.
                return Decoded(out.clamp(min=0), None, None, None)
            chosen = slice(None) if self.genes is None else self.genes
            theta = zero = None
            if of_counts.log_theta is not None:
                theta = torch.exp(of_counts.log_theta[chosen].float().clamp(max=LARGEST_LOG_THETA))
            if of_counts.zero is not None:
                weight, bias = of_counts.zero.weight[chosen], of_counts.zero.bias[chosen]
                zero = torch.sigmoid(torch.nn.functional.linear(units, weight, bias).float())
            return Decoded(None, torch.sigmoid(out), theta, zero)

    @torch.inference_mode()
    def quantities(
        self, decoded: Decoded, *, total: NDArray[np.floating], wanted: Collection[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Put what was decoded on the scales that were asked for.

        Parameters
        ----------
        decoded
            From `decode`.
        total
            (n_cells,) counts that each cell would have if all genes were measured.
        wanted
            Any of ``"expression"`` (log1p of counts per 10,000, without noise), ``"measured"`` (the mean of what a
            measurement at this depth would give, on that scale; the same for ``mse``), ``"sd"`` (its standard
            deviation), ``"counts"`` and ``"counts_sd"``. The last three are for decoders of counts.

        Returns
        -------
        dict
            Arrays (n_cells, n_genes) float32.
        """
        if decoded.log is not None:
            log = decoded.log.cpu().numpy()
            return {name: log for name in wanted if name in ("expression", "measured")}
        assert decoded.share is not None
        size = torch.from_numpy(np.asarray(total, dtype=np.float32)).to(self.device)[:, None]
        mean, form = size * decoded.share, {"theta": decoded.theta, "zero": decoded.zero}
        out: dict[str, Tensor] = {}
        if "expression" in wanted:
            out["expression"] = torch.log1p(self.target_sum * decoded.expected_share())
        if {"counts", "counts_sd"} & set(wanted):
            out["counts"], variance = count_moments(mean, **form)
            out["counts_sd"] = variance.sqrt()
        if {"measured", "sd"} & set(wanted):
            out["measured"], variance = log_moments(mean, **form, scale=self.target_sum / size.clamp(min=1e-6))
            out["sd"] = variance.sqrt()
        return {name: out[name].cpu().numpy() for name in wanted if name in out}
