"""Tests of values that samples have: a t test with moderated variances, and permutation of the conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.tasks.compare.layout import Layout
    from scssl.tasks.compare.permute import Assignments

LEVEL: Final = 0.95
"""Of every interval."""
LENT: Final = 9.0
"""Degrees of freedom that tests lend each other at most: as many as where logarithms of variances differ by half (s.d.
0.5), which DESeq2 takes for the least. A few tests that go together cannot tell that their variances are the same."""
AT_ONCE: Final = 1 << 22
"""Numbers held at a time while permuting."""


class Moderated(NamedTuple):
    """Differences between the conditions, one per test."""

    effect: NDArray[np.float64]
    """(n_tests,) case minus control, covariates equal."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """(n_tests,) ends of the 95 % interval."""
    p: NDArray[np.float64]
    spread: NDArray[np.float64]
    """(n_tests,) standard deviation between donors, moderated."""


def moderated_t(
    values: NDArray[np.floating], layout: Layout, *, least: NDArray[np.floating] | None = None
) -> Moderated:
    """Test differences between conditions by a t test whose variances lend each other strength.

    With few donors each variance is known badly. Those of all tests together tell what a usual variance is, and each
    is drawn towards it as far as the data say (limma; Smyth 2004, doi 10.2202/1544-6115.1027).

    Parameters
    ----------
    values
        (n_samples, n_tests).
    layout
        The samples.
    least
        (n_tests,) variance that counting alone makes, below which none is taken: rare types and genes vary more than
        the usual one.
    """
    from scipy.stats import t

    contrast = layout.contrast
    scale = float(contrast @ contrast)
    effect = contrast @ values / scale
    left = layout.residuals(values) - np.outer(contrast, effect)
    variance = (left**2).sum(axis=0) / layout.df
    prior, worth = prior_variance(variance, df=layout.df)
    prior_df = min(worth, LENT)
    posterior = (prior_df * prior + layout.df * variance) / (prior_df + layout.df)
    if least is not None:
        posterior = np.maximum(posterior, least)
    df = min(layout.df + prior_df, float(layout.df * len(variance)))
    error = np.sqrt(np.maximum(posterior, 1e-300) / scale)
    reach = error * t.ppf((1 + LEVEL) / 2, df)
    p = 2 * t.sf(np.abs(effect) / error, df)
    return Moderated(effect, effect - reach, effect + reach, p, np.sqrt(posterior))


def prior_variance(variance: NDArray[np.floating], *, df: int) -> tuple[float, float]:
    r"""Fit a scaled F distribution to variances: :math:`s^2 \sim s_0^2 F_{d, d_0}`, by the moments of their logarithms.

    Parameters
    ----------
    variance
        (n_tests,) each with `df` degrees of freedom.
    df
        Degrees of freedom of each.

    Returns
    -------
    variance : float
        The usual one, :math:`s_0^2`.
    df : float
        Degrees of freedom that it is worth, :math:`d_0`: infinite where the variances differ no more than chance makes
        them, 0 with fewer than three to learn from.
    """
    from scipy.special import digamma, polygamma

    usable = variance[np.isfinite(variance) & (variance > 0)]
    if len(usable) < 3:
        return 1.0, 0.0
    # A variance of almost nothing says that values hardly vary, not that its logarithm is to be believed.
    logs = np.log(np.maximum(usable, 1e-5 * np.median(usable)))
    centred = logs - digamma(df / 2) + np.log(df / 2)
    mean = float(centred.mean())
    excess = float(centred.var(ddof=1) - polygamma(1, df / 2))
    if excess <= 0:
        return float(np.exp(mean)), float("inf")
    half = inverse_trigamma(excess)
    return float(np.exp(mean + digamma(half) - np.log(half))), 2 * half


def inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value by Newton's method on 1 / trigamma, which is nearly a straight line.

    Parameters
    ----------
    value
        Above 0.

    Examples
    --------
    >>> from scipy.special import polygamma
    >>> round(inverse_trigamma(float(polygamma(1, 3.5))), 6)
    3.5
    """
    from scipy.special import polygamma

    if value > 1e7:
        return float(1 / np.sqrt(value))
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        slope = float(polygamma(1, x))
        step = slope * (1 - slope / value) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-10:
            break
    return x


def permuted(
    values: NDArray[np.floating],
    layout: Layout,
    ways: Assignments,
    *,
    signs: NDArray[np.floating] | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return p-values by permuting the conditions among donors.

    Conditions are exchanged within strata: between the two samples of a donor if they are paired (sign flips), between
    donors of the same levels of the covariates. That is exact. With covariates that are numbers it is the residuals
    that are permuted (Freedman and Lane 1983, doi 10.1080/07350015.1983.10509354), which is approximate, and no p-value
    below what exchanging the conditions allows is given.

    Parameters
    ----------
    values
        (n_samples, n_tests) one test per column.
    layout
        The samples.
    ways
        Of handing out the conditions.
    signs
        (n_columns,): the columns are coordinates of one test, in a space whose squared lengths have these signs.
    seed
        Of permutations of residuals.

    Returns
    -------
    numpy.ndarray
        (n_tests,) two-sided; (1,) with `signs`.
    """
    left = layout.residuals(np.asarray(values, dtype=np.float64))
    n_ways, n = ways.labels.shape
    rows = max(1, AT_ONCE // max(n * max(layout.basis.shape[1], 1), left.shape[1], 1))
    rng = np.random.default_rng([seed, 0xF1])
    found = []
    for start in range(0, n_ways, rows):
        if layout.continuous:
            order = _orders(layout.strata, n=min(rows, n_ways - start), observed=start == 0, rng=rng)
            contrast = layout.contrast[order]
            taken = np.einsum("wnq,nk->wqk", layout.basis[order], left)
            total = (left**2).sum(axis=0) - (taken**2).sum(axis=1)
        else:
            condition = ways.labels[start : start + rows].astype(np.float64)
            contrast = condition - (condition @ layout.basis) @ layout.basis.T
            total = np.broadcast_to((left**2).sum(axis=0), (len(contrast), left.shape[1]))
        explained = (contrast @ left) ** 2 / (contrast**2).sum(axis=1, keepdims=True)
        # The share explained orders the ways as F does. In a space with negative squares, shares mean nothing.
        found.append(explained / np.maximum(total, 1e-300) if signs is None else (explained @ signs)[:, None])
    statistic = np.concatenate(found)
    p = np.array([ways.p_value(column) for column in statistic.T])
    return np.maximum(p, ways.smallest) if layout.continuous else p


def _orders(strata: NDArray[np.integer], *, n: int, observed: bool, rng: np.random.Generator) -> NDArray[np.int64]:
    order = np.tile(np.arange(len(strata)), (n, 1))
    for code in np.unique(strata):
        rows = np.flatnonzero(strata == code)
        order[:, rows] = rows[rng.random((n, len(rows))).argsort(axis=1)]
    if observed:
        order[0] = np.arange(len(strata))
    return order
