"""Many tests at once: Benjamini-Hochberg, Simes, and both together for questions that hold many tests each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def adjusted(p: NDArray[np.floating]) -> NDArray[np.float64]:
    """Adjust p-values by Benjamini and Hochberg (1995, doi 10.1111/j.2517-6161.1995.tb02031.x).

    Parameters
    ----------
    p
        (n_tests,) p-values; NaN for what was not tested, which does not count.

    Returns
    -------
    numpy.ndarray
        (n_tests,) the smallest false discovery rate at which each test is found; NaN where `p` is.

    Examples
    --------
    >>> adjusted(np.array([0.01, 0.04, 0.03, np.nan])).round(3).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    found = np.full(len(p), np.nan)
    rows = np.flatnonzero(np.isfinite(p))
    if not len(rows):
        return found
    order = rows[np.argsort(-p[rows], kind="stable")]
    n = len(rows)
    steps = p[order] * n / np.arange(n, 0, -1)
    found[order] = np.minimum(np.minimum.accumulate(steps), 1.0)
    return found


def simes(p: NDArray[np.floating]) -> float:
    """Return the p-value of "nothing at all differs" by Simes (1986, doi 10.1093/biomet/73.3.751).

    Parameters
    ----------
    p
        (n_tests,) p-values; NaN for what was not tested. Of one test it is that test's.

    Returns
    -------
    float
        NaN if nothing was tested.
    """
    tested = p[np.isfinite(p)]
    return float(adjusted(tested).min()) if len(tested) else float("nan")


def within(p: NDArray[np.floating], *, question: float, n_found: int, n_questions: int) -> NDArray[np.float64]:
    """Adjust the tests of one question, one of several of which some were found.

    Selecting questions first spends part of the error budget: a test counts as found at a rate only if its question
    is, and its own adjusted value is below the rate times the share of questions found (Benjamini and Bogomolov 2014,
    doi 10.1111/rssb.12028). So the mean share of false findings over the questions found stays below the rate.

    Parameters
    ----------
    p
        (n_tests,) p-values of the tests of the question.
    question
        Adjusted p-value of the question.
    n_found, n_questions
        Questions found at the rate that was chosen, and all.
    """
    spent = adjusted(p) * n_questions / max(n_found, 1)
    return np.minimum(np.maximum(spent, question), 1.0)
