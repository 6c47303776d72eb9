"""Harmonising: the features of a file, however they are named, onto the genes of a panel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import scipy.sparse as sp

from scssl.errors import DataError, SettingsError
from scssl.genes.matching import VAR_NAMES, Guess, complete, gene_features, guess, guess_species, id_kind, looks_like
from scssl.genes.matching import text_columns as _text_columns
from scssl.genes.tables import AMBIGUOUS, SPECIES, UNKNOWN, gene_table

if TYPE_CHECKING:
    import pandas as pd

    from scssl.genes.panel import GenePanel
    from scssl.genes.tables import GeneTable

MIN_GENES: Final = 50
"""Panel genes that a file must have measured."""
MIN_KNOWN: Final = 0.5
"""Share of the features that must be known genes of the species."""
MIN_COUNTS: Final = 0.3
"""Share of the counts that must fall in the panel."""
WHOLE: Final = 10_000
"""A panel of fewer genes is a selection (variable genes, a targeted assay): it holds few of the counts by design."""
SMALL: Final = 0.5
"""A file that measures less than this share of the panel is warned about."""


@dataclass(kw_only=True)
class HarmoniseReport:
    """What became of the features of a file.

    ``found + dropped + ambiguous + unknown + not_genes == n_features``.
    """

    file: str
    panel: str
    n_panel: int
    """Genes of the panel."""
    species: str | None
    """Species that the names are of, None if the panel is of a species that scssl has no table for."""
    column: str
    """Where the names were taken from: ``"var_names"`` or a column of var."""
    id_kind: str
    """``"symbols"``, ``"Ensembl IDs"``, ``"versioned Ensembl IDs"``, or a mixture."""
    n_features: int
    found: int
    """Features that are panel genes."""
    measured: int
    """Panel genes that the file has."""
    missing: int
    """Panel genes that the file does not have."""
    duplicated: int
    """Features beyond the first for the same panel gene; their counts are summed."""
    dropped: int
    """Features that are known genes but not on the panel (such as non-coding ones)."""
    ambiguous: int
    """Features whose name stands for several genes; left out, not guessed."""
    unknown: int
    """Features whose name no gene of the species has, or ever had in the releases that scssl knows."""
    not_genes: int
    """Features of another kind (proteins, peaks) in the same matrix."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Up to five names of each of: dropped, ambiguous, unknown, duplicated."""
    share_of_counts: float | None = None
    """Share of the counts of all gene features that falls in the panel, once counts have been seen."""

    @property
    def small(self) -> bool:
        """True if the file measures so little of the panel that results should be read with care."""
        return self.measured < SMALL * self.n_panel

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __str__(self) -> str:
        text = (
            f"{self.measured:,} of {self.n_panel:,} panel genes ({self.measured / self.n_panel:.0%}) found by "
            f"{self.id_kind} in {self.column}; of {self.n_features:,} features {self.dropped:,} are not on the panel, "
            f"{self.unknown:,} unknown, {self.ambiguous:,} ambiguous, {self.duplicated:,} duplicates summed"
        )
        return text if self.share_of_counts is None else f"{text}; {self.share_of_counts:.0%} of the counts kept"


@dataclass(eq=False)
class GeneMap:
    """How the features of a file map to the genes of a panel; made by `harmonise`."""

    index: np.ndarray
    """(n_features,) int64, position in the panel, -1 where dropped."""
    measured: np.ndarray
    """(n_panel,) bool, panel genes that the file has."""
    report: HarmoniseReport
    genes: np.ndarray
    """(n_features,) bool, features that are genes at all (no proteins or peaks)."""
    _seen: np.ndarray = field(default_factory=lambda: np.zeros(2), repr=False)

    def apply(self, X: sp.csr_matrix) -> sp.csr_matrix:
        """Bring counts into panel order.

        Parameters
        ----------
        X
            (n_cells, n_features).

        Returns
        -------
        scipy.sparse.csr_matrix
            (n_cells, n_panel): features of the same gene summed, sorted unique indices, no explicit zeros; the type of
            `X` unless a sum does not fit it.
        """
        n_panel = len(self.measured)
        target = self.index[X.indices]
        kept = (target >= 0) & (X.data != 0)
        # Position of each row's end among the kept values.
        ends = np.concatenate([[0], np.cumsum(kept)])[X.indptr]
        narrow = X.dtype
        data = X.data[kept]
        if self.report.duplicated and narrow.kind in "iu" and narrow.itemsize < np.dtype(np.int64).itemsize:
            data = data.astype(np.int64)
        out = sp.csr_matrix((data, target[kept], ends), shape=(X.shape[0], n_panel))
        if not out.has_sorted_indices:
            out = out.tocsc().tocsr()  # sorts as it goes, in less time than sorting
        if self.report.duplicated:
            out.sum_duplicates()
            out.eliminate_zeros()
            if data.dtype != narrow and (out.nnz == 0 or out.data.max() <= np.iinfo(narrow).max):
                out = out.astype(narrow)
        out.has_canonical_format = True
        return out

    def check_counts_share(self, X: sp.csr_matrix) -> float:
        """Add the counts of some cells to `report.share_of_counts`, and refuse if too few of all seen are in the panel.

        Call it with every chunk: the first one already tells a file that cannot work.

        Parameters
        ----------
        X
            (n_cells, n_features) raw counts, as given to `apply`.

        Returns
        -------
        float
            The share among all cells seen so far (1.0 before the first count).

        Raises
        ------
        DataError
            If less than 30 % of the counts fall in a panel of all genes (at least 10,000 of them).
        """
        self._seen += self.count(X)
        return self.judge(self._seen)

    def count(self, X: sp.csr_matrix) -> np.ndarray:
        """(2,) float64: counts of some cells on the panel, and on all features that are genes.

        Parameters
        ----------
        X
            (n_cells, n_features) raw counts.
        """
        per_feature = np.bincount(X.indices, weights=X.data, minlength=X.shape[1])
        return np.array([per_feature[self.index >= 0].sum(), per_feature[self.genes].sum()])

    def judge(self, seen: np.ndarray) -> float:
        """Set `report.share_of_counts`, and refuse if too few counts are on the panel; see `check_counts_share`.

        Parameters
        ----------
        seen
            (2,) as `count` gives it, of any number of cells.
        """
        on_panel, on_genes = seen
        share = float(on_panel / on_genes) if on_genes > 0 else 1.0
        self.report.share_of_counts = share
        if share < MIN_COUNTS and len(self.measured) >= WHOLE:
            message = (
                f"{self.report.file}: only {share:.0%} of the counts fall on genes of the panel {self.report.panel!r} "
                f"(at least {MIN_COUNTS:.0%} are needed); use a panel made for these data: --genes union, or a file of "
                f"genes. Not on the panel are e.g. {_list(self.report.examples.get('dropped', []))}"
            )
            raise DataError(message)
        return share


