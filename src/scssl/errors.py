"""Errors that a user can act on: one message that names the file, the key, the value and the fix."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType


class ScsslError(Exception):
    """A mistake in the input or the settings; the command line prints its message and exits with code 2."""


class DataError(ScsslError):
    """The cells or genes given cannot be used as they are (log values given as counts, unknown genes, ...)."""


class FormatError(ScsslError):
    """A corpus, model or data file is not what it should be (truncated, altered, of an unknown version, ...)."""


class SettingsError(ScsslError):
    """An option has a value that is not possible; the message lists those that are."""


class MissingExtraError(ScsslError, ImportError):
    """An optional package is missing; the message has the ``pip install`` line."""


def require(name: str, value: object, *, holds: bool, must: str) -> None:
    """Refuse a setting whose value is not possible.

    Parameters
    ----------
    name, value
        The setting as the user knows it, and what it was given.
    holds
        Whether the value is possible.
    must
        What it must be, to end the sentence "... it must be".

    Raises
    ------
    SettingsError
        If it is not.
    """
    if not holds:
        message = f"{name} is {value!r}; it must be {must}"
        raise SettingsError(message)


def require_column(columns: Iterable[object], column: str, *, file: object, role: str = "", instead: str = "") -> None:
    """Refuse a column of ``obs`` that is not there.

    Parameters
    ----------
    columns
        Those there are.
    column
        The one that was asked for.
    file
        Where, for the message.
    role, instead
        What it should hold, after its name, and what else can be done, at the end; "" for nothing.

    Raises
    ------
    DataError
        If it is not there; says which are.
    """
    names = list(columns)
    if column not in names:
        message = f"{file}: obs has no column {column!r}{role and f' {role}'}; there are: "
        message += (", ".join(map(str, names)) or "none") + (instead and f"; {instead}")
        raise DataError(message)


def import_extra(module: str, *, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Parameters
    ----------
    module
        Dotted name of the module.
    extra
        Extra of scssl that installs it.

    Raises
    ------
    MissingExtraError
        If the module is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        top = module.split(".")[0]
        if error.name != top:
            raise
        message = f"{top} is needed for this and is not installed. Run: pip install 'scssl[{extra}]'"
        raise MissingExtraError(message) from error
