"""How well predicted expression fits counts that were held out: sums over chunks of cells, then scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMALLEST = 1e-8
"""Expected counts below this are taken as this: the logarithm of 0 would make one entry decide all."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionScores:
    """Scores of one method. "Genes" are those with enough held-out counts, of which there were `n_genes`."""

    n_cells: int
    n_genes: int
    """Genes whose held-out values were not 0 in at least `min_cells` cells: scores by gene are over these."""
    n_entries: int
    """Entries scored, of all genes."""
    weighted_explained_variance: float
    """Of log values, all genes that vary: 1 - sum of the variances of the errors / sum of those of the truth, as in the
    paper (doi 10.1038/s42256-024-00934-3). Held-out values are noisy, so that 1 cannot be reached."""
    gene_explained_variance: float
    """Of log values, median over genes."""
    gene_pearson: float
    """Correlation over cells, mean over genes; 0 for a gene whose prediction is the same for all cells."""
    cell_pearson: float
    """Correlation over the genes scored, mean over cells: how well a cell's profile is met, most of which is the
    profile that all cells share."""
    nonzero_weighted_explained_variance: float
    """As above, over entries whose held-out value is not 0."""
    nonzero_gene_pearson: float
    """As above, over entries whose held-out value is not 0."""
    poisson_deviance: float
    """Of counts, mean over all entries, nats; lower is better."""
    nb_deviance: float
    """The same for a negative binomial with a dispersion per gene that is given to all methods; NaN without."""
    per_gene: pd.DataFrame
    """One row per gene given: ``mean`` (of the held-out log values), ``nonzero`` (cells), ``explained_variance``,
    ``pearson``, ``nonzero_pearson``, ``rmse``; NaN where nothing varies."""
    per_cell: pd.DataFrame
    """One row per cell: ``pearson``, ``poisson_deviance`` (mean of its entries)."""

    def summary(self) -> dict[str, Any]:
        """Return the scores without the tables, as plain values for JSON; None for what is not known."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if not name.startswith("per_")}
        return {name: None if value != value else value for name, value in values.items()}


def poisson_deviance(counts: NDArray[np.floating], mean: NDArray[np.floating]) -> NDArray[np.float64]:
    r"""Return :math:`2 (k \log(k / \mu) - k + \mu)` for each entry.

    Parameters
    ----------
    counts, mean
        Counts, and what was expected of them, of the same shape.
    """
    mu = np.maximum(np.asarray(mean, dtype=np.float64), SMALLEST)
    k = np.asarray(counts, dtype=np.float64)
    found: NDArray[np.float64] = 2 * (_k_log_ratio(k, mu) - k + mu)
    return found


def nb_deviance(
    counts: NDArray[np.floating], mean: NDArray[np.floating], theta: NDArray[np.floating]
) -> NDArray[np.float64]:
    r"""Return :math:`2 (k \log(k / \mu) - (k + \theta) \log((k + \theta) / (\mu + \theta)))` for each entry.

    Parameters
    ----------
    counts, mean
        (n_cells, n_genes) counts, and what was expected of them.
    theta
        (n_genes,) inverse dispersion.
    """
    mu = np.maximum(np.asarray(mean, dtype=np.float64), SMALLEST)
    k = np.asarray(counts, dtype=np.float64)
    # log1p, as of a large theta the ratio is 1 but for its last digits.
    ratio = np.log1p((k - mu) / (mu + theta))
    found: NDArray[np.float64] = 2 * (_k_log_ratio(k, mu) - (k + theta) * ratio)
    return found


def _k_log_ratio(k: NDArray[np.float64], mu: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(k > 0, k * np.log(np.where(k > 0, k, 1.0) / mu), 0.0)


class _Sums:
    """Weighted sums over cells from which variances and correlations follow, by gene."""

    def __init__(self, n: int, shift: NDArray[np.float64]) -> None:
        # Sums of squares keep their digits where values are near 0: all are taken relative to a typical one.
        self.shift = shift
        self.n, self.x, self.y, self.xx, self.yy, self.xy = (np.zeros(n) for _ in range(6))

    def add(self, x: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.bool_]) -> None:
        x, y = np.where(w, x - self.shift, 0.0), np.where(w, y - self.shift, 0.0)
        self.n += w.sum(axis=0)
        self.x += x.sum(axis=0)
        self.y += y.sum(axis=0)
        self.xx += (x * x).sum(axis=0)
        self.yy += (y * y).sum(axis=0)
        self.xy += (x * y).sum(axis=0)

    def moments(self) -> tuple[NDArray[np.float64], ...]:
        """Return sums of squares about the mean: of the truth, of the prediction, of their product."""
        n = np.maximum(self.n, 1)
        return (
            np.maximum(self.xx - self.x**2 / n, 0),
            np.maximum(self.yy - self.y**2 / n, 0),
            self.xy - self.x * self.y / n,
        )

    def pearson(self) -> NDArray[np.float64]:
        vx, vy, both = self.moments()
        tiny = 1e-12 * np.maximum(self.n, 1)
        found = np.divide(both, np.sqrt(vx * vy), out=np.zeros_like(vx), where=(vx > tiny) & (vy > tiny))
        return np.where(vx > tiny, np.clip(found, -1, 1), np.nan)

    def error(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the sums of squares about the mean of the truth and of the errors."""
        vx, vy, both = self.moments()
        return vx, np.maximum(vx + vy - 2 * both, 0)

    def weighted_explained_variance(self) -> float:
        # By variances, not sums, as cells behind genes can differ in number. A gene that does not vary has no weight.
        n, varies = np.maximum(self.n, 1), ~np.isnan(self.pearson())
        truth, error = self.error()
        return float(1 - (error / n)[varies].sum() / (truth / n)[varies].sum()) if varies.any() else float("nan")


