"""The target: labelled cells with donors that every method is judged on, on genes that all methods get."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.corpus.sources.inspect import check_counts
from scssl.corpus.sources.source import open_source
from scssl.corpus.summary import is_known
from scssl.errors import DataError
from scssl.genes import harmonise
from scssl.tasks.annotate.labels import UNLABELLED, encode, read_labels
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.corpus import Corpus
    from scssl.genes import GenePanel

MIN_GENES = 50
"""Genes that target and corpus must both have measured."""
FEW_GENES = 0.25
"""Share of the corpus's genes below which it is said that the target has few of them."""
LEAST_CELLS = 2
"""Cells of a type: one to learn from and one to predict."""


@dataclass(kw_only=True, eq=False)
class Target:
    """Labelled cells of the target; every array is over them, in the order of the file."""

    file: str
    counts: sp.csr_matrix
    """(n_cells, n_panel) raw counts; 0 outside `genes`."""
    panel: GenePanel
    genes: NDArray[np.bool_]
    """(n_panel,) genes that the target and some source of the corpus measured; no method gets others."""
    codes: NDArray[np.int64]
    """(n_cells,) labels."""
    classes: list[str]
    donors: NDArray[np.int64]
    """(n_cells,) codes."""
    donor_names: list[str]
    sources: NDArray[np.int64] | None
    """(n_cells,) codes of the data sets within the target; None if it is one."""
    source_names: list[str]
    rows: NDArray[np.int64]
    """(n_cells,) where the cells are in the file."""
    notes: list[str] = field(default_factory=list)
    """What was left out or replaced, and why."""

    @property
    def n_cells(self) -> int:
        """Labelled cells."""
        return len(self.codes)

    def anndata(self, rows: NDArray[np.integer]) -> AnnData:
        """Return some cells as AnnData, ``obs``: ``label``, ``donor``; genes are those that all methods get.

        Parameters
        ----------
        rows
            Which cells.
        """
        from anndata import AnnData

        genes = np.flatnonzero(self.genes)
        obs = pd.DataFrame(
            {
                "label": np.asarray(self.classes, dtype=object)[self.codes[rows]],
                "donor": np.asarray(self.donor_names, dtype=object)[self.donors[rows]],
            },
            index=pd.Index([f"cell{row}" for row in rows], dtype=object),
        )
        var = pd.DataFrame(index=pd.Index(self.panel.ids[genes].astype(object)))
        return AnnData(X=self.counts[rows][:, genes], obs=obs, var=var)


