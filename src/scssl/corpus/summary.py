"""What `Corpus.info` says of a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.pool_size import loading_memory
from scssl.corpus.sources.annotation import NOT_KNOWN, guess_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.corpus.store import Corpus

BATCH_SIZE: Final = 1024
"""Cells in the batches that memory is told for."""
NO_GROUP: Final = "(no "
"""How the names begin that a build gives to cells without a donor."""
_KEPT: Final = ("n_cells", "n_genes", "n_counts", "n_nonzeros")
"""Numbers in a source's report that are not of cells left out."""


def summarise(corpus: Corpus) -> dict[str, Any]:
    """Return sizes, groups, types, what was left out, and settings, as plain values; reads no counts.

    Returns
    -------
    dict
        - ``path``, ``panel`` (``name``, ``species``, ``genes``), ``cells``, ``splits`` (split -> cells), ``nonzeros``,
          ``shards``, ``bytes``;
        - ``donors``: None if cells were split one by one, else ``column``, ``n_values``, ``splits`` (split -> values)
          and ``n_unknown``, the cells without a value;
        - ``types``: None if no kept column looks like cell types, else ``column``, ``n_values``, ``n_unknown``;
        - ``left_out``: reason -> cells;
        - ``memory``: ``batch_size`` and the ``bytes`` that loading the train split in such batches takes, beside
          Python and torch;
        - ``sources``: the report of the build, with ``measured_share``; ``columns``: name -> number of values;
          ``settings``.
    """
    cells = {split: corpus.n_cells(split) for split in SPLITS}
    share = corpus.measured_share().tolist()
    return {
        "path": None if corpus.path is None else str(corpus.path),
        "panel": {"name": corpus.panel.name, "species": corpus.panel.species, "genes": len(corpus.panel)},
        "cells": sum(cells.values()),
        "splits": cells,
        "nonzeros": sum(shard.n_nonzeros for shard in corpus.shards),
        "shards": len(corpus.shards),
        "bytes": corpus.n_bytes(),
        "donors": _donors(corpus),
        "types": _types(corpus),
        "left_out": _left_out(corpus),
        "memory": {"batch_size": BATCH_SIZE, "bytes": loading_memory(corpus, batch_size=BATCH_SIZE)},
        "sources": [
            {**entry, "measured_share": part} for entry, part in zip(corpus.report["sources"], share, strict=True)
        ],
        "columns": {column: len(names) for column, names in corpus.categories.items()},
        "settings": dict(corpus.settings),
    }


def count_values(corpus: Corpus, column: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the cells of each value of a kept column.

    Returns
    -------
    counts : numpy.ndarray
        (n_splits, n_values).
    missing : numpy.ndarray
        (n_splits,) cells without a value.
    """
    n = len(corpus.categories[column])
    counts = np.zeros((len(SPLITS), n + 1), dtype=np.int64)
    for shard in corpus.shards:
        codes = shard.read_codes(column, n_names=n)
        # The last place is where code -1 points.
        counts[SPLITS.index(shard.split)] += np.bincount(codes % (n + 1), minlength=n + 1)
    return counts[:, :n], counts[:, n]


def is_known(name: str) -> bool:
    """Whether a value names something: neither ``unknown`` or the like, nor a stand-in for a donor that is missing."""
    return name.strip().lower() not in NOT_KNOWN and not name.startswith(NO_GROUP)


def _donors(corpus: Corpus) -> dict[str, Any] | None:
    column = str(corpus.settings["split_by"])
    if column not in corpus.categories:
        return None
    return _column(corpus, column)


def _column(corpus: Corpus, column: str) -> dict[str, Any]:
    counts, missing = count_values(corpus, column)
    known = np.array([is_known(name) for name in corpus.categories[column]], dtype=bool)
    there = (counts > 0) & known
    return {
        "column": column,
        "n_values": int(there.any(axis=0).sum()),
        "splits": {split: int(row.sum()) for split, row in zip(SPLITS, there, strict=True)},
        "n_unknown": int(missing.sum() + counts[:, ~known].sum()),
    }


def _types(corpus: Corpus) -> dict[str, Any] | None:
    # Columns are told by their names and by how often a value is repeated: four times each here, as there are no rows.
    length = 4 * max((len(names) for names in corpus.categories.values()), default=0)
    table = {c: [*names, *[None] * (length - len(names))] for c, names in corpus.categories.items() if names}
    guessed = {column.role: column.name for column in guess_columns(pd.DataFrame(table, dtype=object))}
    if "cell type" not in guessed:
        return None
    return _column(corpus, guessed["cell type"])


def _left_out(corpus: Corpus) -> dict[str, int]:
    """Sum what the sources' reports count of cells left out, whatever the reasons."""
    reasons: dict[str, int] = {}
    for entry in corpus.report["files"]:
        reasons["by the condition"] = reasons.get("by the condition", 0) + int(entry.get("n_left_out_by_where", 0))
    for entry in corpus.report["sources"]:
        for key, n in entry.items():
            if key.startswith("n_") and key not in _KEPT and isinstance(n, int):
                reason = key.removeprefix("n_").replace("_", " ")
                reasons[reason] = reasons.get(reason, 0) + n
    return {reason: n for reason, n in reasons.items() if n}
