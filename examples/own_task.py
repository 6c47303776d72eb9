"""Add a pretext task of your own: one class, and everything else knows it.

    python examples/own_task.py

Takes about 10 seconds. docs/tasks/own.md explains the parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import scssl
from scssl.pretext import PretextRecord, PretextTask, register


@dataclass(frozen=True, kw_only=True)
class DepthSettings:
    """What can be set of it."""

    weight: float = 1.0  # --set task.weight=2


@register
class Depth(PretextTask):
    """Predict a cell's total count from its normalised expression."""

    record = PretextRecord(
        name="depth", summary="Predict the total count.", doi="", settings=DepthSettings, hides_genes=False, draws=False
    )

    def __init__(self, encoder: Any, **options: Any) -> None:
        super().__init__(encoder, **options)
        self.head = nn.Linear(encoder.n_latent, 1)

    def losses(self, batch: Any, *, draw: Any) -> dict[str, torch.Tensor]:  # noqa: ARG002
        """Return what is to be made small, and whatever else is worth a look."""
        code = self.encoder.encode(batch)  # (n_cells, n_latent); encode(batch, masks=...) hides genes
        error = self.head(code)[:, 0] - torch.log(batch.size_factor.clamp(min=1))
        return {"loss": self.settings.weight * error.square().mean()}


def main(n_cells: int = 2000, n_genes: int = 500, epochs: int = 3) -> list[float]:
    cells = scssl.datasets.simulate_atlas(n_cells, n_genes)
    model = scssl.pretrain(cells, pretext="depth", genes="union", max_epochs=epochs)
    print(model)
    print(model.card["metrics"])
    return [model.card["metrics"]["train_loss"], float(model.embed(cells).std())]


if __name__ == "__main__":
    main()
