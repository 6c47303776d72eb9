"""What tasks share that compare two views of a cell: the views, the encoding, the projector, the alarm for collapse."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from scssl.errors import require
from scssl.pretext.augment import Augmentation, View, make_view
from scssl.pretext.base import Draw, PretextTask
from scssl.pretext.gather import gather
from scssl.pretext.projector import perceptron

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus.batch import CellBatch
    from scssl.genes.programmes import Programmes
    from scssl.nn import Architecture, Encoder

Views = tuple[View, View]
Pair = tuple["Tensor", "Tensor"]


@dataclass(frozen=True, kw_only=True)
class TwoViewSettings(Augmentation):
    """Settings of all two-view tasks: how views differ, and the projector."""

    projector: tuple[int, ...] = (256, 256)
    """Units of the projector's layers after the code; the last is the width of what the loss compares."""
    within_source: bool = True
    """Compare cells with those of the same source only, or with the mean of these. Views of a cell share its source:
    else the code would be driven to tell sources apart."""

    def __post_init__(self) -> None:
        super().__post_init__()
        holds = len(self.projector) > 0 and min(self.projector) > 0
        require("task.projector", list(self.projector), holds=holds, must="one or more widths, each 1 or more")


class TwoViewTask(PretextTask):
    """Two views of each cell are encoded once each, projected, and compared.

    A subclass says how, in `view_losses`; another task that has codes of two views already can call it with them.
    """

    settings: TwoViewSettings

    def __init__(
        self,
        encoder: Encoder,
        *,
        architecture: Architecture,
        n_sources: int,
        settings: Any,
        programmes: Programmes | None = None,
    ) -> None:
        super().__init__(
            encoder, architecture=architecture, n_sources=n_sources, settings=settings, programmes=programmes
        )
        self.projector = perceptron((encoder.n_latent, *self.settings.projector))

    def views(self, batch: CellBatch, *, draw: Draw) -> Views:
        """Return two views of each cell."""
        first, second = (
            make_view(batch, self.settings, normalise=self.encoder.normalise, draw=draw, view=view) for view in (0, 1)
        )
        return first, second

    def losses(self, batch: CellBatch, *, draw: Draw) -> dict[str, Tensor]:
        """Return the loss of comparing two views, its parts, and how far the code is from collapse.

        Parameters
        ----------
        batch
            Cells.
        draw
            Seed and epoch of the views.

        Returns
        -------
        dict
            ``loss`` and the parts that the task names; ``code_std`` (mean standard deviation of the code's dimensions)
            and ``code_dimensions`` (dimensions that it varies in, see `participation`) over the cells of this process.
        """
        views = self.views(batch, draw=draw)
        codes = self.encode(views[0]), self.encode(views[1])
        return self.view_losses(views, codes) | spread(codes[0].detach())

    def encode(self, view: View) -> Tensor:
        """Return the code of a view, (n_cells, n_latent)."""
        code: Tensor = self.encoder.encode(view.batch, masks=view.hidden, x=view.x)
        return code

    def sources(self, views: Views) -> Tensor | None:
        """Return the sources of the cells of all processes, or None if these do not matter."""
        return gather(views[0].batch.source) if self.settings.within_source else None

    @abstractmethod
    def view_losses(self, views: Views, codes: Pair) -> dict[str, Tensor]:
        """Return ``loss`` and its parts, given two views and their codes.

        Parameters
        ----------
        views
            The views, for those who encode them once more.
        codes
            Their codes, with gradient.
        """


class EmbeddingTask(TwoViewTask):
    """Two-view tasks whose loss is a function of the embeddings of all cells of the batch, on all processes."""

    def view_losses(self, views: Views, codes: Pair) -> dict[str, Tensor]:
        """Project the codes, gather them from all processes, and compare.

        Parameters
        ----------
        views
            The views, for their sources.
        codes
            Codes of the two views, with gradient.
        """
        first, second = self.projector(codes[0]), self.projector(codes[1])
        source = self.sources(views)
        # Correlations near 1 are lost in the eight bits of bf16.
        with torch.autocast(first.device.type, enabled=False):
            return self.compare(gather(first.float()), gather(second.float()), source=source)

    @abstractmethod
    def compare(self, first: Tensor, second: Tensor, *, source: Tensor | None) -> dict[str, Tensor]:
        """Return ``loss`` and its parts.

        Parameters
        ----------
        first, second
            (n_cells, n_embedding) fp32 embeddings of two views.
        source
            (n_cells,) codes of the sources to compare within, or None to compare all.
        """


def centred(rows: Tensor, *, source: Tensor | None = None) -> tuple[Tensor, int]:
    """Take from each row the mean of all rows, or of those of its source.

    Parameters
    ----------
    rows
        (n_cells, n).
    source
        (n_cells,) codes.

    Returns
    -------
    centred
        (n_cells, n).
    n_free
        Degrees of freedom that are left: cells less means, at least 1.
    """
    if source is None:
        return rows - rows.mean(dim=0), max(rows.shape[0] - 1, 1)
    present, place, n_cells = torch.unique(source, return_inverse=True, return_counts=True)
    # A product, because sums by index have no fixed order on CUDA cards.
    belongs = nn.functional.one_hot(place, present.shape[0]).to(rows.dtype)
    means = belongs.T @ rows / n_cells.unsqueeze(1)
    return rows - means[place], max(rows.shape[0] - present.shape[0], 1)


def covariance(rows: Tensor, *, source: Tensor | None = None) -> Tensor:
    """Return the covariance of the columns, (n, n), of (n_cells, n), within sources if given; 0 for single cells."""
    apart, n_free = centred(rows, source=source)
    return apart.T @ apart / n_free


def off_diagonal_square(matrix: Tensor) -> Tensor:
    """Return the sum of the squares of all entries that are not on the diagonal."""
    return (matrix - torch.diag(matrix.diagonal())).square().sum()


def participation(matrix: Tensor) -> Tensor:
    r"""Return in how many dimensions a covariance spreads: 1 for a line, n if all directions are equal, 0 for a point.

    .. math:: (\sum_i \lambda_i)^2 / \sum_i \lambda_i^2

    over its eigenvalues :math:`\lambda`: the squared trace over the sum of squared entries, so that none are computed.
    """
    return matrix.diagonal().sum().square() / matrix.square().sum().clamp(min=torch.finfo(matrix.dtype).tiny)


def spread(code: Tensor) -> dict[str, Tensor]:
    """Return ``code_std`` and ``code_dimensions`` of (n_cells, n_latent) codes: small if all cells look alike."""
    with torch.autocast(code.device.type, enabled=False):
        matrix = covariance(code.float())
    return {"code_std": matrix.diagonal().sqrt().mean(), "code_dimensions": participation(matrix)}