def harmonise(var: pd.DataFrame, panel: GenePanel, *, column: str | None = None, file: str = "data") -> GeneMap:
    """Match the features of a file to the genes of a panel.

    Names may be Ensembl IDs (with or without version), current or previous symbols, or a mixture. They are matched as
    written first; only then, within the species so found, are case and the suffixes of made-unique names ignored.

    Parameters
    ----------
    var
        Features, in the order of the matrix; its index or one of its text columns holds the names.
    panel
        Genes to map to.
    column
        Where the names are: ``"var_names"`` or a column of var; found by itself when None.
    file
        What to call the data in messages.

    Returns
    -------
    GeneMap

    Raises
    ------
    DataError
        If the genes are of another species, fewer than half of the features are known genes, or fewer than 50 panel
        genes are measured; the message says what to do.
    """
    columns = _text_columns(var)
    if column is not None and column not in columns:
        message = f"{file}: var has no text column {column!r}; there is: {', '.join(columns)}"
        raise SettingsError(message)
    if len(var) == 0:
        message = f"{file}: holds no genes: the matrix has no columns"
        raise DataError(message)
    genes = gene_features(var)
    if not genes.any():
        kinds = ", ".join(
            sorted({str(value) for name in ("feature_types", "feature_type") if name in var for value in var[name]})
        )
        message = f"{file}: holds no genes, only features of type {kinds or 'unknown'}"
        raise DataError(message)
    inside = var if genes.all() else var[genes]
    if panel.species in SPECIES:
        found, rows, index = _match_species(inside, panel, column=column, file=file)
        species = panel.species
    else:
        found, rows, index = _match_names(inside, panel, column=column, file=file)
        species = None
    everywhere = np.full(len(var), UNKNOWN, dtype=np.int64)
    everywhere[genes] = index
    measured = np.zeros(len(panel), dtype=bool)
    measured[index[index >= 0]] = True
    report = _report(found, rows, index, panel=panel, file=file, n_features=len(var), species=species)
    if report.measured < min(MIN_GENES, len(panel)):
        message = (
            f"{file}: only {report.measured} of the {len(panel):,} genes of the panel {panel.name!r} are measured "
            f"(at least {MIN_GENES} are needed); the file's features are e.g. {_list(found.names[:5])}"
        )
        raise DataError(message)
    return GeneMap(index=everywhere, measured=measured, report=report, genes=genes)


