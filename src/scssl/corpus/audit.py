"""Audit: which cells, donors and data sets of a file that models are to be judged on a corpus holds."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.corpus.build.barcodes import has_barcode
from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.shared import SharedCells, find_shared
from scssl.corpus.sources.inspect import percent
from scssl.corpus.sources.source import CellSource, open_source
from scssl.corpus.store import Corpus
from scssl.corpus.summary import count_values, is_known
from scssl.errors import SettingsError

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

_NAMED: Final = 3
"""Names that a sentence lists."""


def shared_cells(
    corpus: Corpus | str | Path, data: AnnData | str | Path, *, layer: str | None = None
) -> NDArray[np.bool_]:
    """(n_cells,) which cells of some data are in a corpus, whatever its split.

    Parameters
    ----------
    corpus
        Corpus or its folder.
    data
        AnnData or file with raw counts.
    layer
        Where the raw counts are: None for ``X``, ``"raw"``, or the name of a layer.

    Raises
    ------
    ScsslError
        As for `audit`.
    """
    opened = corpus if isinstance(corpus, Corpus) else Corpus.open(corpus)
    with open_source(data, layer=layer) as source:
        found = np.zeros(source.n_cells, dtype=bool)
        found[find_shared(opened, source, layer=layer).cell] = True
    return found


def audit(
    corpus: Corpus | str | Path, data: AnnData | str | Path, *, layer: str | None = None, donor: str | None = None
) -> dict[str, Any]:
    """Say which cells, donors and data sets of some data are in a corpus.

    Scores on cells that a model was pre-trained on are too good. Cells are the same if their barcodes are, and their
    counts on the genes that both measured; see `scssl.corpus.build.copies`.

    Parameters
    ----------
    corpus
        Corpus or its folder.
    data
        AnnData or file with raw counts.
    layer
        Where the raw counts are: None for ``X``, ``"raw"``, or the name of a layer.
    donor
        Column of the data's ``obs`` that names donors; the one that the corpus was split by, if the data have it.

    Returns
    -------
    dict
        Plain values:

        - ``file``, ``corpus``: what was compared (``corpus`` is None in memory);
        - ``verdict``: one or a few sentences; ``advice``: list of sentences, what to do;
        - ``n_cells``: cells of the data; ``n_shared``: how many of them the corpus holds; ``share``: of all;
        - ``splits``: split -> cells of the data that are in it;
        - ``sources``: those that hold some of them, most first, each with ``name``, ``n_cells`` and ``splits``. Cells
          that several sources hold count in each;
        - ``n_same_name``: cells whose barcode (or whole name, if it has none) occurs in the corpus, whatever the
          counts; ``n_barcodes``: cells with a barcode in their name; ``n_comparable``: cells with enough expressed
          genes to be recognised; ``n_genes``: genes of the corpus that the data measured;
        - ``donors``: None if there is no column to compare, else a dict of ``column`` (of the corpus), ``file_column``,
          ``n_file`` (donors in the data), ``shared`` (donors of the same name, each with ``name``, ``n_file`` and
          ``n_corpus`` cells, ``n_identical`` cells in both, and ``splits``: split -> cells of the corpus), and
          ``renamed`` (``file``, ``corpus``, ``n_identical``: identical cells under different donor names);
        - ``datasets``: sources of the corpus that have the name of the file or of a value of its source column.

    Raises
    ------
    FormatError
        If the folder is no corpus.
    DataError
        If the file cannot be read, holds no raw counts, or its genes do not fit the corpus' panel.
    SettingsError
        If the data have no column `donor`.
    """
    opened = corpus if isinstance(corpus, Corpus) else Corpus.open(corpus)
    with open_source(data, layer=layer) as source:
        column, file_column = _donor_columns(opened, source, donor)
        found = find_shared(opened, source, layer=layer, column=column)
        donors = None if column is None or file_column is None else _donors(opened, source, found, column, file_column)
        report: dict[str, Any] = {
            "file": source.file,
            "corpus": None if opened.path is None else str(opened.path),
            "n_cells": source.n_cells,
            **_cells(opened, found, source.n_cells),
            "n_same_name": int(found.same_name.sum()),
            "n_barcodes": int(has_barcode(source.obs.index.to_numpy()).sum()),
            "n_comparable": int(found.comparable.sum()),
            "n_genes": found.n_measured,
            "donors": donors,
            "datasets": _datasets(opened, source),
        }
    return {"verdict": _verdict(report), "advice": _advice(opened, report), **report}


def _cells(corpus: Corpus, found: SharedCells, n_cells: int) -> dict[str, Any]:
    """Count cells of the data, each once per source and split."""
    n_shared = len(np.unique(found.cell))
    distinct = np.unique(np.stack([found.source, found.split, found.cell]), axis=1)
    sources = []
    for code in np.unique(found.source):
        mine = distinct[0] == code
        splits = {name: int((mine & (distinct[1] == i)).sum()) for i, name in enumerate(SPLITS)}
        n = len(np.unique(distinct[2][mine]))
        sources.append({"name": corpus.sources[code], "n_cells": n, "splits": splits})
    sources.sort(key=lambda entry: -entry["n_cells"])
    splits = {name: len(np.unique(found.cell[found.split == i])) for i, name in enumerate(SPLITS)}
    return {"n_shared": n_shared, "share": n_shared / n_cells, "splits": splits, "sources": sources}


def _donor_columns(corpus: Corpus, source: CellSource, donor: str | None) -> tuple[str | None, str | None]:
    """Return the columns that name donors, of the corpus and of the data."""
    there = [str(column) for column in source.obs.columns]
    if donor is not None and donor not in there:
        message = f"{source.file}: no column {donor!r} for --donor; columns there are: {', '.join(there) or 'none'}"
        raise SettingsError(message)
    split_by = str(corpus.settings["split_by"])
    column = split_by if split_by in corpus.categories else "donor" if "donor" in corpus.categories else None
    if donor is not None and column is None:
        kept = ", ".join(corpus.categories) or "none"
        message = f"the corpus has no column of donors to compare {donor!r} with: it was split by cell and keeps {kept}"
        raise SettingsError(message)
    if donor is not None or column in there:
        return column, donor or column
    return column, None


def _donors(corpus: Corpus, source: CellSource, found: SharedCells, column: str, file_column: str) -> dict[str, Any]:
    names = corpus.categories[column]
    values = source.obs[file_column]
    known = values.notna().to_numpy()
    texts = np.where(known, values.astype(str).to_numpy(dtype=object), "")
    n_file = {name: n for name, n in Counter(texts.tolist()).items() if is_known(name)}
    in_corpus, _ = count_values(corpus, column)
    pairs = np.unique(np.stack([found.cell, found.group]), axis=1)
    identical = Counter((str(texts[cell]), names[group]) for cell, group in pairs.T.tolist() if group >= 0)
    shared = []
    for code, name in enumerate(names):
        if name in n_file:
            splits = {split: int(n) for split, n in zip(SPLITS, in_corpus[:, code], strict=True)}
            n_corpus, n_identical = int(in_corpus[:, code].sum()), identical[(name, name)]
            entry = {"name": name, "n_file": n_file[name], "n_corpus": n_corpus, "n_identical": n_identical}
            shared.append({**entry, "splits": splits})
    renamed = [
        {"file": mine, "corpus": theirs, "n_identical": n}
        for (mine, theirs), n in identical.most_common()
        if mine != theirs and is_known(mine) and is_known(theirs)
    ]
    shared.sort(key=lambda entry: -int(str(entry["n_identical"])))
    return {
        "column": column,
        "file_column": file_column,
        "n_file": len(n_file),
        "shared": shared,
        "renamed": renamed,
    }


def _datasets(corpus: Corpus, source: CellSource) -> list[str]:
    """List sources named as the file, of a file named so, or named in the data's own source column."""
    names = {source.name} if source.path is not None else set()
    stems = {entry["name"]: {Path(file).stem for file in entry["files"]} for entry in corpus.report["sources"]}
    column = corpus.settings.get("source")
    if column in source.obs.columns:
        names |= set(source.obs[column].dropna().astype(str))
    return [name for name in corpus.sources if name in names or names & stems.get(name, set())]


