"""The settings of an annotator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from scssl.errors import SettingsError, require
from scssl.training.finetuning import FineTuning

Mode = Literal["zero_shot", "probe", "finetune", "scratch"]
ClassWeight = Literal["balanced", "none"]
Calibrate = Literal["auto", "never"]


@dataclass(frozen=True, kw_only=True)
class AnnotatorSettings:
    """How labels are found, and how they are judged."""

    mode: Mode = "zero_shot"
    """``zero_shot``: nearest neighbours vote; ``probe``: logistic regression on the embedding; ``finetune``: encoder
    and a linear head are trained on the labels; ``scratch``: the same network, from random weights."""
    k: int = 5
    """Neighbours that vote, in ``zero_shot``."""
    class_weight: ClassWeight = "balanced"
    """In the modes that learn: ``balanced``: all labels weigh the same in all; ``none``: all cells do."""
    calibrate: Calibrate = "auto"
    """``never`` leaves out all that is learned from held-out donors: raw probabilities, no sets, no rejection."""
    error_rate: float = 0.1
    """Share of cells whose label set may miss the true label; 0 for no label sets."""
    error_budget: float = 0.05
    """Share of cells of known types that may be rejected as unknown; 0 never rejects."""
    finetuning: FineTuning = field(default_factory=FineTuning)
    """Of the training, in ``finetune`` and ``scratch``."""

    def __post_init__(self) -> None:
        for name, kind in (("mode", Mode), ("class_weight", ClassWeight), ("calibrate", Calibrate)):
            if getattr(self, name) not in get_args(kind):
                message = f"{name} {getattr(self, name)!r} is not known; choose one of: {', '.join(get_args(kind))}"
                raise SettingsError(message)
        if self.k < 1:
            message = f"k is {self.k}; at least one neighbour has to vote"
            raise SettingsError(message)
        for name in ("error_rate", "error_budget"):
            value = getattr(self, name)
            require(name, value, holds=0 <= value < 1, must="a share: 0 or more, and less than 1")
