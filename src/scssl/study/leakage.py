"""Corpora to pre-train on: without anything of the target, with its unlabelled cells, or with part of the cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.corpus.audit import audit, shared_cells
from scssl.corpus.format.shard import SOURCE, FileVector, Shard, smallest_dtype
from scssl.corpus.sources.inspect import check_counts
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError
from scssl.genes import harmonise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.corpus import Corpus

_ROWS: Final = 4096
TARGET: Final = "target"
"""Name of the source that the target's cells become in the arm that includes them."""


def find_leaks(corpus: Corpus, data: AnnData | Path | str, *, donor: str, layer: str | None = None) -> dict[str, Any]:
    """Audit the corpus against the target, and say what pre-training has to do without.

    Parameters
    ----------
    corpus
        Corpus as it is.
    data
        Target.
    donor
        Column of the target's ``obs`` with the donors.
    layer
        Where the target's counts are.

    Returns
    -------
    dict
        What `scssl.corpus.audit.audit` returns, and ``excluded``: dict of ``donors`` and ``sources`` of the corpus that
        are left out in the arm that excludes the target. Donors go who share a cell or a name with the target's: a
        namesake may be somebody else, but then only data are lost. Whole sources go where they hold cells of the target
        and no donors are known, and where they have the target's name.
    """
    split_by = str(corpus.settings["split_by"])
    has_donors = split_by in corpus.categories or "donor" in corpus.categories
    found = audit(corpus, data, layer=layer, donor=donor if has_donors else None)
    donors, sources = set(), set(found["datasets"])
    if found["donors"] is not None:
        donors |= {entry["name"] for entry in found["donors"]["shared"]}
        donors |= {entry["corpus"] for entry in found["donors"]["renamed"]}
        column = found["donors"]["column"]
        # What the audit names as donors leaves out those it does not know; their cells are only found by source.
        known = sum(entry["n_identical"] for entry in found["donors"]["shared"])
        known += sum(entry["n_identical"] for entry in found["donors"]["renamed"])
        if known < found["n_shared"]:
            sources |= {entry["name"] for entry in found["sources"]}
    else:
        column = None
        sources |= {entry["name"] for entry in found["sources"]}
    found["excluded"] = {"column": column, "donors": sorted(donors), "sources": sorted(sources)}
    return found


def leakage_table(leaks: dict[str, Any]) -> pd.DataFrame:
    """Return what of the target the corpus holds, one row per source and donor.

    Parameters
    ----------
    leaks
        From `find_leaks`.

    Returns
    -------
    pandas.DataFrame
        ``kind`` (all cells, source, donor), ``name``, ``cells_in_both``, ``excluded`` (in the arm that excludes the
        target).
    """
    rows = [("all cells", "", leaks["n_shared"], bool(leaks["n_shared"]))]
    gone = leaks["excluded"]
    cells = {entry["name"]: entry["n_cells"] for entry in leaks["sources"]}
    rows += [
        ("source", name, cells.get(name, 0), name in gone["sources"])
        for name in {**cells, **dict.fromkeys(gone["sources"])}
    ]
    if leaks["donors"] is not None:
        same = {entry["name"]: entry["n_identical"] for entry in leaks["donors"]["shared"]}
        for entry in leaks["donors"]["renamed"]:
            same[entry["corpus"]] = same.get(entry["corpus"], 0) + entry["n_identical"]
        rows += [("donor", name, n, name in gone["donors"]) for name, n in same.items()]
    return pd.DataFrame(rows, columns=["kind", "name", "cells_in_both", "excluded"])


def without_target(corpus: Corpus, excluded: dict[str, Any], *, folder: Path) -> Corpus:
    """Return the corpus without the donors and sources to be left out; as it is if there are none.

    Parameters
    ----------
    corpus
        Corpus as it is.
    excluded
        From `find_leaks`.
    folder
        Where the counts of the cells that remain are written, where any are left out.

    Raises
    ------
    DataError
        If too few cells remain.
    """
    gone_sources = _positions(corpus.sources, excluded["sources"])
    column = excluded["column"]
    gone_donors = _positions(corpus.categories[column], excluded["donors"]) if column else np.empty(0, dtype=np.int64)
    if not gone_sources.size and not gone_donors.size:
        return corpus

    def kept(shard: Shard) -> NDArray[np.bool_]:
        keep = ~np.isin(shard.read_codes(SOURCE, n_names=len(corpus.sources)), gone_sources)
        if column:
            keep &= ~np.isin(shard.read_codes(column, n_names=len(corpus.categories[column])), gone_donors)
        return keep

    left = take(corpus, kept, folder=folder)
    if left.n_cells("train") < 2:
        message = (
            "nothing is left to pre-train on once the target's donors and data sets are excluded: the corpus holds the "
            "target. Give a corpus with other cells, or let pre-training see the target's cells without their labels: "
            "--arm included"
        )
        raise DataError(message)
    return left


