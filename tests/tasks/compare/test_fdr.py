"""Corrections for many tests against their definitions, spelled out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scssl.tasks.compare.fdr import adjusted, simes, within

P = st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=12).map(np.array)


def slow_adjusted(p):
    """The smallest rate at which each test is found when steps are gone through one by one."""
    tested = sorted(value for value in p if np.isfinite(value))
    n = len(tested)
    out = []
    for value in p:
        if not np.isfinite(value):
            out.append(np.nan)
            continue
        rates = [tested[k] * n / (k + 1) for k in range(n) if tested[k] >= value]
        out.append(min(1.0, min(rates)))
    return np.array(out)


@given(P)
def test_benjamini_hochberg(p):
    np.testing.assert_allclose(adjusted(p), slow_adjusted(p))


@given(P)
def test_simes_is_the_smallest_adjusted(p):
    tested = np.sort(p[np.isfinite(p)]) if len(p) else p
    if len(tested):
        assert simes(p) == min(1.0, min(len(tested) * value / (k + 1) for k, value in enumerate(tested)))
    else:
        assert np.isnan(simes(np.asarray(p, dtype=float)))


def test_of_one_test_simes_is_its_p_value():
    assert simes(np.array([0.03, np.nan])) == 0.03


@given(st.lists(st.lists(st.floats(1e-6, 1), min_size=1, max_size=5), min_size=1, max_size=6), st.floats(0.01, 0.5))
def test_within_is_the_procedure_of_benjamini_and_bogomolov(families, rate):
    families = [np.array(p) for p in families]
    questions = adjusted(np.array([simes(p) for p in families]))
    n_found = int((questions <= rate).sum())
    for p, question in zip(families, questions, strict=True):
        found = within(p, question=question, n_found=n_found, n_questions=len(families)) <= rate
        by_hand = (adjusted(p) <= rate * n_found / len(families)) & (question <= rate)
        # Where a value lies on the limit rounding decides; there they may differ.
        clear = np.abs(adjusted(p) - rate * n_found / len(families)) > 1e-9
        np.testing.assert_array_equal(found[clear], by_hand[clear])