def _match_species(
    var: pd.DataFrame, panel: GenePanel, *, column: str | None, file: str
) -> tuple[Guess, np.ndarray, np.ndarray]:
    """Match by the packaged table of the panel's species, then by ID to the panel."""
    species = panel.species
    assert species in SPECIES
    table = gene_table(species)
    guesses = guess_species(var, column=column)
    found, best = guesses[species], next(iter(guesses.values()))
    if best.n_known > found.n_known and best.n_known >= MIN_KNOWN * len(var):
        message = (
            f"{file}: these look like {best.species} genes (e.g. {_list(best.names[:3])}), but the panel "
            f"{panel.name!r} is {species}. To build a corpus or pre-train: --genes {best.species}; to check a file: "
            f"--panel {best.species}; to embed or annotate: a model of {best.species} cells"
        )
        raise DataError(message)
    rows, clones = complete(found, table)
    # Genes of a user's own panel need not be in the table.
    own = {name: i for name, i in panel.lookup.exact.items() if i >= 0}
    index = np.full(len(var), UNKNOWN, dtype=np.int64)
    known = rows >= 0
    index[known] = panel.index_of(table.ids[rows[known]])
    for i in np.flatnonzero(rows == UNKNOWN):
        index[i] = own.get(found.names[i], UNKNOWN)
    _match_retired(found, rows, index, panel=panel, table=table)
    recognised = (rows != UNKNOWN) | clones | (index >= 0)
    _refuse_unknown(found, recognised, n_needed=MIN_KNOWN * len(var), of=f"{species} genes", file=file)
    rows = np.where((rows == UNKNOWN) & clones, len(table.ids), rows)  # known to be no panel gene
    return found, rows, index


def _match_retired(found: Guess, rows: np.ndarray, index: np.ndarray, *, panel: GenePanel, table: GeneTable) -> None:
    """Match to the IDs of a panel that were retired since it was made: as they are, and by what they are called now."""
    current = set(table.ids)
    heirs: dict[int, int] = {}
    for position, gene in enumerate(panel.ids):
        if gene not in current:
            row = table.lookup.exact.get(gene, UNKNOWN)
            if row >= 0 and panel.index_of([table.ids[row]])[0] < 0:
                # Of two that became one gene, neither is what is measured now.
                heirs[row] = UNKNOWN if row in heirs else position
    places = {gene: position for position, gene in enumerate(panel.ids) if gene not in current}
    if places:
        for i, name in enumerate(found.names):
            if name in places:
                index[i] = places[name]
            elif index[i] < 0 and rows[i] >= 0:
                index[i] = heirs.get(int(rows[i]), UNKNOWN)


def _match_names(
    var: pd.DataFrame, panel: GenePanel, *, column: str | None, file: str
) -> tuple[Guess, np.ndarray, np.ndarray]:
    """Match by the panel's own names: the panel of a species that scssl has no table for."""
    found = guess(var, panel.name, panel.lookup, column=column)
    index = found.rows.copy()
    if found.n_known >= 0.1 * min(len(var), len(panel)):
        for i in np.flatnonzero(index == UNKNOWN):
            index[i] = panel.lookup.folded.get(found.names[i].upper(), UNKNOWN)
    rows = index.copy()
    index[index == AMBIGUOUS] = UNKNOWN
    # A short panel cannot know half of a whole transcriptome: then half of the panel must be there.
    needed = MIN_KNOWN * min(len(var), len(panel))
    _refuse_unknown(found, rows != UNKNOWN, n_needed=needed, of=f"genes of the panel {panel.name!r}", file=file)
    return found, rows, index


def _refuse_unknown(found: Guess, recognised: np.ndarray, *, n_needed: float, of: str, file: str) -> None:
    n = int(np.count_nonzero(recognised))
    if n >= n_needed and n > 0:
        return
    unknown = [found.names[i] for i in np.flatnonzero(~recognised)]
    hint = looks_like(unknown)
    what = f"they look like {hint}" if hint else f"unknown are e.g. {_list(unknown[:5])}"
    message = (
        f"{file}: only {n:,} of {len(recognised):,} features are known {of} ({what}). Gene names must be Ensembl IDs "
        "or symbols, in var_names or a column of var; for another species give a file of its genes as the panel"
    )
    raise DataError(message)


def _report(
    found: Guess,
    rows: np.ndarray,
    index: np.ndarray,
    *,
    panel: GenePanel,
    file: str,
    n_features: int,
    species: str | None,
) -> HarmoniseReport:
    kept = index >= 0
    ambiguous = (rows == AMBIGUOUS) & ~kept
    unknown = (rows == UNKNOWN) & ~kept
    groups = {"dropped": ~(kept | ambiguous | unknown), "ambiguous": ambiguous, "unknown": unknown}
    times = Counter(index[kept].tolist())
    n_measured = len(times)
    examples = {key: [found.names[i] for i in np.flatnonzero(mask)[:5]] for key, mask in groups.items() if mask.any()}
    twice = [gene for gene, n in times.items() if n > 1][:5]
    if twice:
        examples["duplicated"] = [panel.symbols[gene] or panel.ids[gene] for gene in twice]
    return HarmoniseReport(
        file=file,
        panel=panel.name,
        n_panel=len(panel),
        species=species,
        column=found.column if found.column == VAR_NAMES else f"var[{found.column!r}]",
        id_kind=id_kind([found.names[i] for i in np.flatnonzero(kept)] or found.names),
        n_features=n_features,
        found=int(kept.sum()),
        measured=n_measured,
        missing=len(panel) - n_measured,
        duplicated=int(kept.sum()) - n_measured,
        dropped=int(groups["dropped"].sum()),
        ambiguous=int(ambiguous.sum()),
        unknown=int(unknown.sum()),
        not_genes=n_features - len(index),
        examples=examples,
    )


def _list(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
