"""Annotation: the labels that an annotator found for some cells, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl import keys
from scssl.errors import DataError
from scssl.metrics import ClassificationScores, classification_scores
from scssl.tasks.annotate.labels import UNLABELLED, map_labels, read_labels
from scssl.tasks.output import Results

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Labels for the cells of one query."""

    labels: pd.Categorical
    """(n_cells,) predicted names; the categories are those of the reference. Missing for cells without any count."""
    confidence: NDArray[np.float32]
    """(n_cells,) share of the k nearest reference cells that have the label; 0 for cells without any count."""
    embedding: NDArray[np.float32]
    """(n_cells, n_latent)."""
    obs: pd.DataFrame
    """Annotation of the cells as it came with them."""
    file: str
    """What the query is called in messages."""
    settings: dict[str, Any]
    """How the labels came about, as written to ``uns``."""

    def results(self, *, key_added: str | None = None) -> Results:
        """Return the labels under the names that they have in an AnnData, see `Annotator.predict`.

        Parameters
        ----------
        key_added
            Word to put in place of "scssl" in those names.
        """
        task, label, confidence, embedding = "annotate", keys.LABEL, keys.CONFIDENCE, keys.EMBEDDING
        if key_added is not None:
            task, label, embedding = f"annotate_{key_added}", f"{key_added}_label", f"X_{key_added}"
            confidence = f"{key_added}_confidence"
        return Results(
            task=task,
            settings=self.settings,
            obs={label: self.labels, confidence: self.confidence},
            obsm={embedding: self.embedding},
        )

    def score(
        self,
        truth: str,
        *,
        label_map: Mapping[str, str | None] | None = None,
        unlabelled: Collection[str] = UNLABELLED,
    ) -> ClassificationScores:
        """Score the labels, see `Annotator.evaluate`.

        Parameters
        ----------
        truth
            Column of `obs` with the true names.
        label_map
            From names in the query to names in the reference.
        unlabelled
            Names, in any case, that mean "not known".
        """
        true = map_labels(read_labels(self.obs, truth, file=self.file, unlabelled=unlabelled), label_map)
        if true.isna().all():
            message = f"{self.file}: the label map leaves no cell of obs[{truth!r}] to score"
            raise DataError(message)
        predicted = np.asarray(self.labels.astype(object), dtype=object)
        predicted[pd.isna(predicted)] = "(no counts)"
        return classification_scores(true, predicted, reference_classes=list(self.labels.categories))
