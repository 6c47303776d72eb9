"""Between the linear probe and the fine-tuned network: how far to go is decided by cells that neither learned from.

Fine-tuning starts at the probe's solution (Kumar et al. 2022, doi 10.48550/arXiv.2202.10054), and what comes out is
averaged with it, weight by weight (Wortsman et al. 2021, doi 10.48550/arXiv.2109.01903). Share 0 is the probe itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scssl.log import logger
from scssl.tasks.annotate.calibrate import fit_temperature
from scssl.tasks.annotate.folds import make_folds
from scssl.tasks.annotate.labelled import choose_validation
from scssl.tasks.annotate.quantile import donor_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from scssl.training.finetuning import FineTuning

UNJUDGED = 0.5
"""Share that is taken, or the nearest to it, where no cell could be held out."""


class Division(NamedTuple):
    """Labelled cells to learn from, and others to judge by."""

    train: NDArray[np.bool_]
    """(n_labelled,)."""
    validation: NDArray[np.bool_]
    """(n_labelled,); all False where nothing is held out."""


class Choice(NamedTuple):
    """How far towards the fine-tuned weights, and why."""

    share: float
    """0: the probe on the frozen encoder; 1: the fine-tuned network."""
    losses: dict[float, float]
    """Per share the loss on held-out cells; empty where there were none."""


def divide(
    codes: NDArray[np.int64], donors: NDArray[np.int64] | None, *, settings: FineTuning, seed: int
) -> tuple[list[Division], bool]:
    """Divide labelled cells so that some can be judged by: all in turn where they are few, else some of them once.

    Parameters
    ----------
    codes
        (n_labelled,) labels.
    donors
        (n_labelled,) codes, -1 where not known; None to hold out cells one by one.
    settings
        Of the training.
    seed
        Of what is drawn.

    Returns
    -------
    divisions : list of Division
        At least one; several where all cells are held out in turn.
    by_donor : bool
        Whether whole donors are held out.
    """
    once = settings.val == 0 or settings.patience > 0 or len(codes) > settings.cross_fitted
    if once:
        validation, by_donor = choose_validation(codes, donors, share=settings.val, seed=seed)
        return [Division(~validation, validation)], by_donor
    found = _folds(codes, donors, seed=seed)
    if donors is not None and _n_judged(codes, found) < 2:
        logger.warning("cells, not donors, are held out: fewer than two labels are of more than one donor")
        donors, found = None, _folds(codes, None, seed=seed)
    if not found:
        found = [Division(np.ones(len(codes), dtype=bool), np.zeros(len(codes), dtype=bool))]
    return found, donors is not None


def _folds(codes: NDArray[np.int64], donors: NDArray[np.int64] | None, *, seed: int) -> list[Division]:
    fold = make_folds(codes, donors, seed=seed)
    found = []
    for number in range(int(fold.max(initial=-1)) + 1):
        # Cells of unknown donor may be of any, and a label that is not learned cannot be found.
        train = (fold >= 0) & (fold != number)
        validation = (fold == number) & np.isin(codes, codes[train])
        if validation.any() and len(np.unique(codes[train])) > 1:
            found.append(Division(train, validation))
    return found


def _n_judged(codes: NDArray[np.int64], divisions: list[Division]) -> int:
    return len({int(code) for division in divisions for code in np.unique(codes[division.validation])})


def choose(
    shares: Sequence[float],
    log_scores: Sequence[NDArray[np.floating]],
    *,
    codes: NDArray[np.int64],
    donors: NDArray[np.int64] | None,
) -> Choice:
    """Choose the smallest share that is within one standard error of the best on held-out cells.

    Held-out donors are still of the reference: what they hardly speak for is not worth going further from the encoder
    that has seen more. The rule is that of Breiman et al. 1984 (*Classification and Regression Trees*, 3.4.3); the
    standard error is that of the difference, cell by cell.

    Parameters
    ----------
    shares
        Those that compete.
    log_scores
        Per share (n_held_out, n_classes).
    codes
        (n_held_out,) labels.
    donors
        (n_held_out,) codes of donors, who count the same; None where cells do.
    """
    if not len(codes):
        return Choice(min(shares, key=lambda share: (abs(share - UNJUDGED), share)), {})
    weights = donor_weights(donors, n_cells=len(codes))
    each = {
        share: held_out_losses(scores, codes=codes, donors=donors)
        for share, scores in zip(shares, log_scores, strict=True)
    }
    losses = {share: float(weights @ loss) for share, loss in each.items()}
    best = min(losses, key=lambda share: (losses[share], share))

    def close(share: float) -> bool:
        excess = each[share] - each[best]
        mean = losses[share] - losses[best]
        return mean <= float(np.sqrt(np.sum((weights * (excess - mean)) ** 2)))

    return Choice(min(share for share in shares if share == best or close(share)), losses)


def held_out_losses(
    log_scores: NDArray[np.floating], *, codes: NDArray[np.int64], donors: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Return the cross-entropy of each cell, at the temperature that suits all of them best.

    Parameters
    ----------
    log_scores
        (n_cells, n_classes).
    codes
        (n_cells,) labels.
    donors
        (n_cells,) codes of donors, who count the same; None where cells do.
    """
    z = log_scores.astype(np.float64) / fit_temperature(log_scores, codes=codes, donors=donors)
    z -= z.max(axis=1, keepdims=True)
    loss: NDArray[np.float64] = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(codes)), codes]
    return loss


def blended(start: Mapping[str, Tensor], end: Mapping[str, Tensor], *, share: float) -> dict[str, Tensor]:
    """Average two sets of weights.

    Parameters
    ----------
    start, end
        Weights by name.
    share
        Weight of `end`; what is not a floating-point number is taken from it.
    """
    if share == 0:
        return dict(start)
    return {
        name: value.lerp(end[name], share) if value.is_floating_point() else end[name] for name, value in start.items()
    }
