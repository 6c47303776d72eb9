"""Changes to the recipe that the package does not have, as pretext tasks of their own. Importing registers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from scssl.pretext import Draw, PretextRecord, register
from scssl.pretext.augment import change_counts, view_draw
from scssl.pretext.masked import MaskedAutoencoder, MaskedSettings
from scssl.pretext.projector import Averaged, cosine_momentum, perceptron
from scssl.pretext.simclr import Simclr, SimclrSettings

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus.batch import CellBatch

DOI = "10.1038/s42256-024-00934-3"


class _Scale(nn.Module):
    """Multiply a layer's weights by one number per gene: the same as multiplying its input."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.scale


@dataclass(frozen=True, kw_only=True)
class LeverSettings(MaskedSettings):
    """Settings of all levers at once; each is off by default."""

    scale_input: float = 0.0
    """Divide each gene's input by its standard deviation to this power: 1 gives z-scores."""
    scale_target: float = 0.0
    """Divide each gene's squared error by its variance to this power: 1 predicts z-scores."""
    rate_low: float = 0.0
    """Draw the rate of each batch between this and `rate`, if above 0."""
    rate_first: float = 0.0
    """Let the rate rise from this to `rate` over the training, if above 0."""
    thin: float = 0.0
    """Share of the molecules taken out of what the encoder sees."""
    ask_visible: float = 0.0
    """Weight of the loss on genes that are not hidden."""
    adversary: float = 0.0
    """Weight of the reversed gradient of a classifier of the source."""
    mmd: float = 0.0
    """Weight of the distance between the codes of sources (maximum mean discrepancy)."""
    latent: float = 0.0
    """Weight of predicting an averaged teacher's code of the whole cell from the masked one."""
    momentum: float = 0.996
    """Of the teacher."""
    average: float = 0.0
    """Momentum of an average of the encoder's weights that replaces them at the end; 0 for none."""
    variance: float = 0.0
    """Weight of VICReg's variance and covariance terms on the code, within sources."""


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        return -grad


