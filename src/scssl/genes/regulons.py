"""Targets of transcription factors learned from the cells: the genes most correlated with each factor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.errors import DataError, require
from scssl.genes.coexpression import N_CELLS, CellSample, above_chance, correlate, moments
from scssl.genes.gmt import unique_names
from scssl.genes.mapping import match_names
from scssl.genes.modules import MIN_EXPRESSED, expressed_genes
from scssl.genes.programmes import Programmes
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scssl.genes.coexpression import CellStore

N_TARGETS: Final = 100
MIN_CORRELATION: Final = 0.1
"""Least correlation of a target with its factor; chance alone gives about 0.01 over 20,000 cells."""
AT_A_TIME: Final = 512
"""Factors whose correlations are in memory together."""


def learn_regulons(
    corpus: CellStore,
    *,
    factors: Sequence[str],
    n_targets: int = N_TARGETS,
    min_correlation: float = MIN_CORRELATION,
    min_genes: int = 10,
    n_cells: int = N_CELLS,
    seed: int = 0,
    file: str = "the list of transcription factors",
) -> Programmes:
    """Learn the targets of transcription factors: genes that go up with the factor, from a sample of training cells.

    Co-expression is no proof of regulation, and repressed genes are not found this way. For known targets, give a
    table of them instead.

    Parameters
    ----------
    corpus
        Corpus with training cells, of any species.
    factors
        Names of the transcription factors.
    n_targets
        Most targets of a factor: those most correlated with it.
    min_correlation
        Least correlation (log1p CP10k, within sources) of a target with its factor. Below 1,600 cells (at 0.1) more is
        asked for: four standard errors, 4 / sqrt(cells).
    min_genes
        Factors with fewer targets are left out.
    n_cells
        Cells to look at; all training cells where there are no more.
    seed
        Seed of the sample of cells.
    file
        What to call the list in messages.

    Returns
    -------
    Programmes
        One per factor, which is its regulator and no member of it, in panel order.

    Raises
    ------
    DataError
        If the names are no genes of the panel, there are too few cells, or no factor has enough targets.
    SettingsError
        If a setting is not possible.
    """
    require("n_targets", n_targets, holds=n_targets >= min_genes, must=f"at least min_genes ({min_genes})")
    require("min_correlation", min_correlation, holds=0 < min_correlation < 1, must="between 0 and 1")
    panel = corpus.panel
    match = match_names(factors, panel, file=file)
    listed = np.unique(list(match.position.values()))
    listed = listed[listed >= 0]
    sample = CellSample.draw(corpus, n_cells=n_cells, seed=seed)
    least = above_chance(min_correlation, n_cells=sample.n_cells)
    known = moments(sample)
    expressed = expressed_genes(known)
    columns = np.flatnonzero(expressed)
    rows = listed[expressed[listed]]
    logger.info(
        "%s: %d of %d factors are on the panel, %d of them expressed by %.0f%% of the cells",
        *(file, len(listed), len(match.position), len(rows), 100 * MIN_EXPRESSED),
    )
    factor, members = [], []
    for start in range(0, len(rows), AT_A_TIME):
        part = rows[start : start + AT_A_TIME]
        correlation = correlate(sample, rows=part, columns=columns, known=known)
        for gene, values in zip(part, correlation, strict=True):
            targets = _best(np.where(columns == gene, 0, values), n_targets, least)
            if len(targets) >= min_genes:
                factor.append(int(gene))
                row = np.zeros(len(panel), dtype=bool)
                row[columns[targets]] = True
                members.append(row)
    if not factor:
        message = (
            f"{file}: none of {len(rows):,} expressed factors has {min_genes} genes that correlate with it by "
            f"{least:.2f} in {sample.n_cells:,} training cells; lower the threshold, or give a table of targets"
        )
        raise DataError(message)
    regulators = np.zeros((len(factor), len(panel)), dtype=bool)
    regulators[np.arange(len(factor)), factor] = True
    origin = (
        f"genes correlated with it by at least {least:.2f} in {sample.n_cells:,} cells of "
        f"{np.count_nonzero(known.n_cells)} sources, seed {seed}"
    )
    return Programmes(
        names=unique_names(panel.symbols[gene] or panel.ids[gene] for gene in factor),
        members=np.array(members),
        regulators=regulators,
        descriptions=[origin] * len(factor),
        listed=np.sum(members, axis=1, dtype=np.int64),
        panel=panel,
    )


def _best(values: NDArray[np.float64], n: int, least: float) -> NDArray[np.int64]:
    """Return the positions of the `n` largest values of at least `least`; ties go to the first."""
    order = np.argsort(-values, kind="stable")[:n]
    return order[values[order] >= least]
