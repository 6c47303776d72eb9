"""How good labels are, and how far what comes with them can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scssl.metrics import ClassificationScores

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from scssl.metrics.calibration import CalibrationScores
    from scssl.metrics.hierarchy import HierarchicalScores


@dataclass(frozen=True, kw_only=True)
class TrustScores:
    """How far what comes with the labels can be trusted, where a kind of the true type counts as right.

    A label is right if it is the true one or a kind of it, and a label set holds the truth if it holds such a label.
    The reference knows the type of a cell if it has the true label, a kind of it, or something that it is a kind of:
    "CD4 T" is no type new to a reference that says "T cell", though "T cell" still counts as wrong for it.
    """

    calibration: CalibrationScores | None = None
    coverage: pd.DataFrame | None = None
    rejection: dict[str, Any] | None = None

    def summary(self) -> dict[str, Any]:
        """Return the scores without the tables, as plain values for JSON."""
        return _summary(self)


@dataclass(frozen=True, kw_only=True)
class AnnotationScores(ClassificationScores):
    """Scores of the best guesses, rejected cells included, and of probabilities, label sets and rejection.

    A cell without counts has a wrong label; it has no probability, label set or rejection, and no part in their scores.
    """

    n_without_counts: int = 0
    """Scored cells without counts."""
    calibration: CalibrationScores | None = None
    """Of the probabilities; None if they were not calibrated."""
    coverage: pd.DataFrame | None = None
    """Per donor of the query (``all`` if none is known): cells, share of the label sets with the true label, labels per
    set; None if there are no sets."""
    rejection: dict[str, Any] | None = None
    """``rejected`` share of the scored cells, ``known`` of those whose type the reference has, ``new`` of the others
    (None without any), ``accuracy_kept`` of the cells that were kept, ``reasons`` cells by reason; None without
    rejection."""
    hierarchy: HierarchicalScores | None = None
    """With kinds of the true type counted as right; None without an ontology."""
    by_kind: TrustScores | None = None
    """`calibration`, `coverage` and `rejection` with kinds of the true type counted as right; None without an
    ontology."""
    called: ClassificationScores | None = None
    """Of the labels as written, where rejected cells count as wrong; None where no scored cell was rejected."""

    def summary(self) -> dict[str, Any]:
        """Return the scores without the tables, as plain values for JSON."""
        values = {**super().summary(), "n_without_counts": self.n_without_counts, **_summary(self)}
        if self.hierarchy is not None:
            values["hierarchical"] = self.hierarchy.hierarchical.summary()
            values["relations"] = self.hierarchy.relations
        if self.by_kind is not None:
            values["hierarchical"] |= self.by_kind.summary()
        if self.called is not None:
            values["called"] = {
                name: getattr(self.called, name) for name in ("accuracy", "macro_f1", "balanced_accuracy")
            }
        return values


MANY = 2.0
"""Times the budget of wrong rejections, from which on rejecting is no longer as it was meant."""


def many_rejected(n: int, *, n_labelled: int, error_budget: float) -> bool:
    """Tell whether far more cells were rejected than the budget is for.

    Parameters
    ----------
    n
        Cells called unknown.
    n_labelled
        Cells with counts.
    error_budget
        Share of cells of known types that may be called so.
    """
    return n > MANY * error_budget * n_labelled


def in_words(written: Mapping[str, float], *, rejected: bool, best: Mapping[str, float] | None = None) -> str:
    """Say how good labels are, of rejected cells too: in the terminal and on the page in the same way.

    Parameters
    ----------
    written
        Accuracy, macro F1 and balanced accuracy of the labels as written, by their names in a summary.
    rejected
        Whether there are rejected cells among those scored.
    best
        The same of the best guesses, rejected cells included; None where they are not known.
    """
    words = (
        f"accuracy {written['accuracy']:.3f}, macro F1 {written['macro_f1']:.3f}, "
        f"balanced accuracy {written['balanced_accuracy']:.3f}"
    )
    if rejected:
        words += ", where cells called unknown count as wrong"
        if best:
            words += (
                f"; {best['accuracy']:.3f}, {best['macro_f1']:.3f} and {best['balanced_accuracy']:.3f} by the best "
                "guess for all"
            )
    return words


def _summary(scores: AnnotationScores | TrustScores) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if scores.calibration is not None:
        values["calibration"] = scores.calibration.summary()
    if scores.coverage is not None:
        rows = scores.coverage.reset_index().to_dict("records")
        values["coverage"] = [{str(name): value for name, value in row.items()} for row in rows]
    if scores.rejection is not None:
        values["rejection"] = scores.rejection
    return values
