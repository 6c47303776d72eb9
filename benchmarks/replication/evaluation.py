"""One scoring function with the choices of the paper's public evaluation as switches; all off, it is ours."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from benchmarks.replication.data import draw_donors
from scssl.metrics import classification_scores
from scssl.tasks.annotate.knn import nearest

if TYPE_CHECKING:
    from scssl import CellModel

K = 5


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the public evaluation does differently."""

    validation_reference: bool = False
    """Neighbours are sought among the cells of the validation split, not of the training split."""
    nearest_dropped: bool = False
    """One neighbour more is searched, and the nearest is taken for the query itself and dropped."""
    unequal_k: bool = False
    """Baselines that learn nothing by gradient are given one neighbour, pre-trained networks five."""
    relu: bool = False
    """The encoder runs with ReLU in place of the SELU that it was trained with."""
    donors_inside: bool = False
    """The target's cells, those of its test donors too, are in the pre-training corpus."""


NAMES = tuple(Choices.__dataclass_fields__)
SETTINGS: dict[str, Choices] = {
    "ours": Choices(),
    **{name: Choices(**{name: True}) for name in NAMES},
    "all_together": Choices(**dict.fromkeys(NAMES, True)),
}


def with_relu(model: CellModel) -> CellModel:
    """Return a copy of a model whose encoder applies ReLU after every hidden layer."""
    changed = deepcopy(model)
    layers = changed.task.encoder.layers
    for name, layer in layers.named_children():
        if isinstance(layer, nn.SELU):
            setattr(layers, name, nn.ReLU())
    return changed


def vote_of(neighbours: np.ndarray, *, n_classes: int) -> np.ndarray:
    """Return the most frequent code of each row; where codes are level the one whose first neighbour is nearer wins."""
    counts = np.zeros((len(neighbours), n_classes))
    # Ties by nearness: an earlier neighbour weighs a little more, never as much as one neighbour.
    for j in range(neighbours.shape[1]):
        counts[np.arange(len(neighbours)), neighbours[:, j]] += 1 + 1e-3 * 0.5**j
    return counts.argmax(1)


def score(
    codes: np.ndarray, labels: np.ndarray, donors: np.ndarray, *, choices: Choices, baseline: bool, draw: int
) -> float:
    """Return the macro-F1 on the test donors of one draw of donors.

    Parameters
    ----------
    codes
        (n_cells, n_latent) embedding of the target, made as `choices` say (activation, corpus).
    labels, donors
        (n_cells,) names.
    choices
        How to score.
    baseline
        Whether the method is one that `unequal_k` gives a single neighbour.
    draw
        Draws the donors.
    """
    parts = draw_donors(donors, draw=draw)
    reference = parts["val" if choices.validation_reference else "train"]
    query = parts["test"]
    k = 1 if choices.unequal_k and baseline else K
    dropped = int(choices.nearest_dropped)
    types, known = np.unique(labels, return_inverse=True)
    found, _ = nearest(codes[reference], codes[query], k=k + dropped)
    voted = vote_of(known[reference][found[:, dropped:]], n_classes=len(types))
    return float(classification_scores(types[known[query]], types[voted]).macro_f1)
