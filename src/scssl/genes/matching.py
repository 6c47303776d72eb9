"""Gene names of a file -> genes of a species: which column holds them, and what each one means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from scssl.genes.tables import (
    AMBIGUOUS,
    SPECIES,
    UNKNOWN,
    GeneTable,
    NameLookup,
    gene_table,
    is_clone_name,
    is_ensembl,
    strip_version,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

VAR_NAMES: Final = "var_names"
"""How reports call the index of `var`."""

CLEARLY: Final = 0.05
"""A column other than var_names is taken if it knows this much more of the features (as a share of all)."""

SETTLED: Final = 0.1
"""Share of features that must match exactly before case is ignored: zebrafish genes are lower-case human ones."""

_UNIQUE_SUFFIX: Final = re.compile(r"(.+)[-.]\d+")
_GENOME_PREFIX: Final = {
    "human": re.compile(r"(?:GRCh3[78]|hg19|hg38|human)_+(.+)", flags=re.IGNORECASE),
    "mouse": re.compile(r"(?:GRCm3[89]|mm10|mm39|mouse)_+(.+)", flags=re.IGNORECASE),
}
_COMPOSITE: Final = re.compile(r"(.+)[_|](ENS[A-Z]{0,6}G\d{11})(?:\.\d+)?")
_COUNTER_ROWS: Final = re.compile(
    r"(?:__)?(?:no_feature|ambiguous|too_low_aQual|not_aligned|alignment_not_unique)|N_(?:unmapped|multimapping|noFeature|ambiguous)"
)
"""Rows that HTSeq and STAR append to their tables: reads of no gene."""
_TYPES: Final = ("feature_types", "feature_type", "modality")
"""Columns of ``var`` that say what a feature is."""
_GENE_EXPRESSION: Final = {"gene expression", "gex", "rna", "gene_expression"}


def gene_features(var: pd.DataFrame) -> np.ndarray:
    """Say which features are genes, bool.

    All are, but for those that a column of 10x feature types calls something else, and what read counters append.
    """
    names = np.array([_COUNTER_ROWS.fullmatch(str(name)) is None for name in var.index], dtype=bool)
    for name in _TYPES:
        if name in var.columns:
            genes = var[name].astype(str).str.lower().isin(_GENE_EXPRESSION).to_numpy()
            # Other files use such a column for biotypes and the like; without "Gene Expression" it says nothing, but
            # a file of 10x proteins only does say so.
            if genes.any() or var[name].astype(str).isin(["Antibody Capture", "Peaks"]).all():
                return cast("np.ndarray", genes & names)
    return names


def other_features(var: pd.DataFrame) -> np.ndarray:
    """Return what the features are that are no genes, (n_features,) texts; "" for genes, and where nothing says so."""
    column = next((name for name in _TYPES if name in var.columns), None)
    if column is None:
        return np.full(len(var), "", dtype=object)
    return np.where(gene_features(var), "", var[column].astype(str).to_numpy(dtype=object))


def text_columns(var: pd.DataFrame) -> dict[str, list[str]]:
    """Return var_names and every text column of `var` as lists of names."""
    columns = {VAR_NAMES: [str(name) for name in var.index]}
    for name in var.columns:
        kind = var[name].dtype
        categories = getattr(kind, "categories", None)
        if "O" in (kind.kind, getattr(getattr(categories, "dtype", None), "kind", "")) or str(kind).startswith("str"):
            columns[str(name)] = [str(value) for value in var[name]]
    return columns


def exact_rows(names: Sequence[str], lookup: NameLookup) -> np.ndarray:
    """Find names as they are written (Ensembl versions aside): gene numbers, `AMBIGUOUS` or `UNKNOWN`."""
    find = lookup.exact.get
    rows = np.array([find(name, find(strip_version(name), UNKNOWN)) for name in names], dtype=np.int64)
    for i in np.flatnonzero(rows == UNKNOWN).tolist():
        both = _COMPOSITE.fullmatch(names[i])  # "TKT_ENSG00000163931", as some R packages write
        if both:
            rows[i] = find(both[2], find(both[1], UNKNOWN))
    return rows


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Where the genes of a species are named best in a file, by exact matches alone."""

    species: str
    column: str
    names: list[str]
    rows: np.ndarray
    """(n_features,) gene numbers in the species' table, `AMBIGUOUS` or `UNKNOWN`."""
    by_id: np.ndarray
    """(n_features,) the same by Ensembl IDs of another column, if there is one: they settle what names leave open."""

    @property
    def n_known(self) -> int:
        """Features that match exactly."""
        return int(np.count_nonzero(self.rows != UNKNOWN))