class ReconstructionTally:
    """Collects scores over chunks of cells, in memory that does not grow with their number.

    Parameters
    ----------
    n_genes
        Genes that are scored.
    theta
        (n_genes,) inverse dispersion for the deviance of a negative binomial; None for none.
    shift
        (n_genes,) about what the log values are, for the precision of the sums; 0 by default.

    Examples
    --------
    >>> truth, counts = np.eye(3), np.eye(3)
    >>> tally = ReconstructionTally(3)
    >>> tally.add(truth, truth, counts=counts, expected=counts)
    >>> tally.scores(min_cells=1).weighted_explained_variance
    1.0
    """

    def __init__(
        self, n_genes: int, *, theta: NDArray[np.floating] | None = None, shift: NDArray[np.floating] | None = None
    ) -> None:
        around = np.zeros(n_genes) if shift is None else np.asarray(shift, dtype=np.float64)
        self._theta = theta
        self._all, self._seen = _Sums(n_genes, around), _Sums(n_genes, around)
        self._squares = np.zeros(n_genes)
        self._deviance = np.zeros(2)
        self._cells: list[NDArray[np.float64]] = []

    def add(
        self,
        truth: NDArray[np.floating],
        predicted: NDArray[np.floating],
        *,
        counts: NDArray[np.floating],
        expected: NDArray[np.floating],
        scored: NDArray[np.bool_] | None = None,
    ) -> None:
        """Add some cells.

        Parameters
        ----------
        truth, predicted
            (n_cells, n_genes) held-out log values, and what was said of them.
        counts, expected
            (n_cells, n_genes) held-out counts, and what was said of them.
        scored
            (n_cells, n_genes) entries that were held out; all by default.

        Raises
        ------
        DataError
            If a prediction is missing or infinite.
        """
        shape = np.shape(truth)
        w = np.ones(shape, dtype=bool) if scored is None else scored
        for name, values in (("predicted", predicted), ("expected", expected)):
            if not np.isfinite(np.asarray(values)[w]).all():
                message = f"{name}: some values of entries to score are missing or infinite"
                raise DataError(message)
        x, y = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
        self._all.add(x, y, w)
        self._seen.add(x, y, w & (np.asarray(counts) > 0))
        self._squares += np.where(w, (y - x) ** 2, 0).sum(axis=0)
        mu = np.where(w, expected, 1.0)
        poisson = np.where(w, poisson_deviance(counts, mu), 0)
        nb = np.nan if self._theta is None else np.where(w, nb_deviance(counts, mu, self._theta), 0).sum()
        self._deviance += [poisson.sum(), nb]
        by_cell = _Sums(len(x), np.zeros(len(x)))
        by_cell.add(x.T, y.T, w.T)
        self._cells.append(np.stack([by_cell.pearson(), poisson.sum(axis=1) / np.maximum(w.sum(axis=1), 1)], axis=1))

    def scores(self, *, names: Sequence[str] | None = None, min_cells: int = 10) -> ReconstructionScores:
        """Return the scores of all cells added.

        Parameters
        ----------
        names
            (n_genes,) what the rows of the table are called.
        min_cells
            Cells with a held-out count that a gene needs to be among those that scores by gene are over.
        """
        every, seen = self._all, self._seen
        pearson, nonzero = every.pearson(), np.where(seen.n >= min_cells, seen.pearson(), np.nan)
        truth, error = every.error()
        explained = 1 - np.divide(error, truth, out=np.full_like(truth, np.nan), where=~np.isnan(pearson))
        n = np.maximum(every.n, 1)
        table = pd.DataFrame(
            {
                "mean": every.x / n + every.shift,
                "nonzero": seen.n.astype(np.int64),
                "explained_variance": explained,
                "pearson": pearson,
                "nonzero_pearson": nonzero,
                "rmse": np.sqrt(self._squares / n),
            },
            index=None if names is None else pd.Index(list(names)),
        )
        cells = pd.DataFrame(np.concatenate([np.empty((0, 2)), *self._cells]), columns=["pearson", "poisson_deviance"])
        enough = (seen.n >= min_cells) & ~np.isnan(pearson)
        n_entries = int(every.n.sum())
        poisson, nb = self._deviance / max(n_entries, 1)
        return ReconstructionScores(
            n_cells=len(cells),
            n_genes=int(enough.sum()),
            n_entries=n_entries,
            weighted_explained_variance=every.weighted_explained_variance(),
            gene_explained_variance=float(np.median(explained[enough])) if enough.any() else float("nan"),
            gene_pearson=_mean(pearson[enough]),
            cell_pearson=_mean(cells["pearson"].to_numpy()),
            nonzero_weighted_explained_variance=seen.weighted_explained_variance(),
            nonzero_gene_pearson=_mean(nonzero[enough]),
            poisson_deviance=float(poisson) if n_entries else float("nan"),
            nb_deviance=float(nb) if n_entries else float("nan"),
            per_gene=table,
            per_cell=cells,
        )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