def _verdict(report: dict[str, Any]) -> str:
    file, n, total = report["file"], report["n_shared"], report["n_cells"]
    parts = []
    if n:
        sources = [entry["name"] for entry in report["sources"]]
        one = f"all from source {sources[0]!r}"
        whence = one if len(sources) == 1 else f"from {len(sources)} sources ({_few(sources)})"
        used = {split: k for split, k in report["splits"].items() if k}
        where = f"{next(iter(used))} split" if len(used) == 1 else ", ".join(f"{k:,} in {s}" for s, k in used.items())
        share = f"{n:,} of {_number(total, 'cell')} of {file} ({percent(n / total)})"
        parts.append(f"{share} {'is' if n == 1 else 'are'} in the corpus, {whence}, {where}. {_meaning(used)}")
    else:
        parts.append(f"No cell of {file} was found in the corpus ({_number(total, 'cell')} compared).")
    donors = report["donors"]
    namesakes = [] if donors is None else [entry["name"] for entry in donors["shared"] if not entry["n_identical"]]
    if namesakes:
        have = "has" if len(namesakes) == 1 else "have"
        parts.append(
            f"{_number(len(namesakes), 'donor')} of the file ({_few(namesakes)}) {have} the name of a donor of the "
            "corpus but no cell in common: other cells of the same person, or another person."
        )
    if not n and report["datasets"]:
        parts.append(f"The corpus has a source of the same name: {_few(report['datasets'])}.")
    unnamed = total - report["n_barcodes"]
    if unnamed:
        parts.append(
            f"{_number(unnamed, 'cell name')} without a barcode: found only where the corpus has the very same name."
        )
    small = total - report["n_comparable"]
    if small:
        parts.append(f"{_number(small, 'cell')} with too few expressed genes of the corpus to be recognised.")
    return " ".join(parts)