def guess(var: pd.DataFrame, species: str, lookup: NameLookup, *, column: str | None = None) -> Guess:
    """Find the column of `var` that names most genes of a species; var_names unless another is clearly better."""
    columns = text_columns(var)
    if column is not None:
        columns = {column: columns[column]}
    rows = {name: exact_rows(names, lookup) for name, names in columns.items()}
    known = {name: int(np.count_nonzero(found != UNKNOWN)) for name, found in rows.items()}
    first, best = next(iter(rows)), max(known, key=lambda name: known[name])
    chosen = best if known[best] > known[first] + CLEARLY * len(var) else first
    ids = [name for name, names in columns.items() if name != chosen and id_kind(names) != "symbols" and known[name]]
    by_id = rows[ids[0]] if ids else np.full(len(var), UNKNOWN, dtype=np.int64)
    return Guess(species=species, column=chosen, names=columns[chosen], rows=rows[chosen], by_id=by_id)


def guess_species(var: pd.DataFrame, *, column: str | None = None) -> dict[str, Guess]:
    """Make the guess for every species that has a packaged table, the most likely one first."""
    guesses = [guess(var, name, gene_table(name).lookup, column=column) for name in SPECIES]
    return {one.species: one for one in sorted(guesses, key=lambda one: -one.n_known)}


def complete(found: Guess, table: GeneTable) -> tuple[np.ndarray, np.ndarray]:
    """Match what exact matching left over, within a species: genome prefixes, suffixes of made-unique names, then case.

    Returns
    -------
    rows : (n_features,) int64
        Gene numbers in the table, `AMBIGUOUS` or `UNKNOWN`.
    clones : (n_features,) bool
        Unknown, but named the way annotations name unnamed genes of this species.
    """
    rows = np.where((found.rows < 0) & (found.by_id >= 0), found.by_id, found.rows)
    species = table.species
    left = np.flatnonzero(rows == UNKNOWN)
    fold = found.n_known >= SETTLED * len(rows)
    clones = np.zeros(len(rows), dtype=bool)
    for i in left:
        name = found.names[i]
        prefixed = _GENOME_PREFIX[species].fullmatch(name)
        if prefixed:
            name = prefixed[1]
        rows[i] = _relaxed(name, table.lookup, fold=fold or bool(prefixed))
        clones[i] = rows[i] == UNKNOWN and is_clone_name(name, species)
    return rows, clones


def _relaxed(name: str, lookup: NameLookup, *, fold: bool) -> int:
    tables = [(lookup.exact, name), *([(lookup.folded, name.upper())] if fold else [])]
    for names, text in tables:
        if text in names:
            return names[text]
        # "ACTB-1" and "ACTB.1" are made by var_names_make_unique and R's make.unique from a second "ACTB".
        base = _UNIQUE_SUFFIX.fullmatch(text)
        if base and names.get(base[1], UNKNOWN) >= 0:
            return names[base[1]]
    if fold and "." in name:  # R's make.names writes HLA.A for HLA-A
        return lookup.folded.get(name.upper().replace(".", "-"), UNKNOWN)
    return UNKNOWN


def id_kind(names: Sequence[str]) -> str:
    """Say in words of what sort names are: ``Ensembl IDs``, ``versioned Ensembl IDs``, ``symbols`` or a mixture."""
    ensembl = [name for name in names if is_ensembl(name)]
    if len(ensembl) > 0.9 * len(names):
        versioned = sum("." in name for name in ensembl)
        return "versioned Ensembl IDs" if 2 * versioned > len(ensembl) else "Ensembl IDs"
    return "symbols" if len(ensembl) < 0.1 * len(names) else "Ensembl IDs and symbols, mixed"


def looks_like(names: Sequence[str]) -> str:
    """Say in words what names that are no known genes may be; "" if there is nothing to say."""
    sample = list(names[:2000])
    if not sample:
        return ""

    def most(pattern: str) -> bool:
        return sum(re.fullmatch(pattern, name) is not None for name in sample) > 0.5 * len(sample)

    if most(r"\d+"):
        return "numbers, so the gene names were lost on the way"
    if most(r"(?i)(?:gene|hvg|feature|var|x|v)[-_. ]?\d+"):
        return "placeholders, so the gene names were lost on the way"
    if most(r"(?i)(?:chr)?[\dXYMT]+[:_-]\d+[-_]\d+"):
        return "genomic regions (ATAC peaks)"
    if most(r"ENS[A-Z]*T\d{11}(?:\.\d+)?"):
        return "Ensembl transcript IDs: sum them to genes first"
    if most(r"ENS[A-Z]{3,}G\d{11}(?:\.\d+)?"):
        return f"Ensembl IDs of another species ({sample[0][:-11]}...)"
    if most(r"(?:NM|NR|XM|XR)_\d+(?:\.\d+)?"):
        return "RefSeq transcript IDs"
    return ""


__all__ = ["AMBIGUOUS", "UNKNOWN", "Guess", "complete", "exact_rows", "gene_features", "guess", "guess_species"]
