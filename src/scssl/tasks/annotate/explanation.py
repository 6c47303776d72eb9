"""Explanation: the genes that spoke for the labels of some cells, and how it was found out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scssl.genes import GenePanel


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The genes that spoke most for the label of each cell, and of each type."""

    per_cell: pd.DataFrame
    """One row per cell and gene, best first: ``cell``, ``label``, ``gene`` (ID), ``symbol``, ``score`` (what the gene
    adds to the log-odds of the label), ``log1p`` (its value in the cell). Only genes that spoke for the label."""
    per_type: pd.DataFrame
    """One row per label and gene, best first: ``label``, ``gene``, ``symbol``, ``score`` (mean over the cells with this
    label), ``mean_log1p`` (mean value in them), ``baseline_log1p`` (mean in the pre-training corpus), ``n_cells``. A
    gene below its baseline spoke for the label by being absent."""
    cells: pd.DataFrame
    """One row per explained cell: ``label``, ``score`` and ``baseline`` (log-odds of the label for the cell, and for
    the baseline), ``attributed`` (sum over all genes: the difference of the two, but for the error of finite steps)."""
    settings: dict[str, Any]
    """How it came about."""

    def genes_of(self, label: str) -> pd.DataFrame:
        """Return the rows of `per_type` of one label.

        Parameters
        ----------
        label
            Name of the label.
        """
        return self.per_type[self.per_type["label"] == label].reset_index(drop=True)


class _Top(NamedTuple):
    genes: NDArray[np.int64]
    score: NDArray[np.float32]
    log1p: NDArray[np.float32]


class _Sums:
    """Running sums over the cells of one label."""

    def __init__(self, n_genes: int) -> None:
        self.score, self.log1p, self.n_cells = np.zeros(n_genes), np.zeros(n_genes), 0

    def add(self, score: NDArray[np.float32], log1p: NDArray[np.float32]) -> None:
        self.score += score.sum(axis=0, dtype=np.float64)
        self.log1p += log1p.sum(axis=0, dtype=np.float64)
        self.n_cells += len(score)


@dataclass(kw_only=True)
class Gathering:
    """Takes attributions in as they come, and keeps of each cell its best genes only."""

    panel: GenePanel
    classes: Sequence[str]
    baseline: NDArray[np.float32]
    """(n_genes,) gene means of the corpus."""
    n_top: int
    _tops: list[_Top] = field(default_factory=list)
    _rows: list[tuple[NDArray[Any], ...]] = field(default_factory=list)
    _sums: dict[int, _Sums] = field(default_factory=dict)

    def add(
        self,
        names: NDArray[Any],
        labels: NDArray[np.int64],
        *,
        values: NDArray[np.float32],
        log1p: NDArray[np.float32],
        score: NDArray[np.float32],
        baseline: NDArray[np.float32],
    ) -> None:
        """Take in some cells.

        Parameters
        ----------
        names, labels
            (n_cells,) names and codes of labels.
        values, log1p
            (n_cells, n_genes) attributions and values.
        score, baseline
            (n_cells,) scores at both ends.
        """
        top = np.argpartition(-values, min(self.n_top, values.shape[1]) - 1, axis=1)[:, : self.n_top]
        order = np.argsort(-np.take_along_axis(values, top, axis=1), axis=1, kind="stable")
        top = np.take_along_axis(top, order, axis=1)
        self._tops.append(_Top(top, np.take_along_axis(values, top, axis=1), np.take_along_axis(log1p, top, axis=1)))
        self._rows.append((names, labels, score, baseline, values.sum(axis=1, dtype=np.float64)))
        for label in np.unique(labels):
            rows = labels == label
            self._sums.setdefault(int(label), _Sums(len(self.panel))).add(values[rows], log1p[rows])

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables of an `Explanation`."""
        names, labels, score, baseline, attributed = (np.concatenate(part) for part in zip(*self._rows, strict=True))
        cells = pd.DataFrame(
            {"label": self._named(labels), "score": score, "baseline": baseline, "attributed": attributed},
            index=pd.Index(names, name="cell"),
        )
        best = _Top(*(np.concatenate(part) for part in zip(*self._tops, strict=True)))
        cell, place = np.nonzero(best.score > 0)
        genes = best.genes[cell, place]
        per_cell = pd.DataFrame(
            {
                "cell": names[cell],
                "label": self._named(labels[cell]),
                "gene": self.panel.ids[genes],
                "symbol": self.panel.symbols[genes],
                "score": best.score[cell, place],
                "log1p": best.log1p[cell, place],
            }
        )
        return {"cells": cells, "per_cell": per_cell, "per_type": self._per_type()}

    def _per_type(self) -> pd.DataFrame:
        parts = []
        for label in sorted(self._sums):
            sums = self._sums[label]
            mean = sums.score / sums.n_cells
            top = np.argsort(-mean, kind="stable")[: self.n_top]
            top = top[mean[top] > 0]
            parts.append(
                pd.DataFrame(
                    {
                        "label": self.classes[label],
                        "gene": self.panel.ids[top],
                        "symbol": self.panel.symbols[top],
                        "score": mean[top],
                        "mean_log1p": sums.log1p[top] / sums.n_cells,
                        "baseline_log1p": self.baseline[top],
                        "n_cells": sums.n_cells,
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)

    def _named(self, labels: NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self.classes, dtype=object)[labels]
