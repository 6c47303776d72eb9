"""What a translator knows once it was fitted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.model.cell_model import CellModel
    from scssl.nn.heads import ReadoutHead
    from scssl.tasks.translate.scale import Scale


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """Reference cells, of whom the nearest are averaged over."""

    embedding: NDArray[np.float32]
    """(n_cells, n_latent)."""
    scaled: NDArray[np.float32]
    """(n_cells, n_features) on the scale of the scores."""
    expected: NDArray[np.float32] | None
    """(n_cells, n_features) counts at the typical total; None where there are none."""
    k: int

    def predict(self, codes: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the means over the nearest cells, see `ReadoutHead.predict`."""
        from scssl.tasks.annotate.knn import nearest

        found, _ = nearest(self.embedding, codes, k=min(self.k, len(self.embedding)))
        out = {"scaled": _mean(self.scaled, found)}
        if self.expected is not None:
            out["expected"] = _mean(self.expected, found)
        return out


def _mean(values: NDArray[np.float32], found: NDArray[np.int64]) -> NDArray[np.float32]:
    total = np.zeros((len(found), values.shape[1]), dtype=np.float32)
    for column in found.T:
        total += values[column]
    return total / np.float32(found.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """Model, head, and the scale of what they predict."""

    model: CellModel
    """Whose codes are read: the translator's own, or what became of it by training."""
    predictor: ReadoutHead | Neighbours
    scale: Scale
    mean: NDArray[np.float32]
    """(n_features,) mean of the reference on the scale of the scores: what is known of a cell without its RNA."""
    reference: str
    """Where the cells came from."""
    target: str
    """Where in them the modality was, as an option."""
    n_cells: int
    fingerprint: str = ""
    """Of the counts of the reference's cells, to know them again; "" where it was not kept."""
    training: dict[str, Any] = field(default_factory=dict)
    """How the training went and how held-out cells were predicted, as plain values."""

    def predict(self, codes: torch.Tensor) -> dict[str, NDArray[np.float32]]:
        """Return what is predicted for codes, (n_cells, n_features) each."""
        if isinstance(self.predictor, Neighbours):
            return self.predictor.predict(codes.cpu().numpy())
        with torch.no_grad():
            found = self.predictor.eval().predict(codes)
        return {name: values.float().cpu().numpy() for name, values in found.items()}
