"""The hidden structure of a simulated atlas: tree of cell types, gene programmes with their drivers, conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

IDENTITY_SHARE = 0.7
"""Share of the programmes that tell cell types apart; the others vary from cell to cell in every type."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A binary tree of cell types."""

    nodes: pd.DataFrame
    """One row per node but the root: ``node``, ``parent``, ``depth`` (1 below the root), ``is_type``."""
    types: list[str]
    """Leaves from left to right, so that siblings are neighbours."""

    def path(self, node: str) -> list[int]:
        """Rows of `nodes` from below the root down to `node`."""
        row_of = {name: row for row, name in enumerate(self.nodes["node"])}
        path = []
        while node in row_of:
            path.append(row_of[node])
            node = str(self.nodes["parent"].iloc[row_of[node]])
        return path[::-1]


def grow_tree(n_types: int) -> Tree:
    """Split `n_types` leaves in halves until each stands alone."""
    types = [f"type_{i + 1}" for i in range(n_types)]
    rows: list[tuple[str, str, int, bool]] = []

    def split(leaves: list[str], parent: str, depth: int) -> None:
        if len(leaves) == 1:
            rows.append((leaves[0], parent, depth, True))
            return
        node = f"{leaves[0]}..{leaves[-1]}"
        rows.append((node, parent, depth, False))
        for part in _halves(leaves):
            split(part, node, depth + 1)

    for part in _halves(types) if n_types > 1 else [types]:
        split(part, "root", 1)
    return Tree(nodes=pd.DataFrame(rows, columns=["node", "parent", "depth", "is_type"]), types=types)


def _halves(leaves: list[str]) -> list[list[str]]:
    middle = (len(leaves) + 1) // 2
    return [leaves[:middle], leaves[middle:]]


@dataclass(frozen=True, kw_only=True)
class Programmes:
    """Gene programmes, the transcription factors (TFs) that drive them, and how active they are in each type.

    The activity of programme p in a cell is the weighted mean of the log expression of its TFs (their deviation from
    the gene's base level); target gene g follows with ``log rate = base + sum_p activity[p] * loadings[p, g]``.
    """

    names: list[str]
    is_identity: NDArray[np.bool_]
    """(n_programmes,) True where the programme tells cell types apart."""
    tf_genes: NDArray[np.int64]
    """(n_tfs,) position of each TF among the genes; every TF drives one programme."""
    tf_weights: NDArray[np.float32]
    """(n_tfs, n_programmes), columns sum to 1."""
    loadings: NDArray[np.float32]
    """(n_programmes, n_genes), zero outside the programme; TFs are never targets."""
    type_activity: NDArray[np.float32]
    """(n_types, n_programmes)."""

    def genes(self, programme: int) -> NDArray[np.int64]:
        """Positions of the target genes of a programme."""
        return np.flatnonzero(self.loadings[programme])

    def tfs(self, programme: int) -> NDArray[np.int64]:
        """Positions of the genes that drive a programme."""
        return self.tf_genes[self.tf_weights[:, programme] > 0]


def draw_programmes(
    tree: Tree,
    *,
    tf_of: list[list[int]],
    abundance: NDArray[np.floating],
    size: int,
    type_effect: float,
    labels: NDArray[np.str_],
    rng: np.random.Generator,
) -> Programmes:
    """Draw target genes and loadings of each programme, and let the branches of the tree switch programmes on.

    Parameters
    ----------
    tree
        Cell types.
    tf_of
        Per programme, the positions of the genes that drive it.
    abundance
        (n_genes,) base level of each gene; the most abundant twentieth (ribosomal, mitochondrial and the like in real
        cells) belongs to no programme, else single genes would take up whole cells.
    size
        Target genes per programme.
    type_effect
        Activity (in units of log expression of the TFs) that a branch of the tree adds, larger near the root.
    labels
        Gene symbols, for the names of the programmes.
    rng
        Source of random numbers.
    """
    n_programmes = len(tf_of)
    n_identity = max(1, round(IDENTITY_SHARE * n_programmes))
    tf_genes = np.concatenate([np.asarray(tfs, dtype=np.int64) for tfs in tf_of])
    tf_weights = np.zeros((len(tf_genes), n_programmes), dtype=np.float32)
    first = 0
    for p, tfs in enumerate(tf_of):
        tf_weights[first : first + len(tfs), p] = rng.dirichlet(np.full(len(tfs), 3.0))
        first += len(tfs)

    n_genes = len(abundance)
    targets = np.setdiff1d(np.flatnonzero(abundance <= np.quantile(abundance, 0.95)), tf_genes)
    loadings = np.zeros((n_programmes, n_genes), dtype=np.float32)
    for p in range(n_programmes):
        genes = rng.choice(targets, size=min(size, len(targets)), replace=False)
        sign = np.where(rng.random(len(genes)) < 0.85, 1, -1)
        # Never zero, so that a programme's genes can be read off its loadings.
        loadings[p, genes] = sign * np.clip(rng.gamma(2.0, 0.4, size=len(genes)), 0.05, 2.0)

    edges = np.zeros((len(tree.nodes), n_programmes), dtype=np.float32)
    for row, depth in enumerate(tree.nodes["depth"]):
        # Branches take turns, so that two siblings never lean on the same first programme unless there is only one.
        edges[row, row % n_identity] += type_effect * rng.uniform(0.8, 1.2) / np.sqrt(depth)
        edges[row, rng.integers(n_identity)] += type_effect * rng.normal(0, 0.3) / np.sqrt(depth)
    type_activity = np.stack([edges[tree.path(leaf)].sum(0) for leaf in tree.types])
    return Programmes(
        names=[f"programme_{p + 1:02d}_{labels[tfs[0]]}" for p, tfs in enumerate(tf_of)],
        is_identity=np.arange(n_programmes) < n_identity,
        tf_genes=tf_genes,
        tf_weights=tf_weights,
        loadings=loadings,
        type_activity=type_activity.astype(np.float32),
    )


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a condition does, against the control."""

    name: str
    programmes: NDArray[np.int64]
    """Programmes whose TFs are shifted."""
    types: NDArray[np.int64]
    """Types in which they are shifted; all other types stay as they are."""
    shift: float
    """Added to the log expression of those TFs, hence to the activity of the programmes."""
    composition: NDArray[np.float64]
    """(n_types,) log factor on the share of each type before the shares are made to sum to 1."""


def draw_condition(
    name: str,
    *,
    programmes: Programmes,
    effect: float,
    composition_effect: float,
    rng: np.random.Generator,
) -> Condition:
    """Draw which programmes a condition shifts in which types, and which types become more or less frequent."""
    n_types = programmes.type_activity.shape[0]
    state = np.flatnonzero(~programmes.is_identity)
    pool = state if len(state) else np.arange(len(programmes.names))
    types = rng.permutation(n_types)
    composition = np.zeros(n_types)
    composition[types[-1]] = composition_effect
    if n_types > 3:
        composition[types[-2]] = -composition_effect
    return Condition(
        name=name,
        programmes=np.sort(rng.choice(pool, size=min(2, len(pool)), replace=False)),
        types=np.sort(types[: max(1, round(n_types / 4))]),
        shift=effect,
        composition=composition,
    )
