"""What an embedding is worth with few labels: drawn reference cells name the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.protocol import UNLABELLED
from scssl.metrics import classification_scores
from scssl.tasks.annotate.knn import vote
from scssl.tasks.embed import beside

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

    from benchmarks.recipes.roles import Target

LABELS = {"10": 10, "100": 100, "all": 10**9}
"""Labels per type; fewer where a type has fewer."""
DRAWS = {"10": 10, "100": 5, "all": 5}
K = 5


class Labelled(NamedTuple):
    """The cells of a target that have a usable label."""

    rows: NDArray[np.int64]
    types: NDArray[np.str_]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_] | None


def labelled(target: Target, obs: pd.DataFrame) -> Labelled:
    """Return the labelled cells: of types with enough cells, and not "unknown" or the like."""
    names = obs[target.labels].astype(object)
    names = names.where(~names.astype(str).str.lower().isin(UNLABELLED), None)
    counts = names.value_counts()
    names = names.where(names.map(counts) >= target.min_cells, None)
    rows = np.flatnonzero(names.notna().to_numpy())
    types, labels = np.unique(names.iloc[rows].astype(str).to_numpy(), return_inverse=True)
    groups = obs[target.groups].astype(str).to_numpy()[rows] if target.groups else None
    return Labelled(rows, types, labels, groups)


def draws(cells: Labelled, *, n_labels: str) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield reference and query cells (positions among the labelled), the same for every method.

    Half of the groups (donors, batches) are reference, the others query; where there are none, half of the cells of
    each type. Types that the reference lacks, or has fewer than five cells of, are not asked for.
    """
    for draw in range(DRAWS[n_labels]):
        rng = np.random.default_rng([draw, LABELS[n_labels]])
        if cells.groups is None:
            shuffled = rng.permutation(len(cells.labels))
            rank = np.empty(len(cells.labels), dtype=np.int64)
            for t in range(len(cells.types)):
                mine = shuffled[cells.labels[shuffled] == t]
                rank[mine] = np.arange(len(mine)) * 2 < len(mine)
            first = rank.astype(bool)
        else:
            names = rng.permutation(np.unique(cells.groups))
            first = np.isin(cells.groups, names[: (len(names) + 1) // 2])
        picked = []
        for t in range(len(cells.types)):
            mine = np.flatnonzero(first & (cells.labels == t))
            if len(mine) >= 5:
                picked.append(rng.choice(mine, min(LABELS[n_labels], len(mine)), replace=False))
        reference = np.concatenate(picked)
        query = np.flatnonzero(~first & np.isin(cells.labels, cells.labels[reference]))
        yield reference, query


def score_embedding(
    codes: NDArray[np.float32], cells: Labelled, *, readouts: tuple[str, ...] = ("knn", "probe")
) -> list[dict[str, object]]:
    """Score codes of the labelled cells: one row per number of labels and readout, macro F1 of every draw."""
    rows: list[dict[str, object]] = []
    for n_labels in LABELS:
        found: dict[str, list[float]] = {r: [] for r in readouts}
        for reference, query in draws(cells, n_labels=n_labels):
            truth = cells.types[cells.labels[query]]
            for readout in readouts:
                named = name(readout, codes[reference], cells.labels[reference], codes[query])
                found[readout].append(round(classification_scores(truth, cells.types[named]).macro_f1, 4))
        rows += [{"n_labels": n_labels, "readout": r, "draws": scores} for r, scores in found.items()]
    return rows


def name(
    readout: str, reference: NDArray[np.float32], labels: NDArray[np.int64], query: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Name the query by the nearest neighbours, or by a logistic regression on standardised dimensions."""
    if readout == "knn":
        found: NDArray[np.int64] = vote(reference, labels, query, k=K).label
        return found
    from sklearn.linear_model import LogisticRegression

    mean, std = reference.mean(0), np.maximum(reference.std(0), 1e-6)
    probe = LogisticRegression(C=float(readout.partition(":")[2] or 1.0), max_iter=300)
    guessed: NDArray[np.int64] = probe.fit((reference - mean) / std, labels).predict((query - mean) / std)
    return guessed


def uses(codes: list[NDArray[np.float32]], pca: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return ways of using codes, made on all cells of the target without labels.

    ``code``: as they are, or beside each other if there are several. ``with pca``: beside the target's own principal
    components.
    """
    return {"code": codes[0] if len(codes) == 1 else beside(*codes), "with pca": beside(*codes, pca)}
