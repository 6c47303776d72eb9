"""Annotation: the labels that an annotator found for some cells, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl import keys
from scssl.errors import DataError, require_column
from scssl.metrics import classification_scores
from scssl.metrics.calibration import calibration_scores
from scssl.metrics.hierarchy import hierarchical_scores
from scssl.tasks.annotate.conformal import coverage
from scssl.tasks.annotate.folds import GUESSED
from scssl.tasks.annotate.labels import UNLABELLED, map_labels, read_labels
from scssl.tasks.annotate.scores import AnnotationScores, TrustScores
from scssl.tasks.annotate.truth import related, with_truth
from scssl.tasks.output import Results

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from scssl.metrics.calibration import CalibrationScores
    from scssl.ontology import LabelTree

UNKNOWN = "unknown"
"""Label of cells that were rejected."""
NO_COUNTS = "(no counts)"
"""Stands in tables for the label of cells that got none."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Labels for the cells of one query."""

    labels: pd.Categorical
    """(n_cells,) best guesses; the categories are those of the reference. Missing for cells without any count."""
    confidence: NDArray[np.float32]
    """(n_cells,) probability of the best guess; 0 for cells without any count."""
    probabilities: NDArray[np.float32]
    """(n_cells, n_classes) of all labels of the reference."""
    embedding: NDArray[np.float32]
    """(n_cells, n_latent)."""
    obs: pd.DataFrame
    """Annotation of the cells as it came with them."""
    file: str
    """What the query is called in messages."""
    settings: dict[str, Any]
    """How the labels came about, as written to ``uns``."""
    calibrated: bool = False
    """Whether probabilities were calibrated on held-out cells of the reference."""
    sets: NDArray[np.bool_] | None = None
    """(n_cells, n_classes) label sets; None where there are none."""
    set_names: NDArray[np.object_] | None = None
    """(n_cells,) the sets in words."""
    unknown: NDArray[np.object_] | None = None
    """(n_cells,) why a cell was rejected, "" if it was not; None where none is ever rejected."""
    tree: LabelTree | None = None
    """The labels of the reference in the Cell Ontology, if there was one."""

    @property
    def called(self) -> pd.Categorical:
        """(n_cells,) the best guesses, with ``"unknown"`` for rejected cells."""
        if self.unknown is None:
            return self.labels
        classes = list(self.labels.categories)
        codes = np.asarray(self.labels.codes, dtype=np.int64).copy()
        # A reference cannot have this label: cells that have it are left out.
        codes[(codes >= 0) & (self.unknown != "")] = len(classes)
        return pd.Categorical.from_codes(codes.tolist(), categories=pd.Index([*classes, UNKNOWN], dtype=object))

    def results(self, *, key_added: str | None = None) -> Results:
        """Return the labels under the names that they have in an AnnData, see `Annotator.predict`.

        Parameters
        ----------
        key_added
            Word to put in place of "scssl" in those names.
        """
        task = "annotate" if key_added is None else f"annotate_{key_added}"

        def named(key: str) -> str:
            return key if key_added is None else key.replace("scssl", key_added)

        obs: dict[str, Any] = {named(keys.LABEL): self.called, named(keys.CONFIDENCE): self.confidence}
        if self.set_names is not None:
            obs[named(keys.LABEL_SET)] = pd.Categorical(self.set_names)
        if self.unknown is not None:
            obs[named(keys.UNKNOWN)] = pd.Categorical(self.unknown)
        return Results(task=task, settings=self.settings, obs=obs, obsm={named(keys.EMBEDDING): self.embedding})

    def score(
        self,
        truth: str,
        *,
        label_map: Mapping[str, str | None] | None = None,
        unlabelled: Collection[str] = UNLABELLED,
        donor: str | None = None,
    ) -> AnnotationScores:
        """Score the labels, see `Annotator.evaluate`.

        Parameters
        ----------
        truth
            Column of `obs` with the true names.
        label_map
            From names in the query to names in the reference.
        unlabelled
            Names, in any case, that mean "not known".
        donor
            Column of `obs` with the donors; ``"donor"`` if there is one.
        """
        true = map_labels(read_labels(self.obs, truth, file=self.file, unlabelled=unlabelled), label_map)
        if true.isna().all():
            message = f"{self.file}: the label map leaves no cell of obs[{truth!r}] to score"
            raise DataError(message)
        if donor is not None:
            require_column(self.obs.columns, donor, file=self.file, role="with the donors")
        classes = [str(name) for name in self.labels.categories]
        predicted = np.asarray(self.labels.astype(object), dtype=object)
        predicted[pd.isna(predicted)] = NO_COUNTS
        scores = classification_scores(true, predicted, reference_classes=classes)
        known = true.notna().to_numpy()
        called = None
        rejected = np.zeros(len(known), dtype=bool) if self.unknown is None else self.unknown != ""
        if (rejected & known & (np.asarray(self.labels.codes) >= 0)).any():
            written = np.where(predicted == NO_COUNTS, NO_COUNTS, np.where(rejected, UNKNOWN, predicted))
            called = classification_scores(true, written, reference_classes=classes)
        # A cell without counts has a wrong label at most: no confidence, no set, and nothing that could be rejected.
        counted = known & (np.asarray(self.labels.codes) >= 0)
        codes = pd.Index(classes, dtype=object).get_indexer(pd.Index(true[counted], dtype=object)).astype(np.int64)
        column = donor or GUESSED
        donors = None
        if column in self.obs.columns:
            # Cells of unknown donor are of no donor, rather than of one more.
            names = self.obs[column][counted].astype(object).map(str, na_action="ignore")
            empty = {name.strip().casefold() for name in unlabelled}
            no_donor = names.isna() | names.astype(str).str.strip().str.casefold().isin(empty)
            donors = None if no_donor.all() else names.where(~no_donor, None).to_numpy(dtype=object)
        hierarchy, by_kind = None, None
        if self.tree is not None:
            tree = with_truth(self.tree, true.dropna())
            hierarchy = hierarchical_scores(
                true, predicted, classes=tree.labels, descends=tree.descends, reference_classes=classes
            )
            by_kind = self._by_kind(tree, true, counted, donors=donors)
        return AnnotationScores(
            **vars(scores),
            calibration=self._calibration(codes, counted),
            coverage=self._coverage(codes, counted, donors=donors),
            rejection=self._rejection(np.asarray(self.labels.codes)[counted] == codes, codes >= 0, counted),
            n_without_counts=int((known & ~counted).sum()),
            hierarchy=hierarchy,
            by_kind=by_kind,
            called=called,
        )

    def _by_kind(
        self, tree: LabelTree, true: pd.Series, counted: NDArray[np.bool_], *, donors: NDArray[np.object_] | None
    ) -> TrustScores:
        """Score with a kind of the true type counted as right; `tree` has the reference's labels first."""
        n = len(self.labels.categories)
        codes = pd.Index(tree.labels, dtype=object).get_indexer(pd.Index(true[counted], dtype=object)).astype(np.int64)
        right = tree.descends[:n].T[codes]
        best = np.asarray(self.labels.codes)[counted]
        named = right[np.arange(len(right)), best]
        return TrustScores(
            calibration=self._calibration(self.probabilities[counted].argmax(axis=1), counted, right=right),
            coverage=self._coverage(codes, counted, donors=donors, right=right),
            rejection=self._rejection(named, related(tree, n_classes=n)[codes], counted),
        )

    def _calibration(
        self, codes: NDArray[np.integer], counted: NDArray[np.bool_], *, right: NDArray[np.bool_] | None = None
    ) -> CalibrationScores | None:
        if not self.calibrated or not counted.any():
            return None
        return calibration_scores(codes, self.probabilities[counted], right=right)

    def _coverage(
        self,
        codes: NDArray[np.integer],
        counted: NDArray[np.bool_],
        *,
        donors: NDArray[np.object_] | None,
        right: NDArray[np.bool_] | None = None,
    ) -> pd.DataFrame | None:
        if self.sets is None or not counted.any():
            return None
        return coverage(self.sets[counted], codes=codes, donors=donors, right=right)

    def _rejection(
        self, right: NDArray[np.bool_], has: NDArray[np.bool_], counted: NDArray[Any]
    ) -> dict[str, Any] | None:
        """Count rejected cells: `right` are well named, `has` of a type that the reference has; both over `counted`."""
        if self.unknown is None:
            return None
        reasons = self.unknown[counted]
        rejected = reasons != ""
        names, n_cells = np.unique(reasons[rejected].astype(str), return_counts=True)

        def share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> float | None:
            return round(float(of[among].mean()), 4) if among.any() else None

        return {
            "rejected": share(rejected, np.ones_like(rejected)),
            "known": share(rejected, has),
            "new": share(rejected, ~has),
            "accuracy_kept": share(right & has, ~rejected),
            "reasons": dict(zip(names.tolist(), n_cells.tolist(), strict=True)),
        }
