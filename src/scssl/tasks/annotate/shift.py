"""Queries that lie away from the reference as a whole: other chemistry, other handling, other genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scssl.log import logger
from scssl.tasks.annotate.unknown import FAR

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 0.5
"""Share of a query that has to be far from the reference, to count as lying away as a whole."""
SURE, SURE_IF_TRAINED = 0.15, 0.25
"""How far below that of held-out reference cells the mean confidence of such a query may be, to be of known types. Told
blood of other laboratories from pancreas and brain, with blood as the reference. A trained encoder has stopped when it
was best on the held-out cells, and falls further on all others."""


def settle_shift(
    reasons: NDArray[np.object_], confidence: NDArray[np.floating], *, held_out: float, trained: bool, file: str
) -> tuple[NDArray[np.object_], str]:
    """Decide what it means that most cells of a query are far from every reference cell.

    The budget of wrong rejections holds for new donors of the reference's own data set. Between data sets everything
    moves, cells of known types too, and a limit on the distance would reject nearly all of them. Where labels are still
    about as sure as on held-out reference cells, the query is taken to be of known types, and distance rejects none of
    it. Where they are not, the reference has not the types of this query, and the rejections stay.

    Parameters
    ----------
    reasons
        (n_cells,) why cells were rejected, "" where not.
    confidence
        (n_cells,) calibrated probability of the best guess.
    held_out
        Mean of it over held-out reference cells.
    trained
        Whether the encoder was trained on labels.
    file
        What the query is called in messages.

    Returns
    -------
    reasons : numpy.ndarray
        (n_cells,) as they were, or without `FAR`.
    note : str
        ``"by distance"``, or what was decided.
    """
    far = reasons == FAR
    if not len(far) or far.mean() <= MOST:
        return reasons, "by distance"
    mean = float(np.mean(confidence))
    if mean >= held_out - (SURE_IF_TRAINED if trained else SURE):
        logger.warning(
            "%s: %.0f %% of the cells are farther from the reference than its own held-out cells are, as "
            "happens with another chemistry or other genes, though labels are about as sure (%.2f on average; %.2f on "
            "held-out reference cells): none is called unknown for its distance, and types that the reference lacks go "
            "unnoticed. A reference of several data sets, one of this kind among them, would tell",
            file, 100 * far.mean(), mean, held_out,
        )  # fmt: skip
        return np.where(far, "", reasons).astype(object), "not by distance: the query lies away as a whole"
    logger.warning(
        "%s: %.0f %% of the cells are far from the reference, and labels are unsure (%.2f on average; %.2f on held-out "
        "reference cells): the reference does not seem to have the types of these cells, or query and reference share "
        "too few of the model's genes",
        file, 100 * far.mean(), mean, held_out,
    )  # fmt: skip
    return reasons, "by distance: the query does not seem to be of the reference's types"