def _meaning(used: dict[str, int]) -> str:
    if "train" in used:
        return "Scores of a model pre-trained on this corpus would be too good on this file."
    if "val" in used:
        return "A model pre-trained on this corpus did not learn from them, but those in val decide when it is best."
    return "A model pre-trained on this corpus did not learn from them."


def _few(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")


def _advice(corpus: Corpus, report: dict[str, Any]) -> list[str]:
    if not report["n_shared"]:
        return []
    names = [entry["name"] for entry in report["sources"]]
    column = corpus.settings.get("source")
    if column:
        advice = [
            f"Leave these sources out of the corpus: scssl corpus build FILE... --out DIR {_where(column, names)}"
        ]
    else:
        advice = [f"Leave these files out of the corpus: build it again without {', '.join(names)}"]
    donors = report["donors"]
    if donors is not None:
        people = {entry["name"] for entry in donors["shared"] if entry["n_identical"]}
        people |= {entry["corpus"] for entry in donors["renamed"]}
        if people:
            advice.append(f"Or only the donors they come from: {_where(donors['column'], sorted(people))}")
    if any(entry.get("n_copies") for entry in corpus.report["sources"]):
        advice.append(
            "Then audit the new corpus: copies that other sources hold were left out of this one, and would come back"
        )
    if report["n_shared"] < report["n_cells"]:
        advice.append(
            "Or leave the shared cells out of the file, with shared_cells of scssl.corpus.audit in Python; other cells "
            "of their donors remain"
        )
    return advice


def _where(column: str, values: list[str]) -> str:
    name = column if column.isidentifier() else f"obs[{json.dumps(column, ensure_ascii=False)}]"
    condition = f"{name} not in {json.dumps(values, ensure_ascii=False)}"
    return f"--where {shlex.quote(condition)}"


def _number(n: int, thing: str) -> str:
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"
