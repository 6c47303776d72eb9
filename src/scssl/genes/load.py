"""Whatever a user gives as gene programmes, as programmes over a panel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from scssl.errors import SettingsError, require
from scssl.genes.collections import COLLECTIONS, fetch_sets, is_collection
from scssl.genes.gmt import read_gmt, unique_names
from scssl.genes.mapping import SetsReport, lookup_of, map_sets, match_names
from scssl.genes.modules import learn_modules
from scssl.genes.programmes import Limits, Programmes, read_saved, saved_header
from scssl.genes.regulators import MOSTLY, is_gmt, merge_by_regulator, read_factors, read_targets
from scssl.genes.regulons import learn_regulons
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from scssl.genes.coexpression import CellStore
    from scssl.genes.panel import GenePanel

Regulators = Literal["auto", "names", "none"]


class Loaded(NamedTuple):
    """Programmes, and how they came about."""

    programmes: Programmes
    report: SetsReport | None
    """What became of the sets of a file; None for programmes that were learned or given."""


def load_programmes(
    spec: str | Path | Programmes,
    panel: GenePanel,
    *,
    corpus: CellStore | None = None,
    seed: int = 0,
    min_coverage: float = 0.5,
    min_genes: int = 10,
    max_genes: int | None = None,
    regulators: Regulators = "auto",
) -> Programmes:
    """Return the gene programmes that a user means, over the genes of a panel.

    Parameters
    ----------
    spec
        A GMT file, as others publish it or `Programmes.save` writes it; a table of transcription factors and targets;
        a collection that is fetched (``msigdb:H``, ``collectri``, ...); ``modules:N``, learned from the corpus;
        ``regulons:FILE``, targets learned from the corpus for the factors that a file lists; or programmes, of which
        those outside the limits are left out.
    panel
        Genes to map to.
    corpus
        Cells to learn from. For sets from files: only genes that a source of it measured count.
    seed
        Seed of the sample of cells that is learned from.
    min_coverage
        Least share of a set's genes that must be on the panel (and measured).
    min_genes, max_genes
        Genes on the panel that a programme must have at least, and may have at most.
    regulators
        Whether the names of a GMT file's sets tell transcription factors: ``auto`` if at least half of them do,
        ``names`` to take those that do, ``none`` for none.

    Raises
    ------
    DataError
        If a file is missing or its genes are not those of the panel, or no programme is left.
    FormatError
        If a file cannot be understood.
    SettingsError
        If `spec` is none of these, a setting is not possible, or cells are needed and not given.
    """
    limits = Limits(min_coverage=min_coverage, min_genes=min_genes, max_genes=max_genes)
    return load_reported(spec, panel=panel, corpus=corpus, seed=seed, limits=limits, regulators=regulators).programmes


def load_reported(
    spec: str | Path | Programmes,
    *,
    panel: GenePanel,
    limits: Limits,
    corpus: CellStore | None = None,
    seed: int = 0,
    regulators: Regulators = "auto",
    folder: Path | str | None = None,
) -> Loaded:
    """Do what `load_programmes` does, and say what became of the sets.

    Parameters
    ----------
    spec, panel, corpus, seed, regulators
        As for `load_programmes`.
    limits
        What a programme must meet.
    folder
        Where fetched files are kept; by default the user's cache folder.
    """
    choices = ("auto", "names", "none")
    require("regulators", regulators, holds=regulators in choices, must=f"one of {', '.join(choices)}")
    if corpus is not None and corpus.panel != panel:
        message = f"the corpus has {corpus.panel}, the programmes are asked for {panel}: they must be the same genes"
        raise SettingsError(message)
    if isinstance(spec, Programmes):
        return Loaded(_given(spec, panel, limits), None)
    kind, _, rest = str(spec).partition(":")
    if kind == "modules" and not Path(spec).exists():
        return Loaded(_modules(rest, corpus, limits, seed), None)
    if kind == "regulons" and not Path(spec).exists():
        store = _needed(corpus, str(spec))
        factors = read_factors(rest)
        found = learn_regulons(store, factors=factors, min_genes=limits.min_genes, seed=seed, file=rest)
        return Loaded(_not_empty(found.filtered(limits), str(spec)), None)
    path = fetch_sets(str(spec), folder=folder) if is_collection(str(spec)) else Path(spec)
    if not path.is_file():
        message = (
            f"no gene programmes {str(spec)!r}: give a GMT file, a table of transcription factors and targets, "
            f"modules:N, regulons:FILE, or one of {', '.join(COLLECTIONS)}"
        )
        raise SettingsError(message)
    header = saved_header(path)
    if header is not None and header.get("panel") == panel.fingerprint and corpus is None:
        return Loaded(_given(Programmes.read(path, panel), panel, limits), None)
    measured = None if corpus is None else np.any(corpus.measured, axis=0)
    loaded = _from_file(path, panel, limits=limits, regulators=regulators, measured=measured)
    logger.info("%s", loaded.report)
    return loaded


def _given(programmes: Programmes, panel: GenePanel, limits: Limits) -> Programmes:
    other = programmes.panel is not None and programmes.panel != panel
    if other or programmes.members.shape[1] != len(panel):
        message = f"these programmes are over other genes ({programmes.panel or programmes.members.shape[1]}) than "
        message += f"{panel}; load them from their file for this panel"
        raise SettingsError(message)
    return _not_empty(replace(programmes, panel=panel).filtered(limits), "the programmes given")


def _not_empty(programmes: Programmes, what: str) -> Programmes:
    if len(programmes) == 0:
        message = f"{what}: no programme is within the limits; change min_genes, min_coverage or max_genes"
        raise SettingsError(message)
    return programmes


def _modules(text: str, corpus: CellStore | None, limits: Limits, seed: int) -> Programmes:
    if not (text.isdecimal() and text.isascii() and int(text) > 0):
        message = f"modules:{text} is not possible; give the number of modules to learn, such as modules:30"
        raise SettingsError(message)
    store = _needed(corpus, f"modules:{text}")
    return learn_modules(store, n_modules=int(text), min_genes=limits.min_genes, max_genes=limits.max_genes, seed=seed)


def _needed(corpus: CellStore | None, spec: str) -> CellStore:
    if corpus is None:
        message = f"{spec} is learned from cells: give the corpus (scssl programmes: --corpus)"
        raise SettingsError(message)
    return corpus


def _from_file(
    path: Path, panel: GenePanel, *, limits: Limits, regulators: Regulators, measured: NDArray[np.bool_] | None
) -> Loaded:
    if saved_header(path) is not None:
        sets, _ = read_saved(path)
        merge: Regulators = "none"
    elif is_gmt(path):
        sets, merge = read_gmt(path), regulators
    else:
        sets, merge = read_targets(path), "none"
    report = SetsReport(
        file=str(path),
        panel=panel.name,
        n_panel=len(panel),
        n_sets=len(sets),
        n_empty=sum(not each.genes for each in sets),
    )
    # The genes settle the species; only then are the names of sets read as factors.
    match = match_names((gene for each in sets for gene in each.genes), panel, file=str(path))
    if merge != "none":
        lookup, symbols = lookup_of(match, panel)
        merged, n_of_regulators, n_merged = merge_by_regulator(sets, gene_of=_gene_of(lookup.exact, symbols))
        if merge == "names" or n_of_regulators >= MOSTLY * len(sets):
            sets, report.n_of_regulators, report.n_merged = merged, n_of_regulators, n_merged
    elif any(each.regulators for each in sets):
        report.n_of_regulators = sum(bool(each.regulators) for each in sets)
    names = (name for each in sets for name in (*each.genes, *each.regulators))
    match = match_names(names, panel, file=str(path))
    sets = [replace(s, name=name) for s, name in zip(sets, unique_names(s.name for s in sets), strict=True)]
    return Loaded(map_sets(sets, panel, match=match, report=report, limits=limits, measured=measured), report)


def _gene_of(names: dict[str, int], symbols: NDArray[np.object_]) -> Callable[[str], str | None]:
    """Return what finds a gene's symbol; set names are often in capitals and without the hyphens of symbols."""
    loose: dict[str, int] = {}
    for name, row in names.items():
        key = name.upper().replace("-", "")
        loose[key] = row if loose.get(key, row) == row else -1

    def gene_of(text: str) -> str | None:
        row = names.get(text)
        if row is None:
            row = loose.get(text.upper().replace("-", ""), -1)
        return str(symbols[row]) if row >= 0 else None

    return gene_of
