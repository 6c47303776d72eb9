"""The settings of an integrator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from scssl.errors import SettingsError, require

Mode = Literal["zero_shot", "finetune"]
Correct = Literal["clusters", "centre", "none"]

LARGEST: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class IntegratorSettings:
    """How batches are brought together."""

    mode: Mode = "zero_shot"
    """``zero_shot``: the encoder stays as it is; ``finetune``: it first goes on with its training on the cells of the
    study, without labels, the decoder told their batch."""
    correct: Correct = "clusters"
    """What is done to the codes: ``clusters``: in each of many overlapping clusters the batches are moved together
    (Harmony's model); ``centre``: each batch is moved as a whole onto the mean of all; ``none``: nothing."""
    steps: int = 500
    """Steps of the training in ``finetune``; an epoch is finished."""

    def __post_init__(self) -> None:
        for name, kind in (("mode", Mode), ("correct", Correct)):
            if getattr(self, name) not in get_args(kind):
                message = f"{name} {getattr(self, name)!r} is not known; choose one of: {', '.join(get_args(kind))}"
                raise SettingsError(message)
        holds = isinstance(self.steps, int) and 1 <= self.steps <= LARGEST
        require("steps", self.steps, holds=holds, must=f"a whole number from 1 to {LARGEST:,}")
