"""Gene programmes learned from the cells themselves: modules of genes that are expressed together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.errors import DataError, require
from scssl.genes.clustering import cluster, settle
from scssl.genes.coexpression import N_CELLS, CellSample, above_chance, correlate, moments
from scssl.genes.from_data import VariableGenes
from scssl.genes.programmes import Programmes
from scssl.log import logger

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.genes.coexpression import CellStore, Moments
    from scssl.genes.panel import GenePanel

N_MODULES: Final = 30
N_GENES: Final = 4000
MIN_CORRELATION: Final = 0.1
"""Least correlation of a gene with the rest of its module."""
MIN_EXPRESSED: Final = 0.01
"""Least share of the cells that must express a gene."""
MIN_EXPRESSING: Final = 20
"""Fewest cells that must express it."""
MIN_ELIGIBLE: Final = 0.1
"""Least share of the cells that must come from sources that measured a gene: correlations over fewer are noise."""
AT_A_TIME: Final = 4096
"""Further genes whose correlations are in memory together."""
HALF: Final = 0.5
"""In overlapping modules: least share of its best correlation that a gene must have with a further module."""


def learn_modules(
    corpus: CellStore,
    *,
    n_modules: int = N_MODULES,
    min_genes: int = 10,
    max_genes: int | None = None,
    overlapping: bool = False,
    n_genes: int = N_GENES,
    min_correlation: float = MIN_CORRELATION,
    n_cells: int = N_CELLS,
    seed: int = 0,
) -> Programmes:
    """Learn modules of genes that are expressed together, from a sample of the training cells.

    The most variable genes are clustered (Ward's method) by the leading eigenvectors of their correlations within
    sources. Then each gene goes to the module whose other genes, taken together, it is most correlated with, as in
    the module membership of WGCNA (Langfelder and Horvath 2008, doi 10.1186/1471-2105-9-559), and the other expressed
    genes join likewise. No step but the sampling of cells is random.

    Parameters
    ----------
    corpus
        Corpus with training cells, of any species.
    n_modules
        Modules to look for. Fewer are returned where some hold too few genes.
    min_genes, max_genes
        Genes in a module; of larger ones the most central genes are kept.
    overlapping
        Whether a gene may be in several modules: in each that it has at least half as much correlation with as with
        its own.
    n_genes
        Most variable genes, of which modules are made. The memory needed grows with its square (4,000: about 0.6 GB).
    min_correlation
        Least correlation of a gene with the rest of its module; other genes are in none. Below 1,600 cells (at 0.1)
        more is asked for: four standard errors, 4 / sqrt(cells).
    n_cells
        Cells to look at; all training cells where there are no more.
    seed
        Seed of the sample of cells.

    Returns
    -------
    Programmes
        The largest module first, named after its three most central genes.

    Raises
    ------
    DataError
        If there are too few cells, or no genes are expressed together.
    SettingsError
        If a setting is not possible.
    """
    require("n_modules", n_modules, holds=n_modules >= 1, must="at least 1")
    require("min_correlation", min_correlation, holds=0 < min_correlation < 1, must="between 0 and 1")
    sample = CellSample.draw(corpus, n_cells=n_cells, seed=seed)
    least = above_chance(min_correlation, n_cells=sample.n_cells)
    known = moments(sample)
    genes = variable_genes(sample, known=known, n_genes=n_genes)
    if len(genes) < 2 * min_genes:
        message = (
            f"only {len(genes):,} genes are expressed by {MIN_EXPRESSED:.0%} of the {sample.n_cells:,} training cells "
            f"looked at: too few for modules of {min_genes} genes"
        )
        raise DataError(message)
    correlation = correlate(sample, rows=genes, columns=genes, known=known)
    labels = cluster(correlation, n_modules=min(n_modules, len(genes) // min_genes))
    central, labels = settle(correlation, labels, min_genes=min_genes, min_correlation=least)
    if central.shape[1] == 0:
        message = (
            f"no {min_genes} genes are expressed together in the {sample.n_cells:,} training cells looked at (least "
            f"correlation {least:.2f}); use fewer or smaller modules, or a file of gene sets"
        )
        raise DataError(message)
    if central.shape[1] < n_modules:
        logger.info("%d of %d modules have at least %d genes", central.shape[1], n_modules, min_genes)
    genes, central, labels = join_others(
        sample,
        known=known,
        genes=genes,
        correlation=correlation,
        central=central,
        labels=labels,
        min_correlation=least,
    )
    inside = _inside(central, labels, overlapping=overlapping, min_correlation=least)
    origin = f"learned from {sample.n_cells:,} cells of {np.count_nonzero(known.n_cells)} sources, seed {seed}"
    return _programmes(corpus.panel, genes, central, inside, max_genes=max_genes, origin=origin)


def expressed_genes(known: Moments) -> NDArray[np.bool_]:
    """(n_genes,) genes that enough cells express, and enough cells could have shown, to say what they go with.

    Parameters
    ----------
    known
        Moments of a sample of cells.
    """
    enough = (known.share_expressed >= MIN_EXPRESSED) & (known.expressed >= MIN_EXPRESSING)
    eligible = known.eligible >= MIN_ELIGIBLE * known.n_cells.sum()
    return np.asarray(enough & eligible & np.any(known.scatter > 0, axis=0))


def variable_genes(sample: CellSample, *, known: Moments, n_genes: int) -> NDArray[np.int64]:
    """Return the positions of the most variable genes among those expressed, in panel order.

    Parameters
    ----------
    sample
        Cells; gone through once.
    known
        Their moments.
    n_genes
        How many; all of them where there are no more.
    """
    variable = VariableGenes(sample.store.panel)
    for X, source in sample:
        counts = X.astype(np.float64)
        counts.data = np.expm1(counts.data)
        for code in np.unique(source):
            variable.add(counts[source == code], source=str(code))
    usable = expressed_genes(known)
    order = np.argsort(np.where(usable, -variable.scores(), np.inf), kind="stable")
    return np.sort(order[: min(n_genes, int(usable.sum()))])


def join_others(
    sample: CellSample,
    *,
    known: Moments,
    genes: NDArray[np.int64],
    correlation: NDArray[np.float64],
    central: NDArray[np.float64],
    labels: NDArray[np.int64],
    min_correlation: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Let the other expressed genes join the modules that they are most correlated with, which stay what they are.

    Parameters
    ----------
    sample, known
        Cells and their moments.
    genes
        (n_genes,) positions of the genes that were clustered.
    correlation, central, labels
        Their correlations, and what `settle` made of them.
    min_correlation
        Least correlation of a gene with its module.

    Returns
    -------
    genes, central, labels
        The same with a row for every other expressed gene.
    """
    others = np.setdiff1d(np.flatnonzero(expressed_genes(known)), genes)
    core = np.flatnonzero(labels >= 0)
    member = (labels[core, None] == np.arange(central.shape[1])).astype(np.float64)
    scale = np.sqrt((member * (correlation[np.ix_(core, core)] @ member)).sum(axis=0))
    for start in range(0, len(others), AT_A_TIME):
        rows = others[start : start + AT_A_TIME]
        joined = correlate(sample, rows=rows, columns=genes[core], known=known) @ member / scale
        best = np.where(joined.max(axis=1) >= min_correlation, joined.argmax(axis=1), -1)
        central, labels = np.concatenate([central, joined]), np.concatenate([labels, best])
    return np.concatenate([genes, others]), central, labels


def _inside(
    central: NDArray[np.float64], labels: NDArray[np.int64], *, overlapping: bool, min_correlation: float
) -> NDArray[np.bool_]:
    """(n_genes, n_modules) which genes are in which modules."""
    own: NDArray[np.bool_] = labels[:, None] == np.arange(central.shape[1])
    if not overlapping:
        return own
    best = central.max(axis=1, keepdims=True)
    further = central >= np.maximum(min_correlation, HALF * best)
    return np.asarray(own | ((labels >= 0)[:, None] & further))


def _programmes(
    panel: GenePanel,
    genes: NDArray[np.int64],
    central: NDArray[np.float64],
    inside: NDArray[np.bool_],
    *,
    max_genes: int | None,
    origin: str,
) -> Programmes:
    members, names, descriptions = [], [], []
    for number, module in enumerate(np.argsort(-inside.sum(axis=0), kind="stable"), start=1):
        rows = np.flatnonzero(inside[:, module])
        rows = rows[np.argsort(-central[rows, module], kind="stable")][:max_genes]
        row = np.zeros(len(panel), dtype=bool)
        row[genes[rows]] = True
        members.append(row)
        symbols = [panel.symbols[gene] or panel.ids[gene] for gene in genes[rows[:10]]]
        names.append(f"module {number}: {', '.join(symbols[:3])}")
        descriptions.append(f"{origin}; most central: {', '.join(symbols)}")
    return Programmes(
        names=names,
        members=np.array(members),
        regulators=np.zeros((len(names), len(panel)), dtype=bool),
        descriptions=descriptions,
        listed=np.sum(members, axis=1, dtype=np.int64),
        panel=panel,
    )
