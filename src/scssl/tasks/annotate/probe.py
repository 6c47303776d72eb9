"""Probe: multinomial logistic regression on the frozen embedding; and the linear layer that fine-tuning ends in too."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.tasks.annotate.settings import ClassWeight

MAX_ITERATIONS = 300
BELOW = 20.0
"""How far, in natural logarithms, a label without cells scores below the mean of the others."""


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """One linear layer from the embedding to the scores of the labels."""

    weight: NDArray[np.float32]
    """(n_classes, n_latent)."""
    bias: NDArray[np.float32]
    """(n_classes,)."""

    def log_scores(self, embedding: NDArray[np.floating]) -> NDArray[np.float32]:
        """Score cells.

        Parameters
        ----------
        embedding
            (n_cells, n_latent).

        Returns
        -------
        numpy.ndarray
            (n_cells, n_classes) float32.
        """
        scores: NDArray[np.float32] = np.asarray(embedding, dtype=np.float32) @ self.weight.T + self.bias
        return scores

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return weight and bias."""
        return {"weight": self.weight, "bias": self.bias}


def learn_probe(
    embedding: NDArray[np.floating],
    codes: NDArray[np.int64],
    *,
    n_classes: int,
    class_weight: ClassWeight = "balanced",
    penalty: float = 1.0,
) -> LinearHead:
    """Learn a multinomial logistic regression on the standardised embedding.

    Standardising is folded into the weights, so that what comes back acts on the embedding itself.

    Parameters
    ----------
    embedding
        (n_cells, n_latent).
    codes
        (n_cells,) labels from 0.
    n_classes
        Labels there are; those without a cell are never chosen.
    class_weight
        ``"balanced"``: all labels weigh the same in all; ``"none"``: all cells do.
    penalty
        Weight of half the squared norm of the coefficients against the summed loss of the cells.

    Returns
    -------
    LinearHead
        Weights for all `n_classes` labels.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    values = np.asarray(embedding, dtype=np.float64)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale[scale == 0] = 1.0
    present, local = np.unique(codes, return_inverse=True)
    weight, bias = np.zeros((len(present), values.shape[1])), np.zeros(len(present))
    if len(present) > 1:
        regression = LogisticRegression(
            C=1.0 / penalty,
            class_weight="balanced" if class_weight == "balanced" else None,
            max_iter=MAX_ITERATIONS,
        )
        with warnings.catch_warnings():
            # The last digits of the coefficients do not matter to the labels.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Codes are labels, however many of them there are.
            warnings.filterwarnings("ignore", message="The number of unique classes")
            regression.fit((values - mean) / scale, local)
        if len(present) == 2:
            # One row of coefficients stands for both labels: sigmoid(s) is softmax(-s / 2, s / 2).
            weight = np.concatenate([-regression.coef_, regression.coef_]) / 2
            bias = np.concatenate([-regression.intercept_, regression.intercept_]) / 2
        else:
            weight, bias = regression.coef_, regression.intercept_
    weight = weight / scale
    bias = bias - weight @ mean
    return _spread(weight, bias, present, n_classes=n_classes)


def _spread(
    weight: NDArray[np.float64], bias: NDArray[np.float64], present: NDArray[np.int64], *, n_classes: int
) -> LinearHead:
    """Put the rows of the labels present at their places."""
    # A label without cells scores what the others do on average, less what no rounding makes up for.
    whole = np.repeat(weight.mean(axis=0, keepdims=True), n_classes, axis=0)
    shift = np.full(n_classes, bias.mean() - BELOW)
    whole[present], shift[present] = weight, bias
    return LinearHead(weight=whole.astype(np.float32), bias=shift.astype(np.float32))
