"""What tasks share that compare two views of a cell: the views, the encoding, the projector, the alarm for collapse."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

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
            and ``code_rank`` (dimensions that it varies in, see `participation`) over the cells of this process.
        """
        views = self.views(batch, draw=draw)
        codes = self.encode(views[0]), self.encode(views[1])
        return self.view_losses(views, codes) | spread(codes[0].detach())

    def encode(self, view: View) -> Tensor:
        """Return the code of a view, (n_cells, n_latent)."""
        code: Tensor = self.encoder(view.x, hidden=view.hidden, unmeasured=view.unmeasured)
        return code

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

    def view_losses(self, views: Views, codes: Pair) -> dict[str, Tensor]:  # noqa: ARG002 (encoded already)
        """Project the codes, gather them from all processes, and compare.

        Parameters
        ----------
        views
            Not used.
        codes
            Codes of the two views, with gradient.
        """
        first, second = self.projector(codes[0]), self.projector(codes[1])
        # Correlations near 1 are lost in the eight bits of bf16.
        with torch.autocast(first.device.type, enabled=False):
            return self.compare(gather(first.float()), gather(second.float()))

    @abstractmethod
    def compare(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return ``loss`` and its parts, given the embeddings of two views, (n_cells, n_embedding) fp32 each."""


def covariance(rows: Tensor) -> Tensor:
    """Return the covariance of the columns, (n, n), of (n_cells, n); 0 for a single cell."""
    centred = rows - rows.mean(dim=0)
    return centred.T @ centred / max(rows.shape[0] - 1, 1)


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
    """Return ``code_std`` and ``code_rank`` of (n_cells, n_latent): both near 0 or 1 mean that all cells look alike."""
    with torch.autocast(code.device.type, enabled=False):
        matrix = covariance(code.float())
    return {"code_std": matrix.diagonal().sqrt().mean(), "code_rank": participation(matrix)}
