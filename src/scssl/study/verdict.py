"""The verdict: what the intervals allow to be said, in plain words and never more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scssl.study.bootstrap import Interval

Outcome = Literal["better", "worse", "same", "unclear"]
Word = Literal["helped", "helped the network only", "made no difference", "hurt"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One method against another on the same cells."""

    method: str
    against: str
    interval: Interval
    """Of the difference: above 0 if `method` is better."""

    def to_dict(self, *, min_effect: float) -> dict[str, Any]:
        """Return plain values.

        Parameters
        ----------
        min_effect
            Smallest difference that matters.
        """
        said = {"outcome": outcome(self.interval, min_effect=min_effect), "words": words(self, min_effect=min_effect)}
        return {"method": self.method, "against": self.against, **self.interval.to_dict(), **said}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the study found."""

    word: Word
    conclusive: bool
    """False if "made no difference" only means that none could be shown, as the interval leaves room for one; and if
    cells were resampled, not donors."""
    sentences: list[str]
    """In plain words, the verdict first."""
    baseline: Comparison
    scratch: Comparison
    min_effect: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "verdict": self.word,
            "conclusive": self.conclusive,
            "sentences": self.sentences,
            "min_effect": self.min_effect,
            "against_baseline": self.baseline.to_dict(min_effect=self.min_effect),
            "against_scratch": self.scratch.to_dict(min_effect=self.min_effect),
        }


_WORTH: Final[dict[Outcome, str]] = {
    "worse": "a simple baseline is better still",
    "same": "a simple baseline does as well",
    "unclear": "these cells cannot tell whether by more than a simple baseline",
}


def outcome(interval: Interval, *, min_effect: float) -> Outcome:
    """Say what an interval of a difference allows to be said.

    Parameters
    ----------
    interval
        Of the difference.
    min_effect
        Smallest difference that matters.

    Returns
    -------
    str
        ``"same"``: the whole interval lies within the smallest difference that matters; ``"better"``, ``"worse"``: it
        lies on one side of 0, and reaches a difference that matters; ``"unclear"``: anything else.
    """
    if interval.low >= -min_effect and interval.high <= min_effect:
        return "same"
    if interval.low > 0:
        return "better"
    if interval.high < 0:
        return "worse"
    return "unclear"


def words(comparison: Comparison, *, min_effect: float) -> str:
    """Say a comparison in a sentence, with its numbers.

    Parameters
    ----------
    comparison
        What was compared.
    min_effect
        Smallest difference that matters.
    """
    found, pair = comparison.interval, (comparison.method, comparison.against)
    numbers = f"macro F1 {found.estimate:+.3f}, {found.level:.0%} interval {found.low:+.3f} to {found.high:+.3f}"
    at_least = f", by {min_effect:g} or more" if min(abs(found.low), abs(found.high)) >= min_effect else ""
    sentence = {
        "better": "{} is better than {}" + at_least,
        "worse": "{} is worse than {}" + at_least,
        "same": "{} is as good as {}" + f", within {min_effect:g}",
        "unclear": "{} cannot be told from {} on these cells",
    }[outcome(found, min_effect=min_effect)]
    return f"{sentence.format(*pair)} ({numbers})."


def judge(
    *,
    baseline: Comparison,
    scratch: Comparison,
    min_effect: float,
    limits: Sequence[str] = (),
) -> Verdict:
    """Put the two comparisons together.

    What pre-training did is the difference to the same network trained from scratch. Whether it was worth it is the
    difference to the best simple baseline.

    Parameters
    ----------
    baseline
        Pre-trained network against the best simple baseline.
    scratch
        Pre-trained network against the same network from scratch.
    min_effect
        Smallest difference that matters.
    limits
        Sentences on what the numbers do not cover, said after the verdict.
    """
    by_scratch = outcome(scratch.interval, min_effect=min_effect)
    by_baseline = outcome(baseline.interval, min_effect=min_effect)
    over = f"{_amount(scratch.interval)} against the same network from scratch"
    # An interval over cells is narrow because cells are many, whatever other donors may be like.
    by_donors = scratch.interval.unit == "donor"
    here = "" if by_donors else " on these cells, of too few donors to speak of others"
    word: Word
    if by_scratch == "better" and by_baseline == "better":
        word, first = "helped", f"Pre-training helped{here}: {over}, and better than the best simple baseline."
    elif by_scratch == "better":
        word, first = (
            "helped the network only",
            f"Pre-training helped the network{here}, {over}, but {_WORTH[by_baseline]}.",
        )
    elif by_scratch == "worse":
        word, first = "hurt", f"Pre-training hurt{here}: {over}."
    elif by_scratch == "same":
        word, first = "made no difference", f"Pre-training made no difference that matters{here}: {over}."
    else:
        word = "made no difference"
        first = f"Pre-training made no difference that these cells can show: {over}; either sign is possible."
    sentences = [first, words(scratch, min_effect=min_effect), words(baseline, min_effect=min_effect), *limits]
    return Verdict(
        word=word,
        conclusive=by_scratch != "unclear" and by_donors,
        sentences=sentences,
        baseline=baseline,
        scratch=scratch,
        min_effect=min_effect,
    )


def _amount(interval: Interval) -> str:
    return (
        f"{interval.estimate:+.3f} macro F1 ({interval.level:.0%} interval {interval.low:+.3f} to {interval.high:+.3f})"
    )
