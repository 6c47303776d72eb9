"""What every command shares: its common options and the shape of its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cyclopts import Token

Device = Literal["auto", "cpu", "cuda", "mps"]


def _whole(kind: Any, tokens: Sequence[Token]) -> int:  # noqa: ARG001 (called by cyclopts)
    # cyclopts itself would round 1.5 to 2 and say nothing.
    text = tokens[0].value
    try:
        return int(text)
    except ValueError as error:
        message = f"{text!r} is not a whole number"
        raise ValueError(message) from error


Whole = Annotated[int, Parameter(converter=_whole)]
"""Every whole number that a command takes."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """Options that every command takes."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print one JSON object with the results on stdout (logs go to stderr)."""
    quiet: Annotated[bool, Parameter(negative="")] = False
    """Print no progress, only warnings and the result."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command hands back: `cli.app` prints it and exits."""

    result: dict[str, Any]
    """Plain values (str, int, float, bool, None, lists and dicts of them), printed by ``--json``."""
    text: str
    """The same for people, in rich markup: escape file contents with `rich.markup.escape`."""
    exit_code: int = 0
    """0 done, 2 not usable."""


def divided(text: str | None) -> list[str]:
    """Return the names that an option has between its commas.

    Parameters
    ----------
    text
        As given.

    Examples
    --------
    >>> divided("sex, age,"), divided(None)
    (['sex', 'age'], [])
    """
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def typed(path: Path) -> str:
    """Return a path as it is typed on a command line, in rich markup: quoted where a shell needs it.

    Parameters
    ----------
    path
        As given.
    """
    import shlex

    from rich.markup import escape

    return escape(shlex.quote(str(path)))
