"""How well predicted effects of a condition agree with measured ones, by the definitions of cell-eval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FDR: Final = 0.05
"""Below which a gene counts as differentially expressed."""
TINY: Final = 1e-9
"""Added to means before their ratio is taken."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Differences:
    """Genes of some cells against those of control cells."""

    log2_fold_change: NDArray[np.float64]
    """(n_genes,) of the geometric means of 1 + expression, less 1."""
    p_value: NDArray[np.float64]
    """(n_genes,) of a two-sided Mann-Whitney test, cell by cell: cells of one donor are not independent."""
    fdr: NDArray[np.float64]
    """(n_genes,) after Benjamini and Hochberg."""

    @property
    def significant(self) -> NDArray[np.int64]:
        """Genes below the FDR, those of the largest fold changes first."""
        genes = np.flatnonzero(self.fdr < FDR)
        return genes[np.argsort(-np.abs(self.log2_fold_change[genes]), kind="stable")]


def pearson_delta(predicted: NDArray[Any], truth: NDArray[Any], control: NDArray[Any]) -> float:
    """Return the correlation over genes of the predicted and the true change of mean log expression.

    How to read it: it does not see the size of the change, only its pattern; predictions rescaled tenfold score the
    same. NaN where nothing changes.

    Parameters
    ----------
    predicted, truth, control
        (n_genes,) means over cells.

    Example
    -------
    >>> round(pearson_delta(np.array([1.0, 2.0, 0.0]), np.array([2.0, 4.0, 0.0]), np.zeros(3)), 6)
    1.0
    """
    x, y = (np.asarray(v, dtype=np.float64) - np.asarray(control, dtype=np.float64) for v in (predicted, truth))
    if x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def discrimination_scores(predicted: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Return for each effect how near its prediction comes to it among all true effects.

    1 where the own true effect is the nearest (by the sum of absolute differences), less 1 / n for each that is nearer.
    Equally near ones, as of a prediction of no change at all, count half.

    Parameters
    ----------
    predicted, truth
        (n_effects, n_genes) changes of mean log expression.

    Raises
    ------
    DataError
        If shapes differ.

    Example
    -------
    >>> discrimination_scores(np.array([[1.0], [1.5]]), np.array([[1.0], [3.0]])).tolist()
    [1.0, 0.5]
    """
    predicted, truth = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if predicted.shape != truth.shape or predicted.ndim != 2:
        message = f"effects of shapes {predicted.shape} and {truth.shape} cannot be told apart; give one row per effect"
        raise DataError(message)
    distance = np.stack([np.abs(truth - effect).sum(axis=1) for effect in predicted])
    own = np.diag(distance)[:, None]
    rank = (distance < own).sum(axis=1) + 0.5 * ((distance == own).sum(axis=1) - 1)
    return np.asarray(1.0 - rank / len(truth))


def differences(cells: sp.spmatrix, control: sp.spmatrix) -> Differences:
    """Compare the expression of two sets of cells, gene by gene, with a Mann-Whitney test.

    Ties share their mean rank, the variance is corrected for them, and the statistic for continuity, as in SciPy's
    asymptotic method.

    Parameters
    ----------
    cells, control
        (n_cells, n_genes) log1p expression, sparse: not negative.

    Raises
    ------
    DataError
        If either has no cell, or they differ in genes.
    """
    from scipy.stats import norm

    x, y = (sp.csr_matrix(part, dtype=np.float64) for part in (cells, control))
    if min(x.shape[0], y.shape[0]) < 1 or x.shape[1] != y.shape[1]:
        message = f"cells of shape {x.shape} cannot be compared with control cells of shape {y.shape}"
        raise DataError(message)
    n_x, n_y, n_genes = x.shape[0], y.shape[0], x.shape[1]
    n = n_x + n_y
    both = sp.vstack([x, y], format="coo")
    kept = both.data != 0
    gene, value, in_x = both.col[kept].astype(np.int64), both.data[kept], both.row[kept] < n_x
    order = np.lexsort((value, gene))
    gene, value, in_x = gene[order], value[order], in_x[order]
    seen = np.bincount(gene, minlength=n_genes)
    zeros = (n - seen).astype(np.float64)
    # Runs of the same value of the same gene.
    new = np.ones(len(gene), dtype=bool)
    new[1:] = (gene[1:] != gene[:-1]) | (value[1:] != value[:-1])
    first = np.flatnonzero(new)
    size = np.diff(np.append(first, len(gene)))
    begin = np.cumsum(seen) - seen
    rank = np.repeat(first - begin[gene[first]] + (size + 1) / 2 if len(first) else np.zeros(0), size) + zeros[gene]
    seen_x = np.bincount(gene[in_x], minlength=n_genes)
    ranks = np.bincount(gene[in_x], weights=rank[in_x], minlength=n_genes) + (n_x - seen_x) * (zeros + 1) / 2
    tied = np.bincount(gene[first], weights=size.astype(np.float64) ** 3 - size, minlength=n_genes) + zeros**3 - zeros
    u = ranks - n_x * (n_x + 1) / 2
    spread = np.sqrt(np.maximum(n_x * n_y / 12.0 * (n + 1 - tied / (n * max(n - 1, 1))), 0.0))
    above = np.abs(u - n_x * n_y / 2.0) - 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(spread > 0, np.minimum(2.0 * norm.sf(above / spread), 1.0), 1.0)
    means = [np.expm1(np.asarray(part.mean(axis=0)).ravel()) for part in (x, y)]
    return Differences(log2_fold_change=np.log2((means[0] + TINY) / (means[1] + TINY)), p_value=p, fdr=_fdr(p))


def overlap(predicted: Differences, truth: Differences, *, k: int | None = None) -> float:
    """Return which share of the truly differing genes is among the predicted ones, the largest fold changes first.

    Parameters
    ----------
    predicted, truth
        By `differences`.
    k
        How many of the true ones, and of the predicted ones, to look at; None for as many as truly differ.

    Returns
    -------
    float
        0 where none differs.
    """
    true, guess = truth.significant, predicted.significant
    size = min(k or len(true), len(true))
    return len(np.intersect1d(true[:size], guess[:size])) / size if size else 0.0


def recall(predicted: Differences, truth: Differences) -> float:
    """Return which share of the truly differing genes differs in the prediction too; NaN where none truly differs."""
    true = truth.significant
    return len(np.intersect1d(true, predicted.significant)) / len(true) if len(true) else float("nan")


def direction_match(predicted: Differences, truth: Differences) -> float:
    """Return which share of the truly differing genes moves in the same direction; NaN where none truly differs."""
    true = truth.significant
    if not len(true):
        return float("nan")
    return float((np.sign(predicted.log2_fold_change[true]) == np.sign(truth.log2_fold_change[true])).mean())


def _fdr(p: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    found = np.empty(len(p))
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found
