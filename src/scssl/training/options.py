"""Options that a function does not have, answered with the one that is meant."""

from __future__ import annotations

import inspect
from dataclasses import fields
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from scssl.nn.architecture import Architecture
from scssl.training.config import Optimiser, Training

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

P = ParamSpec("P")
R = TypeVar("R")

OTHERWISE: Final = {"epochs": "max_epochs", "n_epochs": "max_epochs", "model": "init", "output": "out", "path": "out"}
"""What options are called elsewhere, to what they are called here."""
SHORT: Final = {"lr": "learning_rate", "latent": "n_latent"}
SECTIONS: Final = {"training": Training, "optimiser": Optimiser, "architecture": Architecture}


def with_advice(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function say what is meant by an option that it does not have.

    Parameters
    ----------
    function
        That takes ``overrides`` of the settings of a pre-training.

    Returns
    -------
    Callable
        The same; the `TypeError` for an unknown option names the option, or the setting, to give instead.
    """
    known = list(inspect.signature(function).parameters)

    @wraps(function)
    def call(*args: P.args, **given: P.kwargs) -> R:
        for name in given:
            if name not in known:
                message = f"{function.__name__}() has no option {name!r}{advice(name, known=known)}"
                raise TypeError(message)
        return function(*args, **given)

    return call


def advice(name: str, *, known: Collection[str]) -> str:
    """Return what to give instead, as the end of a sentence.

    Parameters
    ----------
    name
        The option that there is not.
    known
        Those that there are.

    Examples
    --------
    >>> advice("epochs", known=["max_epochs", "overrides"])
    '; give max_epochs=...'
    >>> advice("lr", known=["max_epochs", "overrides"])
    "; it is a setting, so give overrides=['optimiser.learning_rate=...']"
    """
    if OTHERWISE.get(name) in known:
        return f"; give {OTHERWISE[name]}=..."
    setting = SHORT.get(name, name)
    for section, settings in SECTIONS.items():
        if setting in {field.name for field in fields(settings)}:
            return f"; it is a setting, so give overrides=['{section}.{setting}=...']"
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}=...?" if close else f"; there are: {', '.join(known)}"
