"""Gene sets, however their genes are named, onto the genes of a panel; human sets on a mouse panel by orthologues."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.genes.matching import complete, guess_species, id_kind, looks_like
from scssl.genes.programmes import Limits, Programmes, coverage, within
from scssl.genes.tables import AMBIGUOUS, SPECIES, UNKNOWN, gene_table, mouse_to_human

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from scssl.genes.gmt import GeneSet
    from scssl.genes.panel import GenePanel
    from scssl.genes.tables import GeneTable, NameLookup

MIN_KNOWN: Final = 0.5
"""Share of the names that must be known genes."""
_WEIGHTED: Final = re.compile(r"(.+),-?\d+(?:\.\d+)?(?:[eE]-?\d+)?")
_STATES: Final = ("on the panel", "off the panel", "unknown", "ambiguous", "without orthologue")


@dataclass(frozen=True, eq=False, kw_only=True)
class NameMatch:
    """What the gene names of a file are on a panel."""

    species: str | None
    """Species that the names are of; None where the panel is of one that scssl has no table for."""
    position: dict[str, int]
    """Name -> position on the panel, -1 where it has none."""
    gene: dict[str, int]
    """Name -> number of the gene, the same for all names of one gene; unknown names have numbers of their own."""
    state: dict[str, str]
    """Name -> what became of it."""
    kind: str
    """What sort of names they are."""


@dataclass(kw_only=True)
class SetsReport:
    """What became of the sets of a file."""

    file: str
    panel: str
    n_panel: int
    """Genes of the panel."""
    n_sets: int
    """Sets in the file."""
    n_empty: int
    """Sets without genes."""
    n_programmes: int = 0
    """Programmes that were kept."""
    n_badly_covered: int = 0
    """Left out because too few of their genes are on the panel."""
    n_small: int = 0
    """Left out because they have too few genes on the panel."""
    n_large: int = 0
    """Left out because they have too many."""
    species: str | None = None
    """Species that the names are of."""
    by_orthologues: bool = False
    """Whether genes of one species were taken to those of the other by one-to-one orthologues."""
    id_kind: str = ""
    """``"symbols"``, ``"Ensembl IDs"`` or the like."""
    n_names: int = 0
    """Different gene names in the file; they are found, off the panel, unknown, ambiguous or without orthologue."""
    found: int = 0
    off_panel: int = 0
    unknown: int = 0
    ambiguous: int = 0
    without_orthologue: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Up to five names of each of the last four."""
    n_of_regulators: int = 0
    """Sets that are the targets of a transcription factor by their name."""
    n_merged: int = 0
    """Sets among them that were joined to another of the same factor."""
    n_regulated: int = 0
    """Programmes that were kept and have a transcription factor on the panel."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __str__(self) -> str:
        how = f"{self.species or ''} {self.id_kind}".strip()
        if self.by_orthologues:
            how += " by one-to-one orthologues"
        lost = [
            (self.off_panel, "not on the panel"),
            (self.unknown, "unknown"),
            (self.ambiguous, "ambiguous"),
            (self.without_orthologue, "without a one-to-one orthologue"),
        ]
        text = f"{self.file}: {self.n_sets:,} gene sets; {self.found:,} of {self.n_names:,} genes found ({how})"
        text += "".join(f", {n:,} {what}" for n, what in lost if n)
        if self.n_of_regulators:
            text += f"; {self.n_of_regulators:,} sets are of transcription factors, {self.n_merged:,} of them merged"
        left = [
            (self.n_badly_covered, "badly covered"),
            (self.n_small, "too small"),
            (self.n_large, "too large"),
        ]
        out = ", ".join(f"{n:,} {what}" for n, what in left if n)
        return f"{text}; {self.n_programmes:,} programmes" + (f" (left out: {out})" if out else "")


def match_names(names: Iterable[str], panel: GenePanel, *, file: str) -> NameMatch:
    """Find gene names on a panel as the features of a file are found: as written first, then without regard to case.

    Parameters
    ----------
    names
        Gene names of any sort; a weight after a comma, as Enrichr's files have it, is no part of the name.
    panel
        Genes to map to.
    file
        What to call their origin in messages.

    Raises
    ------
    DataError
        If fewer than half of them are known genes.
    """
    listed = list(dict.fromkeys(names))
    plain = [match[1] if (match := _WEIGHTED.fullmatch(name)) else name for name in listed]
    if panel.species in SPECIES:
        species, rows, position = _match_species(plain, panel)
    else:
        species, rows = None, _match_own(plain, panel)
        position = np.where(rows >= 0, rows, UNKNOWN)
    known = (rows != UNKNOWN) | (position >= 0)
    if listed and 2 * np.count_nonzero(known) < len(listed):
        unknown = [name for name, there in zip(plain, known, strict=True) if not there]
        hint = looks_like(unknown)
        what = f"they look like {hint}" if hint else f"unknown are e.g. {', '.join(unknown[:5])}"
        message = (
            f"{file}: only {np.count_nonzero(known):,} of {len(listed):,} genes are known "
            f"{species or panel.name} genes ({what}); genes must be named by symbols or Ensembl IDs"
        )
        raise DataError(message)
    other = species is not None and species != panel.species
    gone = np.where(rows == AMBIGUOUS, 3, np.where(rows == UNKNOWN, 2, 4 if other else 1))
    if other:  # with an orthologue, but one that is not on the panel
        gone[(rows >= 0) & (_orthologues(rows, species) != "")] = 1
    state = np.where(position >= 0, 0, gone)
    # Names of one gene share a number; those that are no known gene cannot be told to be one, so each has its own.
    numbers = np.where(rows >= 0, rows, -1 - np.arange(len(rows)))
    shown = [name for name, there in zip(plain, position, strict=True) if there >= 0] or plain
    return NameMatch(
        species=species,
        position=dict(zip(listed, position.tolist(), strict=True)),
        gene=dict(zip(listed, numbers.tolist(), strict=True)),
        state=dict(zip(listed, [_STATES[i] for i in state], strict=True)),
        kind=id_kind(shown) if shown else "",
    )


def _match_species(names: list[str], panel: GenePanel) -> tuple[str, NDArray[np.int64], NDArray[np.int64]]:
    guesses = guess_species(pd.DataFrame(index=pd.Index(names, dtype=object)))
    best = next(iter(guesses.values()))
    found = guesses[str(panel.species)] if guesses[str(panel.species)].n_known >= best.n_known else best
    table = _table(found.species)
    rows, _ = complete(found, table)
    position = np.full(len(names), UNKNOWN, dtype=np.int64)
    known = rows >= 0
    if found.species == panel.species:
        position[known] = panel.index_of(table.ids[rows[known]])
        own = panel.lookup.exact  # genes of a user's own panel need not be in the table
        for i in np.flatnonzero(rows == UNKNOWN):
            position[i] = max(own.get(names[i], UNKNOWN), UNKNOWN)
    else:
        position = panel.index_of(_orthologues(rows, found.species))
    return found.species, rows, position


def _match_own(names: list[str], panel: GenePanel) -> NDArray[np.int64]:
    lookup = panel.lookup
    rows = [lookup.exact.get(name, UNKNOWN) for name in names]
    rows = [lookup.folded.get(n.upper(), UNKNOWN) if i == UNKNOWN else i for n, i in zip(names, rows, strict=True)]
    return np.array(rows, dtype=np.int64)


def _table(species: str) -> GeneTable:
    return gene_table("mouse" if species == "mouse" else "human")


def _orthologues(rows: NDArray[np.int64], species: str | None) -> NDArray[Any]:
    """(n,) ID of the one-to-one orthologue in the other species, "" where none; for genes of human or mouse."""
    to_other = dict(mouse_to_human())
    if species == "human":
        to_other = {human: mouse for mouse, human in to_other.items()}
    ids = _table(str(species)).ids
    return np.array([to_other.get(ids[row], "") if row >= 0 else "" for row in rows], dtype=object)


def lookup_of(match: NameMatch, panel: GenePanel) -> tuple[NameLookup, NDArray[Any]]:
    """Names of all genes of the species that a file is about, and what to call these genes.

    Parameters
    ----------
    match
        What was found of the file.
    panel
        The panel, for a species that scssl has no table of.
    """
    if match.species is None:
        return panel.lookup, panel.ids
    table = _table(match.species)
    return table.lookup, np.where(table.symbols == "", table.ids, table.symbols)


def map_sets(
    sets: Sequence[GeneSet],
    panel: GenePanel,
    *,
    match: NameMatch,
    report: SetsReport,
    limits: Limits,
    measured: NDArray[np.bool_] | None = None,
) -> Programmes:
    """Make programmes of the sets that the panel covers well enough.

    A transcription factor is no member of its own programme: that would give away what is to be predicted.

    Parameters
    ----------
    sets
        Sets with unique names.
    panel
        Genes to map to.
    match
        What the names of the sets' genes and regulators are on the panel.
    report
        What happened is added to it.
    limits
        What a programme must meet.
    measured
        (n_genes,) genes that count; all of the panel when None.

    Raises
    ------
    DataError
        If no set is left.
    """
    usable = np.ones(len(panel), dtype=bool) if measured is None else measured
    report.by_orthologues = match.species is not None and match.species != panel.species
    found, factors, listed = [], [], np.zeros(len(sets), dtype=np.int64)
    for number, each in enumerate(sets):
        own = {match.gene[name] for name in each.regulators}
        genes = [name for name in each.genes if match.gene[name] not in own]
        listed[number] = len({match.gene[name] for name in genes})
        found.append(_positions(genes, match, usable))
        factors.append(_positions(each.regulators, match, usable))
    n_genes = np.array([len(positions) for positions in found], dtype=np.int64)
    share = coverage(n_genes, listed)
    _count_names(report, match)
    small = n_genes < limits.min_genes
    report.n_small = int(small.sum())
    report.n_badly_covered = int(np.sum(~small & (share < limits.min_coverage)))
    kept = np.flatnonzero(within(limits, n_genes=n_genes, share=share)).tolist()
    report.n_large = len(sets) - report.n_small - report.n_badly_covered - len(kept)
    report.n_programmes = len(kept)
    if len(kept) == 0:
        message = (
            f"{report.file}: none of {len(sets):,} gene sets can be used with the panel {panel.name!r}: "
            f"{report.n_small:,} have fewer than {limits.min_genes} genes on it, {report.n_badly_covered:,} less than "
            f"{limits.min_coverage:.0%} of their genes"
            + (f", {report.n_large:,} more than {limits.max_genes} genes; " if limits.max_genes is not None else "; ")
            + "change min_genes, min_coverage or max_genes, or take other sets"
        )
        raise DataError(message)
    programmes = Programmes(
        names=[sets[i].name for i in kept],
        members=_dense([found[i] for i in kept], len(panel)),
        regulators=_dense([factors[i] for i in kept], len(panel)),
        descriptions=[sets[i].description for i in kept],
        listed=listed[kept],
        panel=panel,
    )
    report.n_regulated = int(programmes.regulators.any(axis=1).sum())
    return programmes


def _positions(names: Iterable[str], match: NameMatch, usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    positions = np.unique([match.position[name] for name in names]).astype(np.int64)
    positions = positions[positions >= 0]
    return positions[usable[positions]]


def _dense(positions: list[NDArray[np.int64]], n_genes: int) -> NDArray[np.bool_]:
    rows = np.zeros((len(positions), n_genes), dtype=bool)
    for row, genes in zip(rows, positions, strict=True):
        row[genes] = True
    return rows


def _count_names(report: SetsReport, match: NameMatch) -> None:
    counts = Counter(match.state.values())
    report.species, report.id_kind = match.species, match.kind
    report.n_names = len(match.state)
    found, off, unknown, ambiguous, lone = (counts[state] for state in _STATES)
    report.found, report.off_panel, report.unknown = found, off, unknown
    report.ambiguous, report.without_orthologue = ambiguous, lone
    report.examples = {
        state: [name for name, its in match.state.items() if its == state][:5] for state in _STATES[1:] if counts[state]
    }
