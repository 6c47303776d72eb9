"""Gene programmes over a panel: sets of genes that act together, with their transcription factors where these are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Programmes:
    """Gene programmes as rows over the genes of a panel."""

    names: list[str]
    """One per programme, unique."""
    members: NDArray[np.bool_]
    """(n_programmes, n_genes) which panel genes belong to it."""
    regulators: NDArray[np.bool_]
    """(n_programmes, n_genes) its transcription factors; all False where none are known."""
    descriptions: list[str]
    """One per programme, may be empty."""

    @property
    def covered(self) -> float:
        """Share of the panel's genes that are in at least one programme."""
        return float(np.mean(self.members.any(axis=0)))
