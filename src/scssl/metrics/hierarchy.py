"""Scores that know which cell types are kinds of which: a finer name than the truth is not a mistake."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.errors import DataError
from scssl.metrics.classification import ClassificationScores, classification_scores

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class HierarchicalScores:
    """Scores by the names as they are, and with predictions that are a kind of the truth counted as right."""

    raw: ClassificationScores
    """By the names as they are."""
    hierarchical: ClassificationScores
    """After every prediction that is a kind of its cell's true type was replaced by that type."""
    relations: dict[str, int]
    """Cells by what the prediction is to the truth: ``same``, ``finer`` (a kind of it, counted as right), ``coarser``
    (the truth is a kind of it: not wrong, but counted as wrong), ``other``."""

    def summary(self) -> dict[str, Any]:
        """Return both without the tables, as plain values for JSON."""
        return {
            "raw": self.raw.summary(),
            "hierarchical": self.hierarchical.summary(),
            "relations": dict(self.relations),
        }


def hierarchical_scores(
    truth: Sequence[str] | NDArray[Any] | pd.Series,
    predicted: Sequence[str] | NDArray[Any] | pd.Series,
    *,
    classes: Sequence[str],
    descends: NDArray[np.bool_],
    reference_classes: Collection[str] | None = None,
    unlabelled: Collection[str] = (),
) -> HierarchicalScores:
    """Score predicted labels, counting a descendant of the truth as right, as scTab and the paper do.

    Data sets are labelled more or less finely. Where a cell's true type is "T cell" and "CD4 T cell" is predicted, the
    prediction may well be right, and the truth cannot say that it is not; the other way round, the prediction misses
    what is known. So a prediction that descends from the truth is replaced by the truth, and everything is then scored
    as in `classification_scores`. The hierarchical accuracy is never below the raw one; compare both, as a reference
    with finer names gains more.

    Parameters
    ----------
    truth
        (n_cells,) true names.
    predicted
        (n_cells,) predicted names.
    classes
        Names that `descends` is about. Names that are not among them are related to no other.
    descends
        (n_classes, n_classes) bool, ``descends[i, j]`` if class i is class j or a kind of it; see
        `scssl.ontology.LabelTree`.
    reference_classes
        Names that could have been predicted. A class of the truth is missing from the reference, for the hierarchical
        score, if neither it nor any kind of it is among them.
    unlabelled
        Names in `truth` that mean "not known"; these cells are left out.

    Returns
    -------
    HierarchicalScores
        Both scores, and how the predictions relate to the truth.

    Raises
    ------
    DataError
        If the lengths differ, a class is there twice, or no cell has a true label.

    Examples
    --------
    >>> truth, predicted = ["T", "T", "CD4 T", "B"], ["CD4 T", "T", "T", "B"]
    >>> descends = np.array([[True, False, False], [False, True, True], [False, False, True]])
    >>> scores = hierarchical_scores(truth, predicted, classes=["B", "CD4 T", "T"], descends=descends)
    >>> scores.raw.accuracy, scores.hierarchical.accuracy
    (0.5, 0.75)
    >>> scores.relations
    {'same': 2, 'finer': 1, 'coarser': 1, 'other': 0}
    """
    names = [str(name) for name in classes]
    related = np.asarray(descends, dtype=bool)
    if related.shape != (len(names), len(names)) or len(set(names)) < len(names):
        message = f"descends is {related.shape} for {len(names)} classes; it needs a row and a column for each, once"
        raise DataError(message)
    raw = classification_scores(truth, predicted, reference_classes=reference_classes, unlabelled=unlabelled)
    code_of = {name: code for code, name in enumerate(names)}
    true = np.asarray(truth, dtype=object)
    called = np.asarray(predicted, dtype=object)
    rows, columns = _codes(called, code_of), _codes(true, code_of)
    finer = is_kind_of(rows, columns, descends=related)
    coarser = is_kind_of(columns, rows, descends=related) & ~finer
    lifted = np.where(finer, true, called)
    known = None if reference_classes is None else _reachable(reference_classes, names, related)
    hierarchical = classification_scores(
        true,
        lifted,
        reference_classes=set(map(str, called)) | set(map(str, lifted)) if known is None else known,
        unlabelled=unlabelled,
    )
    empty = {str(name) for name in unlabelled}
    scored = np.array([name is not None and name == name and str(name) not in empty for name in true], dtype=bool)
    same = scored & np.array([str(t) == str(p) for t, p in zip(true, called, strict=True)], dtype=bool)
    counts = {
        "same": int(same.sum()),
        "finer": int((scored & finer & ~same).sum()),
        "coarser": int((scored & coarser & ~same).sum()),
    }
    return HierarchicalScores(
        raw=raw,
        hierarchical=hierarchical,
        relations={**counts, "other": int(scored.sum()) - sum(counts.values())},
    )


def is_kind_of(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], *, descends: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Say which predictions are the true class or a kind of it: those that count as right.

    Parameters
    ----------
    predicted, truth
        Codes of equal or broadcastable shapes; a code of no class is a kind of nothing.
    descends
        (n_classes, n_classes) bool, as for `hierarchical_scores`.
    """
    rows, columns = np.broadcast_arrays(predicted, truth)
    both = (rows >= 0) & (columns >= 0) & (np.maximum(rows, columns) < len(descends))
    found: NDArray[np.bool_] = both & descends[np.where(both, rows, 0), np.where(both, columns, 0)]
    return found


def lift(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], *, descends: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Replace every prediction that is a kind of the true class by the true class.

    Parameters
    ----------
    predicted, truth, descends
        See `is_kind_of`.

    Examples
    --------
    >>> descends = np.array([[True, True], [False, True]])
    >>> lift(np.array([0, 1, 0]), np.array([1, 0, 0]), descends=descends).tolist()
    [1, 1, 0]
    """
    right = is_kind_of(predicted, truth, descends=descends)
    return np.where(right, truth, predicted).astype(np.int64)


def _codes(names: NDArray[Any], code_of: dict[str, int]) -> NDArray[np.int64]:
    return np.fromiter((code_of.get(str(name), -1) for name in names), dtype=np.int64, count=len(names))


def _reachable(reference: Collection[str], names: list[str], related: NDArray[np.bool_]) -> set[str]:
    """Return the reference's names and every class that one of them is a kind of."""
    own = {str(name) for name in reference}
    rows = [code for code, name in enumerate(names) if name in own]
    return own | {names[code] for code in np.flatnonzero(related[rows].any(axis=0))}
