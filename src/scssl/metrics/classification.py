"""How well predicted labels match the truth: accuracy, F1, per-class and confusion tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class ClassificationScores:
    """Scores of predicted labels. Averages run over the classes present in the truth, unless said otherwise."""

    n_cells: int
    """Cells scored."""
    accuracy: float
    """Share of cells with the right label (which is also the micro-averaged F1 when every cell has one label)."""
    balanced_accuracy: float
    """Mean recall over classes."""
    macro_f1: float
    """Mean F1 over classes: every class counts the same, however rare."""
    micro_f1: float
    """F1 of all cells pooled; equal to `accuracy`, as each cell has exactly one true and one predicted label."""
    weighted_f1: float
    """Mean F1 over classes, weighted by their number of cells."""
    per_class: pd.DataFrame
    """One row per class in the truth: ``support``, ``precision``, ``recall``, ``f1``, ``predicted`` (cells that were
    given this label), ``in_reference`` (False where the class could not have been predicted)."""
    confusion: pd.DataFrame
    """Counts, rows the truth, columns the prediction."""
    missing_classes: tuple[str, ...]
    """Classes of the truth that the reference does not have; every cell of them counts as wrong."""
    unused_cells: int
    """Cells left out because they have no true label."""

    def summary(self) -> dict[str, Any]:
        """Return the scores without the tables, as plain values for JSON."""
        names = ("n_cells", "accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "weighted_f1", "unused_cells")
        values: dict[str, Any] = {name: getattr(self, name) for name in names}
        values["n_classes"] = len(self.per_class)
        values["missing_classes"] = list(self.missing_classes)
        return values


def classification_scores(
    truth: Sequence[str] | NDArray[Any] | pd.Series,
    predicted: Sequence[str] | NDArray[Any] | pd.Series,
    *,
    reference_classes: Collection[str] | None = None,
    unlabelled: Collection[str] = (),
) -> ClassificationScores:
    """Score predicted labels against the truth.

    A class is averaged over when at least one cell truly has it. A label that was predicted but is nobody's truth has
    no row and no part in the averages; the cells that got it are wrong, and so lower the recall of their own class.
    (scikit-learn's default instead averages over such labels too, each with an F1 of 0.) Precision of a class that
    was never predicted is 0.

    Parameters
    ----------
    truth
        (n_cells,) true names.
    predicted
        (n_cells,) predicted names.
    reference_classes
        Names that could have been predicted; by default those that were. Classes of the truth that are not among
        them count as wrong, and are reported.
    unlabelled
        Names in `truth` that mean "not known"; these cells, and those whose truth is missing, are left out.

    Returns
    -------
    ClassificationScores
        Scores and tables.

    Raises
    ------
    DataError
        If the lengths differ or no cell has a true label.

    Examples
    --------
    >>> scores = classification_scores(["B", "B", "T", "NK"], ["B", "T", "T", "T"])
    >>> round(scores.accuracy, 2), round(scores.macro_f1, 2), scores.missing_classes
    (0.5, 0.39, ('NK',))
    """
    true, called, unused = _aligned(truth, predicted, unlabelled=unlabelled)
    confusion = confusion_table(true, called)
    classes = list(confusion.index)
    possible = set(called) if reference_classes is None else {str(name) for name in reference_classes}

    support = confusion.sum(axis=1).to_numpy()
    hits = np.array([confusion.loc[name, name] if name in confusion.columns else 0 for name in classes])
    given = confusion.sum(axis=0).reindex(classes, fill_value=0).to_numpy()
    precision = np.divide(hits, given, out=np.zeros(len(classes)), where=given > 0)
    recall = hits / support
    # 2PR / (P + R) written in counts, so that a class never predicted has 0 and not 0/0.
    f1 = 2 * hits / (support + given)
    per_class = pd.DataFrame(
        {
            "support": support,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "predicted": given,
            "in_reference": [name in possible for name in classes],
        },
        index=pd.Index(classes, name="class", dtype=object),
    )
    accuracy = float(hits.sum() / support.sum())
    return ClassificationScores(
        n_cells=int(support.sum()),
        accuracy=accuracy,
        balanced_accuracy=float(recall.mean()),
        macro_f1=float(f1.mean()),
        micro_f1=accuracy,
        weighted_f1=float(f1 @ support / support.sum()),
        per_class=per_class,
        confusion=confusion,
        missing_classes=tuple(name for name in classes if name not in possible),
        unused_cells=unused,
    )


def confusion_table(
    truth: Sequence[str] | NDArray[Any] | pd.Series, predicted: Sequence[str] | NDArray[Any] | pd.Series
) -> pd.DataFrame:
    """Count cells by true and predicted label.

    Parameters
    ----------
    truth, predicted
        (n_cells,) names.

    Returns
    -------
    pandas.DataFrame
        int64; rows are the classes of the truth, sorted; columns the same classes as far as they were predicted or
        not, then, sorted, the labels that were predicted but are nobody's truth.
    """
    true, called = np.asarray(truth, dtype=str), np.asarray(predicted, dtype=str)
    classes = np.unique(true)
    labels = np.concatenate([classes, np.setdiff1d(called, classes)])
    code_of = {name: code for code, name in enumerate(labels)}
    rows = np.searchsorted(classes, true)
    columns = np.fromiter((code_of[name] for name in called), dtype=np.int64, count=len(called))
    counts = np.bincount(rows * len(labels) + columns, minlength=len(classes) * len(labels))
    return pd.DataFrame(
        counts.reshape(len(classes), len(labels)),
        index=pd.Index(classes.astype(object), name="truth"),
        columns=pd.Index(labels.astype(object), name="predicted"),
    )


def _aligned(truth: Any, predicted: Any, *, unlabelled: Collection[str]) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Return true and predicted names of the cells that have a true one, and how many have none."""
    true, called = pd.Series(np.asarray(truth, dtype=object)), pd.Series(np.asarray(predicted, dtype=object))
    if len(true) != len(called):
        message = f"{len(true):,} true labels but {len(called):,} predicted ones; they must be of the same cells"
        raise DataError(message)
    known = (true.notna() & ~true.astype(str).isin([str(name) for name in unlabelled])).to_numpy()
    if not known.any():
        message = f"none of the {len(true):,} cells has a true label; nothing can be scored"
        raise DataError(message)
    return true[known].to_numpy().astype(str), called[known].to_numpy().astype(str), int((~known).sum())