def with_target(corpus: Corpus, data: AnnData | Path | str, *, layer: str | None = None, seed: int = 0) -> Corpus:
    """Return the corpus with the target's cells, unlabelled, in its training split; those it holds are not added twice.

    Parameters
    ----------
    corpus
        Corpus as it is.
    data
        Target.
    layer
        Where the target's counts are.
    seed
        Of the order of the new cells.
    """
    there = shared_cells(corpus, data, layer=layer)
    if there.all():
        return corpus
    with open_source(data, layer=layer) as opened:
        genes = harmonise(opened.var, corpus.panel, file=opened.file)
        parts = []
        for rows, chunk in opened.chunks():
            check_counts(chunk, file=opened.file, layer=layer, first_row=rows.start)
            parts.append(genes.apply(chunk))
        names = opened.obs.index.to_numpy(dtype=object)
    counts = sp.vstack(parts, format="csr")
    order = np.random.default_rng([seed, 0xADD]).permutation(np.flatnonzero(~there))
    X, names = counts[order], names[order]
    totals = np.asarray(X.sum(axis=1, dtype=np.int64)).ravel()
    codes = {column: np.full(len(order), -1, dtype=np.int32) for column in corpus.categories}
    shard = Shard(
        split="train",
        first_cell=corpus.n_cells(),
        values=X.data.astype(smallest_dtype(int(X.data.max(initial=0)))),
        indices=X.indices.astype(smallest_dtype(len(corpus.panel) - 1)),
        indptr=X.indptr.astype(np.int64),
        n_counts=totals,
        codes={SOURCE: np.full(len(order), len(corpus.sources), dtype=np.int32), **codes},
        names=names,
    )
    added = np.asarray(X.sum(axis=0, dtype=np.int64)).ravel()
    return replace(
        corpus,
        sources=[*corpus.sources, TARGET],
        measured=np.concatenate([corpus.measured, genes.measured[None]]),
        gene_counts=np.concatenate([corpus.gene_counts, added[None]]),
        shards=[*corpus.shards, shard],
        path=None,
        digest="",
    )


def share_of(corpus: Corpus, fraction: float, *, folder: Path, seed: int) -> Corpus:
    """Return a corpus with a random share of the training cells; validation stays as it is.

    Parameters
    ----------
    corpus
        Corpus as it is.
    fraction
        Share of the training cells.
    folder
        Where their counts are written.
    seed
        Of the draw; cells of a small share are among those of a larger one.
    """
    if fraction == 1:
        return corpus

    def kept(shard: Shard) -> NDArray[np.bool_]:
        rng = np.random.default_rng([seed, 0x5A, shard.first_cell])
        return rng.random(shard.n_cells) < (fraction if shard.split == "train" else 1.0)

    left = take(corpus, kept, folder=folder)
    if left.n_cells("train") < 2:
        message = (
            f"{fraction:.0%} of the {corpus.n_cells('train'):,} training cells is too little; leave out this fraction"
        )
        raise DataError(message)
    return left


def take(corpus: Corpus, kept: Callable[[Shard], NDArray[np.bool_]], *, folder: Path) -> Corpus:
    """Return a corpus of some of the cells, their counts copied to files in chunks, so that memory stays bounded.

    Parameters
    ----------
    corpus
        Corpus as it is.
    kept
        (n_cells,) bool of a shard.
    folder
        Where to write; it must be kept for as long as the corpus is used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gene_counts = np.zeros_like(corpus.gene_counts)
    shards, first = [], 0
    for number, shard in enumerate(corpus.shards):
        keep = kept(shard)
        if not keep.any():
            continue
        shards.append(_copy(shard, keep, corpus, gene_counts, folder / f"{number}", first_cell=first))
        first += shards[-1].n_cells
    return replace(corpus, shards=shards, gene_counts=gene_counts, path=None, digest="")


def _copy(
    shard: Shard,
    keep: NDArray[np.bool_],
    corpus: Corpus,
    gene_counts: NDArray[np.int64],
    stem: Path,
    *,
    first_cell: int,
) -> Shard:
    files = {name: stem.with_name(f"{stem.name}-{name}.bin") for name in ("values", "indices")}
    dtypes = {name: np.asarray(getattr(shard, name)[:0]).dtype for name in files}
    sources = shard.read_codes(SOURCE, n_names=len(corpus.sources))
    lengths = []
    with files["values"].open("wb") as values, files["indices"].open("wb") as indices:
        for start in range(0, shard.n_cells, _ROWS):
            rows = shard.check_genes(shard.rows(start, min(start + _ROWS, shard.n_cells)), n_genes=len(corpus.panel))
            chosen = keep[start : start + _ROWS]
            per_cell = np.diff(rows.indptr)
            entries = np.repeat(chosen, per_cell)
            rows.values[entries].tofile(values)
            rows.indices[entries].tofile(indices)
            lengths.append(per_cell[chosen])
            if shard.split == "train":
                of_entry = np.repeat(sources[start : start + _ROWS], per_cell)[entries]
                np.add.at(gene_counts, (of_entry, rows.indices[entries]), rows.values[entries].astype(np.int64))
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    n = int(indptr[-1])
    return Shard(
        split=shard.split,
        first_cell=first_cell,
        values=FileVector(files["values"], dtypes["values"], n),
        indices=FileVector(files["indices"], dtypes["indices"], n),
        indptr=indptr,
        n_counts=np.asarray(shard.n_counts[:])[keep],
        codes={column: np.asarray(codes[:])[keep] for column, codes in shard.codes.items()},
        names=shard.cell_names()[keep],
    )


def _positions(names: list[str], gone: list[str]) -> NDArray[np.int64]:
    return (
        np.flatnonzero(np.isin(np.asarray(names, dtype=object).astype(str), gone))
        if gone
        else np.empty(0, dtype=np.int64)
    )
