"""Scores of labels that have a gradient: the linear layer's own, and a smooth stand-in for the vote of neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

SAMPLE = 1000
"""Reference cells that the scale of distances is taken from."""
MAX_NUMBERS = 20_000_000
"""Numbers held at a time while neighbours are looked for: cells times reference cells, or times labels and width."""


class SmoothScores(Protocol):
    """Scores of labels around some cells."""

    def around(self, codes: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function from (n_cells, n_latent) codes to (n_cells, n_classes) scores, for cells that end there."""

    def cells_at_once(self, n_latent: int) -> int:
        """Return how many cells can be looked at together in bounded memory."""


class LinearScores:
    """Scores of a linear layer: they are smooth as they are.

    Parameters
    ----------
    weight
        (n_classes, n_latent).
    bias
        (n_classes,).
    """

    def __init__(self, *, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias

    def around(self, codes: Tensor) -> Callable[[Tensor], Tensor]:  # noqa: ARG002 (the same everywhere)
        """Return the layer."""
        return lambda z: z @ self.weight.T + self.bias

    def cells_at_once(self, n_latent: int) -> int:  # noqa: ARG002 (of one shape with the vote's)
        """Return how many cells can be scored together."""
        return max(1, MAX_NUMBERS // len(self.bias))


class SmoothVote:
    r"""A score with a gradient, in place of a vote of nearest neighbours.

    .. math:: s_c(z) = - \lVert z - m_c \rVert^2 / 2 h^2

    :math:`m_c` is the mean of the label's own k reference cells that are nearest to the cell explained, and stays where
    it is on the way from the baseline; :math:`h^2` is the median squared distance of reference cells from the mean of
    their label's k cells nearest to them. The label whose cells are nearest scores highest, and most often wins a vote.

    Parameters
    ----------
    reference
        (n_reference, n_latent) codes of labelled cells.
    labels
        (n_reference,) codes of their labels.
    n_classes
        Labels there are.
    k
        Neighbours per label; fewer where a label has fewer cells.
    """

    def __init__(self, reference: Tensor, *, labels: NDArray[np.int64], n_classes: int, k: int) -> None:
        self.reference, self.k = reference, k
        self.members = [torch.from_numpy(np.flatnonzero(labels == c)).to(reference.device) for c in range(n_classes)]
        self.width = self._width(labels)

    def centres(self, codes: Tensor, label: int, *, skip_nearest: bool = False) -> Tensor:
        """Return the mean of a label's k reference cells nearest to each code, (n_cells, n_latent)."""
        cells = self.reference[self.members[label]]
        skipped = int(skip_nearest and len(cells) > 1)
        near = torch.cdist(codes, cells).topk(min(self.k + skipped, len(cells)), largest=False).indices[:, skipped:]
        return cells[near].mean(1)

    def around(self, codes: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the score as a function of the code, with the neighbours of `codes`."""
        centres = torch.stack(
            [
                self.centres(codes, c) if len(members) else torch.full_like(codes, torch.inf)
                for c, members in enumerate(self.members)
            ],
            dim=1,
        )
        absent = torch.isinf(centres[0, :, 0])
        centres[:, absent] = 0.0

        def scores(z: Tensor) -> Tensor:
            gap = z.unsqueeze(1) - centres
            return (-gap.square().sum(2) / (2.0 * self.width)).masked_fill(absent, -1e4)

        return scores

    def cells_at_once(self, n_latent: int) -> int:
        """Return how many cells can be looked at together in bounded memory."""
        return max(1, MAX_NUMBERS // max(len(self.reference), len(self.members) * n_latent * 2))

    def _width(self, labels: NDArray[np.int64]) -> float:
        rows = np.unique(np.linspace(0, len(labels) - 1, num=min(SAMPLE, len(labels))).astype(np.int64))
        found = []
        for label in np.unique(labels[rows]):
            mine = self.reference[torch.from_numpy(rows[labels[rows] == label])]
            found.append((mine - self.centres(mine, int(label), skip_nearest=True)).square().sum(1))
        return max(float(torch.cat(found).median()), 1e-12)