@register
class Levers(MaskedAutoencoder):
    """The masked task with what it might be changed by."""

    record = PretextRecord(
        name="levers",
        summary="Masked, changed in one way or another.",
        doi=DOI,
        settings=LeverSettings,
        hides_genes=True,
    )
    settings: LeverSettings

    def __init__(self, encoder: Any, **rest: Any) -> None:
        super().__init__(encoder, **rest)
        s, width = self.settings, self.encoder.n_latent
        if s.adversary:
            self.judge = perceptron((width, 128, max(2, self.n_sources)))
        if s.latent:
            self.predictor = perceptron((width, 256, width))
            self.teacher = Averaged(self.encoder)
        if s.average:
            self.mean_encoder = Averaged(self.encoder)
        self.target_weight: Tensor | None = None
        self.progress = 0.0

    def start_from(self, *, gene_mean: Tensor, gene_variance: Tensor, gene_share: Tensor) -> None:
        """Set the scales of genes, and let the copies start as the encoder."""
        super().start_from(gene_mean=gene_mean, gene_variance=gene_variance, gene_share=gene_share)
        s = self.settings
        # A gene that hardly varies would be all noise.
        floor = gene_variance.mean() * 0.05
        if s.scale_input:
            first = next(layer for layer in self.encoder.layers if isinstance(layer, nn.Linear))
            scale = gene_variance.clamp(min=floor) ** (-s.scale_input / 2)
            # The spread of the input as a whole stays, and with it what the first layer starts from.
            scale = scale * (gene_variance.sum() / (gene_variance * scale**2).sum()).sqrt()
            nn.utils.parametrize.register_parametrization(first, "weight", _Scale(scale))
        if s.scale_target:
            weight = gene_variance.clamp(min=floor) ** -s.scale_target
            self.target_weight = weight / weight.mean()
        for name in ("teacher", "mean_encoder"):
            if hasattr(self, name):
                getattr(self, name).follow(self.encoder, momentum=0.0)

    def after_step(self, *, progress: float) -> None:
        """Let the copies follow; at the end, leave a plain encoder."""
        self.progress = progress
        if self.settings.latent:
            self.teacher.follow(self.encoder, momentum=cosine_momentum(self.settings.momentum, progress=progress))
        if self.settings.average:
            self.mean_encoder.follow(self.encoder, momentum=self.settings.average if progress > 0.5 else 0.0)
            if progress == 1.0:
                self.encoder.load_state_dict(self.mean_encoder.module.state_dict())
        if progress == 1.0 and self.settings.scale_input:
            # What is saved is a plain layer.
            first = next(layer for layer in self.encoder.layers if isinstance(layer, nn.Linear))
            if nn.utils.parametrize.is_parametrized(first):
                nn.utils.parametrize.remove_parametrizations(first, "weight")

    def losses(self, batch: CellBatch, *, draw: Draw) -> dict[str, Tensor]:
        """Return the loss of hidden genes, and what the levers add to it."""
        s = self.settings
        if s.rate_low:
            self.masker.rate = float(torch.empty(()).uniform_(s.rate_low, s.rate))
        if s.rate_first:
            # Epochs are judged at one rate, or later ones would look worse for being asked more.
            self.masker.rate = s.rate_first + (s.rate - s.rate_first) * self.progress if self.training else s.rate
        hiding = self.hide(batch, draw=draw)
        size = hiding.group_size
        seen = batch
        if s.thin:
            seen = change_counts(batch, thin=s.thin, noise=0.0, draw=view_draw(draw, 0, "counts"))
        code = self.encoder.encode(seen, masks=hiding.masks, group_size=size)
        out = {"loss": self._score(code, batch=batch, masks=hiding.targets, group_size=size)}
        if s.ask_visible:
            visible = self._score(code, batch=batch, masks=~hiding.targets, group_size=size)
            out["loss"] = out["loss"] + s.ask_visible * visible
        if not self.training:
            # Epochs are chosen by what is rebuilt: a judge that is fooled would count against the epochs that fool it.
            return out
        if s.adversary:
            told = self.judge(_Reverse.apply(nn.functional.layer_norm(code.float(), code.shape[1:])))
            out["judge"] = nn.functional.cross_entropy(told, batch.source)
            out["loss"] = out["loss"] + s.adversary * out["judge"]
        if s.mmd:
            out["mmd"] = mmd(code.float(), batch.source)
            out["loss"] = out["loss"] + s.mmd * out["mmd"]
        if s.latent:
            with torch.no_grad():
                truth = self.teacher.module.encode(batch).float()
                truth = (truth - truth.mean(0)) / truth.std(0).clamp(min=1e-3)
            out["latent"] = (self.predictor(code).float() - truth).square().mean()
            out["loss"] = out["loss"] + s.latent * out["latent"]
        if s.variance:
            from scssl.pretext.two_view import covariance, off_diagonal_square

            matrix = covariance(code.float(), source=batch.source)
            spread = (matrix.diagonal() + 1e-4).sqrt()
            term = (1 - spread).relu().mean() + off_diagonal_square(matrix) / len(matrix) / 25
            out["variance"] = term
            out["loss"] = out["loss"] + s.variance * term
        return out

    def _score(self, code: Tensor, *, batch: CellBatch, masks: Tensor, group_size: int) -> Tensor:
        if self.target_weight is None:
            return self.reconstruction(self.decoder, code, batch=batch, masks=masks, group_size=group_size)
        asked = masks.repeat_interleave(group_size, dim=0)[: batch.n_cells] & batch.measured[batch.measured_row]
        found = self.decoder(code, batch.source).float()
        error = (found - self.encoder.normalise(batch)).square() * self.target_weight
        return torch.where(asked, error, 0.0).sum() / asked.sum()


