"""No pre-training: the control that tells what the network's random start is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scssl.pretext.base import Draw, PretextRecord, PretextTask, register

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus.batch import CellBatch


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """A task without settings."""


@register
class NoPretraining(PretextTask):
    """Leave the encoder as it was drawn.

    A random projection of standardised expression keeps much of what tells cell types apart; a pre-trained encoder has
    to beat it to have learned anything. Its inputs are centred by the corpus, as those of every task.
    """

    record = PretextRecord(
        name="none",
        summary="Learn nothing: the random encoder, as a control.",
        doi="",
        settings=NoSettings,
        hides_genes=False,
        draws=False,
        trains=False,
    )

    def losses(self, batch: CellBatch, *, draw: Draw) -> dict[str, Tensor]:  # noqa: ARG002
        """Nothing is minimised: a run with this task ends before its first step."""
        message = "pretext 'none' has no loss: it is not trained"
        raise RuntimeError(message)
