"""From codes to another modality: one head per likelihood, all with the same few methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import torch
from torch import nn
from torch.nn import functional

from scssl.nn.likelihoods import expressed_loss, negative_binomial_loss, poisson_loss
from scssl.nn.readouts import expected_log1p, gaussian_loss, protein_mixture_loss

if TYPE_CHECKING:
    from torch import Tensor

Likelihood = Literal["nb_mixture", "nb", "gaussian", "bernoulli", "poisson"]
LARGEST: Final = 15.0
"""Of logarithms of expected counts: a stray code must not overflow."""
LEAST: Final = 1e-4
"""Smallest mean that a head starts from."""


class ReadoutHead(nn.Module):
    """Levels of features by a linear map of the standardised code, or by one hidden layer. Subclasses say of what.

    Parameters
    ----------
    n_latent
        Width of the code.
    n_features
        Proteins or peaks.
    hidden
        Width of a hidden layer, 0 for none.
    dropout
        Share of the units that the last map reads, dropped while training.
    """

    outputs = 1
    """Numbers per cell and feature."""
    code_mean: Tensor
    code_scale: Tensor

    def __init__(self, n_latent: int, n_features: int, *, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_features = n_features
        layers: list[nn.Module] = [nn.Linear(n_latent, hidden), nn.SELU()] if hidden else []
        self.trunk = nn.Sequential(*layers, nn.Dropout(dropout))
        self.output = nn.Linear(hidden or n_latent, self.outputs * n_features)
        # Every cell alike at first: what the code says then comes in gradually.
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.register_buffer("code_mean", torch.zeros(n_latent))
        self.register_buffer("code_scale", torch.ones(n_latent))

    @torch.no_grad()
    def start_from(self, codes: Tensor, values: Tensor, size: Tensor) -> None:
        """Take up the moments of codes, (n_cells, n_latent), and of what was measured: see `loss`."""
        self.code_mean.copy_(codes.mean(0))
        self.code_scale.copy_(codes.std(0, correction=0).clamp(min=1e-6))
        self._start(values, size)

    def levels(self, codes: Tensor) -> list[Tensor]:
        """Return the `outputs` maps of the code, (n_cells, n_features) each."""
        flat = self.output(self.trunk((codes - self.code_mean) / self.code_scale))
        return list(flat.chunk(self.outputs, dim=1))

    def loss(self, codes: Tensor, values: Tensor, size: Tensor) -> Tensor:
        """Return the negative log-likelihood, (n_cells, n_features).

        Parameters
        ----------
        codes
            (n_cells, n_latent).
        values
            (n_cells, n_features) as measured.
        size
            (n_cells,) total of the cell, over the typical one.
        """
        raise NotImplementedError

    def predict(self, codes: Tensor) -> dict[str, Tensor]:
        """Return what is expected in a cell of typical total, (n_cells, n_features) each.

        ``"scaled"`` is the mean on the scale of the scores: of ``log1p`` of counts, of the values as given, or of
        whether a peak is open. ``"expected"`` counts have too; the mixture adds ``"foreground"`` (expected counts
        without background) and ``"probability"`` (of foreground).
        """
        raise NotImplementedError

    def _start(self, values: Tensor, size: Tensor) -> None:
        raise NotImplementedError


class MixtureHead(ReadoutHead):
    """Background or foreground, see `protein_mixture_loss`. The background of a protein is the same in all cells.

    totalVI infers a cell's background from its proteins, which a query does not have.
    """

    outputs = 2

    def __init__(self, n_latent: int, n_features: int, *, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__(n_latent, n_features, hidden=hidden, dropout=dropout)
        self.log_background = nn.Parameter(torch.zeros(n_features))
        self.log_increase = nn.Parameter(torch.zeros(n_features))
        self.log_theta = nn.Parameter(torch.zeros(n_features))

    def _parts(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return background, foreground (both at typical total) and the logit of background."""
        increase, logit = self.levels(codes)
        log_background = self.log_background.clamp(max=LARGEST)
        log_foreground = log_background + functional.softplus(increase + self.log_increase)
        return log_background.exp().expand_as(increase), log_foreground.clamp(max=LARGEST).exp(), logit

    def loss(self, codes: Tensor, values: Tensor, size: Tensor) -> Tensor:
        """See `ReadoutHead.loss`; values are raw counts."""
        background, foreground, logit = self._parts(codes)
        scale = size.unsqueeze(1)
        return protein_mixture_loss(
            values,
            background=background * scale,
            foreground=foreground * scale,
            log_theta=self.log_theta,
            background_logit=logit,
        )

    def predict(self, codes: Tensor) -> dict[str, Tensor]:
        """See `ReadoutHead.predict`."""
        background, foreground, logit = self._parts(codes)
        share = torch.sigmoid(logit)
        low, high = expected_log1p(background[:1], self.log_theta), expected_log1p(foreground, self.log_theta)
        return {
            "scaled": share * low + (1 - share) * high,
            "expected": share * background + (1 - share) * foreground,
            "foreground": (1 - share) * foreground,
            "probability": 1 - share,
        }

    def _start(self, values: Tensor, size: Tensor) -> None:
        # The lower and the upper half of a protein's cells are a first guess of the two.
        logs = torch.log1p(values / size.unsqueeze(1)).sort(dim=0).values
        half = max(1, len(logs) // 2)
        low, high = (torch.expm1(part.mean(0)).clamp(min=LEAST).log() for part in (logs[:half], logs[-half:]))
        self.log_background.copy_(low)
        self.log_increase.copy_(torch.log(torch.expm1((high - low).clamp(min=0.1))))


class CountHead(ReadoutHead):
    """Negative binomial counts, one inverse dispersion per feature."""

    def __init__(self, n_latent: int, n_features: int, *, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__(n_latent, n_features, hidden=hidden, dropout=dropout)
        self.log_theta = nn.Parameter(torch.zeros(n_features))

    def loss(self, codes: Tensor, values: Tensor, size: Tensor) -> Tensor:
        """See `ReadoutHead.loss`; values are raw counts."""
        return negative_binomial_loss(values, self._mean(codes) * size.unsqueeze(1), self.log_theta)

    def predict(self, codes: Tensor) -> dict[str, Tensor]:
        """See `ReadoutHead.predict`."""
        mean = self._mean(codes)
        return {"scaled": expected_log1p(mean, self.log_theta), "expected": mean}

    def _mean(self, codes: Tensor) -> Tensor:
        return self.levels(codes)[0].clamp(max=LARGEST).exp()

    def _start(self, values: Tensor, size: Tensor) -> None:
        self.output.bias.copy_(_mean_at(values, size).log())


class GaussianHead(ReadoutHead):
    """Normal values on the scale that they were given on, one standard deviation per feature."""

    def __init__(self, n_latent: int, n_features: int, *, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__(n_latent, n_features, hidden=hidden, dropout=dropout)
        self.log_sigma = nn.Parameter(torch.zeros(n_features))

    def loss(self, codes: Tensor, values: Tensor, size: Tensor) -> Tensor:  # noqa: ARG002 (normalised already)
        """See `ReadoutHead.loss`; `size` is not used."""
        return gaussian_loss(values, self.levels(codes)[0], self.log_sigma)

    def predict(self, codes: Tensor) -> dict[str, Tensor]:
        """See `ReadoutHead.predict`."""
        return {"scaled": self.levels(codes)[0]}

    def _start(self, values: Tensor, size: Tensor) -> None:  # noqa: ARG002
        self.output.bias.copy_(values.mean(0))
        self.log_sigma.copy_(values.std(0, correction=0).clamp(min=1e-3).log())


class PoissonHead(ReadoutHead):
    """Fragments in peaks."""

    def loss(self, codes: Tensor, values: Tensor, size: Tensor) -> Tensor:
        """See `ReadoutHead.loss`; values are raw counts of fragments."""
        return poisson_loss(values, self._mean(codes) * size.unsqueeze(1))

    def predict(self, codes: Tensor) -> dict[str, Tensor]:
        """See `ReadoutHead.predict`."""
        mean = self._mean(codes)
        return {"scaled": -torch.expm1(-mean), "expected": mean}

    def _mean(self, codes: Tensor) -> Tensor:
        return self.levels(codes)[0].clamp(max=LARGEST).exp()

    def _start(self, values: Tensor, size: Tensor) -> None:
        self.output.bias.copy_(_mean_at(values, size).log())


class BernoulliHead(ReadoutHead):
    """Whether a peak is open; more peaks are seen in cells with more fragments, each peak by a slope of its own."""

    def __init__(self, n_latent: int, n_features: int, *, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__(n_latent, n_features, hidden=hidden, dropout=dropout)
        self.slope = nn.Parameter(torch.ones(n_features))

    def loss(self, codes: Tensor, values: Tensor, size: Tensor) -> Tensor:
        """See `ReadoutHead.loss`; values above 0 are open."""
        return expressed_loss(values, self.levels(codes)[0] + self.slope * size.log().unsqueeze(1))

    def predict(self, codes: Tensor) -> dict[str, Tensor]:
        """See `ReadoutHead.predict`."""
        return {"scaled": torch.sigmoid(self.levels(codes)[0])}

    def _start(self, values: Tensor, size: Tensor) -> None:  # noqa: ARG002
        self.output.bias.copy_(torch.logit((values > 0).float().mean(0).clamp(LEAST, 1 - LEAST)))


def _mean_at(values: Tensor, size: Tensor) -> Tensor:
    """Return what a cell of typical total has on average."""
    return (values.sum(0) / size.sum()).clamp(min=LEAST)


HEADS: Final[dict[str, type[ReadoutHead]]] = {
    "nb_mixture": MixtureHead,
    "nb": CountHead,
    "gaussian": GaussianHead,
    "bernoulli": BernoulliHead,
    "poisson": PoissonHead,
}
"""By likelihood."""
