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


def settled(found: Iterable[tuple[str, Finding]], repeated: Finding, *, place: str) -> list[tuple[str, Finding]]:
    """Return the findings on a run with that of its repetition, which some of them asked for.

    Parameters
    ----------
    found
        Findings with their places.
    repeated
        What came of giving the command again.
    place
        What that command made: the others' commands were not given again.
    """
    others = f"the newest command alone was given again ({place})"
    after = [(where, _settle(one, repeated) if where == place else _left(one, others)) for where, one in found]
    return [*after, ("", repeated)]


def _settle(finding: Finding, repeated: Finding) -> Finding:
    text = AFTERWARDS[repeated.state]
    if finding.what == "metrics" and finding.state == "unknown" and repeated.state == "same":
        # What was recorded is among what was compared.
        return replace(finding, state="same", text=text)
    return _left(finding, text)


def _left(finding: Finding, text: str) -> Finding:
    return replace(finding, text=finding.text.replace(ASK, text))