def read_target(
    data: AnnData | Path | str,
    corpus: Corpus,
    *,
    labels: str,
    donor: str,
    source: str | None = None,
    layer: str | None = None,
    unlabelled: Collection[str] = UNLABELLED,
) -> Target:
    """Read the target onto the genes of a corpus, and leave out what cannot be judged.

    Parameters
    ----------
    data
        AnnData or file with raw counts.
    corpus
        Corpus whose genes are used.
    labels, donor
        Columns of ``obs``.
    source
        Column of ``obs`` that names the data sets within the target.
    layer
        Where the counts are.
    unlabelled
        Names that mean "not known".

    Raises
    ------
    DataError
        If a column is missing, nothing is labelled, there is one type, or too few genes are shared.
    """
    with open_source(data, layer=layer) as opened:
        obs, file = opened.obs, opened.file
        names = read_labels(obs, labels, file=file, unlabelled=unlabelled)
        people = _column(obs, donor, option="--donor", file=file)
        groups = None if source is None else _column(obs, source, option="--source", file=file)
        mapped = harmonise(opened.var, corpus.panel, file=file)
        genes = mapped.measured & corpus.measured.any(axis=0)
        if genes.sum() < min(MIN_GENES, len(corpus.panel)):
            message = (
                f"{file}: shares only {genes.sum()} measured genes with the corpus (at least {MIN_GENES} are needed); "
                "choose a corpus of the same species whose sources measured these genes"
            )
            raise DataError(message)
        parts = []
        for rows, chunk in opened.chunks():
            check_counts(chunk, file=file, layer=layer, first_row=rows.start)
            mapped.check_counts_share(chunk)
            parts.append(mapped.apply(chunk))
    counts = sp.vstack(parts, format="csr")
    if not np.array_equal(genes, mapped.measured):
        counts = _only(counts, genes)
    kept, notes = _usable(names, people, counts, donor=donor, file=file)
    n_corpus = int(corpus.measured.any(axis=0).sum())
    if genes.sum() < FEW_GENES * n_corpus:
        notes.append(
            f"Only {genes.sum():,} of the corpus's {n_corpus:,} genes were measured in the target: the answer holds "
            "for these. A corpus on the target's own genes may give another."
        )
    codes, classes = encode(names[kept])
    donor_names, donors = np.unique(people[kept].astype(str), return_inverse=True)
    if len(donor_names) < 2:
        notes.append(
            f"There is one donor ({donor_names[0]}), so folds and intervals are over cells: how well methods "
            "do on another donor is not known."
        )
    source_names, sources = np.empty(0, dtype=str), None
    if groups is not None:
        source_names, sources = np.unique(groups[kept].fillna("(none)").astype(str), return_inverse=True)
        if len(source_names) < 2:
            notes.append(f"obs[{source!r}] names one data set, so none can be left out.")
            sources = None
    per_donor = [len(np.unique(codes[donors == i])) for i in range(len(donor_names))]
    poor = [str(name) for name, n in zip(donor_names, per_donor, strict=True) if n == 1]
    if poor and len(donor_names) > 1:
        notes.append(f"{_some(poor, 'donor')} with cells of a single type.")
    one = [name for i, name in enumerate(classes) if len(np.unique(donors[codes == i])) == 1]
    if one and len(donor_names) > 1:
        notes.append(
            f"{_some(one, 'type')} that one donor has: not scored when that donor is tested, as no other shows them."
        )
    return Target(
        file=file,
        counts=counts[kept],
        panel=corpus.panel,
        genes=genes,
        codes=codes,
        classes=classes,
        donors=donors.astype(np.int64),
        donor_names=donor_names.tolist(),
        sources=None if sources is None else sources.astype(np.int64),
        source_names=source_names.tolist(),
        rows=np.flatnonzero(kept),
        notes=notes,
    )


def _usable(
    names: pd.Series, people: pd.Series, counts: sp.csr_matrix, *, donor: str, file: str
) -> tuple[NDArray[np.bool_], list[str]]:
    """Choose cells with a label, a donor and counts, whose type has another cell; say what is left out."""
    notes = []
    kept = names.notna().to_numpy()
    if not kept.all():
        notes.append(f"Left out: {count(int((~kept).sum()), 'cell')} without a label.")
    known = np.array([value is not None and is_known(str(value)) for value in people])
    if not (kept & known).any():
        message = f"{file}: obs[{donor!r}] names no donor of a labelled cell; choose another column for --donor"
        raise DataError(message)
    if (kept & ~known).any():
        notes.append(f"Left out: {count(int((kept & ~known).sum()), 'cell')} without a donor.")
    empty = np.asarray(counts.sum(axis=1)).ravel() == 0
    if (kept & known & empty).any():
        n_empty = int((kept & known & empty).sum())
        notes.append(f"Left out: {count(n_empty, 'cell')} without any count on the genes used.")
    kept = kept & known & ~empty
    n = names[kept].value_counts()
    rare = sorted(n.index[n < LEAST_CELLS])
    if rare:
        notes.append(f"{_some(rare, 'type')} with a single cell left out: there is nothing to both learn and predict.")
        kept &= ~names.isin(rare).to_numpy()
    if names[kept].nunique() < 2:
        message = (
            f"{file}: fewer than two labels have {LEAST_CELLS} or more cells with a donor and counts; nothing to tell "
            "apart"
        )
        raise DataError(message)
    return kept, notes


def _column(obs: pd.DataFrame, column: str, *, option: str, file: str) -> pd.Series:
    if column not in obs.columns:
        there = ", ".join(map(str, obs.columns)) or "none"
        message = f"{file}: obs has no column {column!r} for {option}; there are: {there}"
        raise DataError(message)
    values = obs[column].astype(object)
    return values.where(values.notna(), None)


def _only(counts: sp.csr_matrix, genes: NDArray[np.bool_]) -> sp.csr_matrix:
    """Set the counts of all other genes to zero."""
    kept = genes[counts.indices]
    ends = np.concatenate([[0], np.cumsum(kept)])[counts.indptr]
    return sp.csr_matrix((counts.data[kept], counts.indices[kept], ends), shape=counts.shape)


def _some(names: list[str], thing: str) -> str:
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {thing}{'' if len(names) == 1 else 's'} ({listed})"
