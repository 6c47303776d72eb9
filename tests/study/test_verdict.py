"""Verdicts over intervals made by hand: never stronger than the interval."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.study.bootstrap import Interval
from scssl.study.verdict import Comparison, judge, outcome, words


def made(low, high, *, unit="donor"):
    return Interval(estimate=(low + high) / 2, low=low, high=high, level=0.95, unit=unit, n_units=8)


def compared(low, high, against="the best simple baseline"):
    return Comparison(method="The pre-trained network", against=against, interval=made(low, high))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.02, 0.05, "better"),
        (0.001, 0.05, "better"),
        (0.001, 0.009, "same"),
        (-0.005, 0.008, "same"),
        (0.0, 0.0, "same"),
        (-0.01, 0.01, "same"),
        (-0.02, 0.03, "unclear"),
        (-0.001, 0.03, "unclear"),
        (0.0, 0.03, "unclear"),
        (-0.03, -0.001, "worse"),
        (-0.009, -0.001, "same"),
        (float("nan"), float("nan"), "unclear"),
    ],
)
def test_outcome_of_an_interval(low, high, expected):
    assert outcome(made(low, high), min_effect=0.01) == expected


UP, DOWN, LEVEL, WIDE = (0.02, 0.06), (-0.06, -0.02), (-0.004, 0.004), (-0.03, 0.05)


@pytest.mark.parametrize(
    ("scratch", "baseline", "word", "conclusive"),
    [
        (UP, UP, "helped", True),
        (UP, LEVEL, "helped the network only", True),
        (UP, DOWN, "helped the network only", True),
        (UP, WIDE, "helped the network only", True),
        (LEVEL, UP, "made no difference", True),
        (LEVEL, DOWN, "made no difference", True),
        (WIDE, UP, "made no difference", False),
        (WIDE, WIDE, "made no difference", False),
        (DOWN, UP, "hurt", True),
        (DOWN, DOWN, "hurt", True),
    ],
)
def test_verdict_of_two_comparisons(scratch, baseline, word, conclusive):
    verdict = judge(
        baseline=compared(*baseline),
        scratch=compared(*scratch, "the same network from scratch"),
        min_effect=0.01,
        limits=["There is one donor."],
    )
    assert (verdict.word, verdict.conclusive) == (word, conclusive)
    start = {"helped the network only": "helped the network,"}.get(word, word)
    assert verdict.sentences[0].startswith(f"Pre-training {start}")
    assert verdict.sentences[-1] == "There is one donor."
    plain = verdict.to_dict()
    assert plain["verdict"] == word
    assert plain["against_scratch"]["low"] == scratch[0]
    assert plain["against_baseline"]["outcome"] == outcome(made(*baseline), min_effect=0.01)


@pytest.mark.parametrize("scratch", [UP, LEVEL, DOWN])
def test_cells_of_too_few_donors_conclude_nothing(scratch):
    found = Comparison(method="a", against="b", interval=made(*scratch, unit="cell"))
    verdict = judge(baseline=found, scratch=found, min_effect=0.01)
    assert not verdict.conclusive
    assert " on these cells, of too few donors to speak of others" in verdict.sentences[0]


@given(low=st.floats(-0.5, 0.5), width=st.floats(0, 0.5), other=st.floats(-0.5, 0.5), effect=st.floats(0, 0.1))
@settings(deadline=None)
def test_never_stronger_than_the_interval(low, width, other, effect):
    scratch, baseline = compared(low, low + width, "scratch"), compared(other, other + width)
    verdict = judge(baseline=baseline, scratch=scratch, min_effect=effect)
    if verdict.word.startswith("helped"):
        assert low > 0
        assert low + width > effect
    if verdict.word == "helped":
        assert other > 0
    if verdict.word == "hurt":
        assert low + width < 0
    if verdict.word == "made no difference" and verdict.conclusive:
        assert -effect <= low
        assert low + width <= effect


def test_words_have_the_numbers_and_a_size_only_where_the_interval_shows_it():
    said = words(compared(0.02, 0.06), min_effect=0.01)
    assert "is better than the best simple baseline, by 0.01 or more" in said
    assert "+0.040" in said
    assert "+0.020 to +0.060" in said
    assert "or more" not in words(compared(0.002, 0.06), min_effect=0.01)
    assert "is worse" in words(compared(-0.06, -0.02), min_effect=0.01)
    assert "as good as" in words(compared(-0.002, 0.004), min_effect=0.01)
    assert "cannot be told from" in words(compared(-0.02, 0.04), min_effect=0.01)
