"""What the other checks of a run say, once its command was given again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scssl.model.capsule import Finding, State

ASK: Final = "repeat the run (--repeat)"
"""Advice of a check that cannot recompute all by itself."""
AFTERWARDS: Final[dict[State, str]] = {
    "same": "came out as before when the command was given again",
    "differs": "what came of giving the command again is under repeated",
    "unknown": "that takes the command, which could not be given again",
}
"""What a check says in place of the advice."""
UNSCORED: Final = "the run recorded no scores"
"""What a check of scores says in its place where there are none."""


def settled(
    found: Iterable[tuple[str, Finding]], repeated: Finding, *, place: str, scored: bool
) -> list[tuple[str, Finding]]:
    """Return the findings on a run with that of its repetition, which some of them asked for.

    Parameters
    ----------
    found
        Findings with their places.
    repeated
        What came of giving the command again.
    place
        What that command made: the others' commands were not given again.
    scored
        Scores are among what was compared.
    """
    others = f"the newest command alone was given again ({place})"
    after = [
        (where, _settle(one, repeated, scored=scored) if where == place else _left(one, others)) for where, one in found
    ]
    return [*after, ("", repeated)]


def _settle(finding: Finding, repeated: Finding, *, scored: bool) -> Finding:
    text = AFTERWARDS[repeated.state]
    if finding.what == "metrics" and finding.state == "unknown" and repeated.state == "same":
        # Where nothing was scored, that all else came out as before says nothing of scores.
        return replace(finding, state="same", text=text) if scored else _left(finding, UNSCORED)
    return _left(finding, text)


def _left(finding: Finding, text: str) -> Finding:
    return replace(finding, text=finding.text.replace(ASK, text))
