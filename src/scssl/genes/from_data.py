"""Panels made from data: the genes of all files, of every file, or the most variable ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, cast

import numpy as np
import pandas as pd

from scssl.errors import DataError, SettingsError
from scssl.genes.harmonise import MIN_GENES, MIN_KNOWN
from scssl.genes.matching import complete, gene_features, guess_species, text_columns
from scssl.genes.panel import GenePanel
from scssl.genes.tables import gene_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import scipy.sparse as sp

How = Literal["union", "intersection"]

N_BINS: Final = 20


def panel_of_files(features: Mapping[str, pd.DataFrame], *, how: How) -> GenePanel:
    """Make a panel of the genes that any file has (union), or every file (intersection).

    Human and mouse genes, coding or not, are recognised under any name and ordered by Ensembl ID; names that no gene
    of the species has are left out. For other species the names count as they are written, ordered alphabetically.

    Parameters
    ----------
    features
        File name -> its `var`.
    how
        ``"union"`` or ``"intersection"``.

    Raises
    ------
    DataError
        If the files are of different species, or share fewer than 50 genes.
    """
    if how not in ("union", "intersection"):
        message = f"a panel from files is their union or their intersection, not {how!r}"
        raise SettingsError(message)
    if not features:
        message = f"no files to take the {how} of genes from"
        raise DataError(message)
    per_file = {file: _genes(var[gene_features(var)]) for file, var in features.items()}
    species = {file: kind for file, (kind, _) in per_file.items()}
    if len(set(species.values())) > 1:
        listed = "; ".join(f"{file}: {kind or 'unknown'}" for file, kind in species.items())
        message = f"the files are of different species ({listed}): make one corpus per species"
        raise DataError(message)
    sets = [names for _, names in per_file.values()]
    genes = sorted(set().union(*sets) if how == "union" else sets[0].intersection(*sets))
    if len(genes) < MIN_GENES:
        message = f"the {how} of the genes of {len(features)} files has {len(genes)} genes; at least {MIN_GENES} needed"
        raise DataError(message)
    kind = next(iter(species.values()))
    if kind is None:
        return GenePanel(ids=np.array(genes, dtype=object), symbols=np.full(len(genes), "", dtype=object), name=how)
    return GenePanel.of_species(genes, species=kind, name=how)


def _genes(var: pd.DataFrame) -> tuple[Literal["human", "mouse"] | None, set[str]]:
    """Return the species (None if neither human nor mouse) and the IDs, or names, of a file's genes."""
    best = next(iter(guess_species(var).values()))
    table = gene_table(best.species)
    rows, clones = complete(best, table)
    if np.count_nonzero((rows != -1) | clones) < MIN_KNOWN * len(var):
        return None, set(next(iter(text_columns(var).values())))
    return table.species, set(table.ids[rows[rows >= 0]])


class VariableGenes:
    """Finds the most variable genes of cells that pass by once, in blocks.

    Dispersion (variance over mean) of counts per 10,000, in logs, standardised within 20 bins of genes of similar mean:
    the method of Satija et al. 2015 (doi 10.1038/nbt.3192), as scanpy's ``flavor="seurat"`` computes it. Each source is
    scored apart, so that differences between sources do not count; a gene's score is the mean over all sources, 0
    (average) where it was not measured.

    Parameters
    ----------
    panel
        Genes to choose from.
    """

    def __init__(self, panel: GenePanel) -> None:
        self._panel = panel
        self._sums: dict[str, np.ndarray] = {}
        self._cells: dict[str, int] = {}

    def add(self, X: sp.csr_matrix, *, source: str = "") -> None:
        """Take in the counts of some cells.

        Parameters
        ----------
        X
            (n_cells, n_genes) raw counts in panel order.
        source
            Source of the cells: variability is judged within each.
        """
        totals = np.asarray(X.sum(axis=1), dtype=np.float64).ravel()
        scale = np.divide(1e4, totals, out=np.zeros_like(totals), where=totals > 0)
        values = X.data * np.repeat(scale, np.diff(X.indptr))
        sums = self._sums.setdefault(source, np.zeros((2, len(self._panel))))
        sums[0] += np.bincount(X.indices, weights=values, minlength=len(self._panel))
        sums[1] += np.bincount(X.indices, weights=values**2, minlength=len(self._panel))
        self._cells[source] = self._cells.get(source, 0) + int(np.count_nonzero(totals))

    def scores(self) -> np.ndarray:
        """(n_genes,) standardised dispersion, mean over sources; the higher, the more variable."""
        scored = [
            standardised_dispersion(*self._moments(source)) for source, n_cells in self._cells.items() if n_cells > 1
        ]
        if not scored:
            message = "the most variable genes cannot be found: there are no two cells with counts in any source"
            raise DataError(message)
        return cast("np.ndarray", np.mean(scored, axis=0))

    def _moments(self, source: str) -> tuple[np.ndarray, np.ndarray]:
        n = self._cells[source]
        mean, square = self._sums[source] / n
        return mean, np.maximum(square - mean**2, 0) * n / (n - 1)

    def top(self, n: int) -> GenePanel:
        """Return the panel of the `n` most variable genes, in panel order.

        Parameters
        ----------
        n
            Number of genes.

        Raises
        ------
        DataError
            If hardly any gene is expressed.
        SettingsError
            If fewer than `n` genes are expressed.
        """
        expressed = np.sum([sums[0] for sums in self._sums.values()], axis=0) > 0
        found = int(expressed.sum())
        if found < MIN_GENES:
            message = f"hvg:{n}: only {found:,} genes have counts in these files; at least {MIN_GENES} are needed"
            raise DataError(message)
        if not MIN_GENES <= n <= found:
            message = f"hvg:{n}: give a number from {MIN_GENES} to {found:,}, the genes that are expressed"
            raise SettingsError(message)
        scores = np.where(expressed, self.scores(), -np.inf)
        # Stable, so that ties go to the gene that comes first in the panel.
        chosen = np.sort(np.argsort(-scores, kind="stable")[:n])
        return self._panel.subset(chosen, name=f"hvg:{n}")


def standardised_dispersion(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return log dispersions as z-scores within bins of log1p mean.

    Parameters
    ----------
    mean, variance
        (n_genes,) of counts per 10,000.

    Returns
    -------
    (n_genes,) float64
        0 for genes without counts. A gene alone in its bin scores 1: nothing is there to compare it with.
    """
    used = (mean > 0) & (variance > 0)
    scores = np.zeros(len(mean))
    if not used.any():
        return scores
    # Genes without counts take part in laying out the bins, as in scanpy.
    level = (
        pd.cut(pd.Series(np.log1p(mean)), N_BINS, labels=False) if np.ptp(mean) > 0 else pd.Series(np.zeros(len(mean)))
    )
    dispersion = pd.Series(np.log(variance[used] / mean[used]))
    groups = dispersion.groupby(level[used].to_numpy())
    centre, spread = groups.transform("mean"), groups.transform("std")
    alone = spread.isna().to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        score = ((dispersion - centre) / spread).to_numpy()
    score[alone] = 1.0
    scores[used] = np.nan_to_num(score, nan=0.0, posinf=0.0, neginf=0.0)
    return scores
