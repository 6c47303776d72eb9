"""What an annotator knows once it was fitted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scssl.ontology import LabelTree
    from scssl.tasks.annotate.classifier import Classifier
    from scssl.tasks.annotate.trust import Trust


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Labelled cells in the space of a model."""

    embedding: NDArray[np.float32]
    """(n_cells, n_latent)."""
    codes: NDArray[np.int64]
    """(n_cells,) position of the label in `classes`."""
    classes: list[str]
    name: str
    """Where the cells came from."""
    labels: str
    """Column of ``obs`` that the labels were in."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Model, classifier and what is known of how far they can be trusted."""

    model: Any
    """Whose embedding the classifier reads: the annotator's own, or what became of it by training on labels."""
    classifier: Classifier
    """`NearestCells` in ``zero_shot``, else `LinearHead`."""
    reference: Reference
    """The labelled cells, in the space of `model`."""
    trust: Trust | None
    """What was learned from held-out cells; None if nothing was."""
    tree: LabelTree | None = None
    """The labels in the Cell Ontology; None without one."""
    training: dict[str, Any] = field(default_factory=dict)
    """How the training on labels went, as plain values; empty where there was none."""
    warnings: tuple[str, ...] = ()
    """What was warned of while it was fitted, as said."""

    @property
    def trained(self) -> bool:
        """Whether the encoder learned from the labels; not where fine-tuning fell back to the probe."""
        return bool(self.training) and self.training.get("share") != 0
