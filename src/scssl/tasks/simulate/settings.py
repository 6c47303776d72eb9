"""The settings of a simulator."""

from __future__ import annotations

from dataclasses import dataclass

from scssl.errors import SettingsError
from scssl.tasks.simulate.baselines import BASELINES
from scssl.tasks.simulate.predict import MODEL

AUTO = "auto"
METHODS = (AUTO, MODEL, *BASELINES)


@dataclass(frozen=True, kw_only=True)
class SimulatorSettings:
    """How a simulator predicts."""

    method: str = AUTO
    """``model``, the name of a baseline, or ``auto``: the model where it beat every baseline on groups left out of the
    training cells, else the baseline that did best there."""
    confidence: float = 0.9
    """Of the interval by which the model has to beat the best baseline: its lower end is above 0."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            message = f"method {self.method!r} is not known; choose one of: {', '.join(METHODS)}"
            raise SettingsError(message)
        if not 0 < self.confidence < 1:
            message = f"confidence is {self.confidence}; it must be between 0 and 1"
            raise SettingsError(message)
