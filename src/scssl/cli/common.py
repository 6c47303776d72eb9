"""What every command shares: its common options and the shape of its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

Device = Literal["auto", "cpu", "cuda", "mps"]


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