def mmd(code: Tensor, source: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of the codes of each source from those of all (Gaussian kernel)."""
    code = nn.functional.layer_norm(code, code.shape[1:])
    distance = torch.cdist(code, code).square()
    kernel = torch.exp(-distance / (2 * distance.detach().median().clamp(min=1e-6)))
    belongs = nn.functional.one_hot(torch.unique(source, return_inverse=True)[1]).to(code)
    belongs = belongs[:, belongs.sum(0) >= 8]
    if not belongs.shape[1]:
        return code.sum() * 0
    share = belongs / belongs.sum(0)
    everyone = torch.full((len(code), 1), 1 / len(code), device=code.device)
    apart = share - everyone
    return torch.einsum("as,ab,bs->s", apart, kernel, apart).mean()


@dataclass(frozen=True, kw_only=True)
class AcrossSettings(SimclrSettings):
    """Settings of SimCLR with positives in other sources."""

    neighbours: int = 3
    """Cells of two sources are positives if each is among this many nearest of the other's source."""
    across: float = 1.0
    """Weight of these positives."""
    masked: float = 0.0
    """Weight of masked reconstruction beside."""
    rate: float = 0.5


@register
class Across(Simclr):
    """SimCLR within sources, and mutual nearest neighbours of two sources drawn together."""

    record = PretextRecord(
        name="across",
        summary="SimCLR within sources, with mutual nearest neighbours across them as positives.",
        doi="10.1038/nbt.4091",
        settings=AcrossSettings,
        hides_genes=False,
    )
    settings: AcrossSettings

    def __init__(self, encoder: Any, **rest: Any) -> None:
        super().__init__(encoder, **rest)
        self.masked = None
        if self.settings.masked:
            own = MaskedSettings(rate=self.settings.rate)
            self.masked = MaskedAutoencoder(
                encoder, architecture=self.architecture, n_sources=self.n_sources, settings=own
            )

    def start_from(self, **genes: Any) -> None:
        """Take up what the corpus says of the genes."""
        (self.masked or super()).start_from(**genes)

    def losses(self, batch: CellBatch, *, draw: Draw) -> dict[str, Tensor]:
        """Return SimCLR's loss, that of the pairs across sources, and that of hidden genes if asked for."""
        views = self.views(batch, draw=draw)
        codes = self.encode(views[0]), self.encode(views[1])
        out = self.view_losses(views, codes)
        pairs = mutual_neighbours(codes[0].detach().float(), batch.source, k=self.settings.neighbours)
        if len(pairs):
            first, second = (self.projector(c).float() for c in codes)
            unit = [nn.functional.normalize(p, dim=1) for p in (first, second)]
            drawn = (unit[0][pairs[:, 0]] * unit[1][pairs[:, 1]]).sum(1)
            out["across"] = 1 - drawn.mean()
            out["loss"] = out["loss"] + self.settings.across * out["across"]
        if self.masked is not None:
            rebuilt = self.masked.losses(batch, draw=replace_draw(draw))["loss"]
            out["loss"] = out["loss"] + self.settings.masked * rebuilt
        return out


def replace_draw(draw: Draw) -> Draw:
    """Return another key, so that the mask is not that of a view."""
    return Draw(draw.seed + 1, draw.epoch)


def mutual_neighbours(code: Tensor, source: Tensor, *, k: int) -> Tensor:
    """Return the pairs of cells, (n, 2), of different sources that are among each other's `k` nearest there."""
    unit = nn.functional.normalize(code - code.mean(0), dim=1)
    near = unit @ unit.T
    chosen = torch.zeros_like(near, dtype=torch.bool)
    for other in torch.unique(source):
        theirs = (source == other).nonzero()[:, 0]
        if len(theirs) > k:
            best = near[:, theirs].topk(k, dim=1).indices
            chosen[torch.arange(len(code)).unsqueeze(1), theirs[best]] = True
    mutual = chosen & chosen.T & (source.unsqueeze(1) != source)
    return mutual.nonzero()
