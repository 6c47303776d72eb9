"""The settings of a reconstructor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from scssl.errors import SettingsError, require

Mode = Literal["zero_shot", "finetune", "scratch"]
Likelihood = Literal["model", "nb", "zinb", "poisson", "mse"]


@dataclass(frozen=True, kw_only=True)
class ReconstructorSettings:
    """Where the network comes from that expression is read from."""

    mode: Mode = "zero_shot"
    """``zero_shot``: the pre-trained model as it is; ``finetune``: its pre-training goes on with the reference;
    ``scratch``: the same network learns from the reference alone, from random weights."""
    loss: Likelihood = "model"
    """What is predicted, in the modes that train: counts (``nb``, ``zinb``, ``poisson``) or log values (``mse``).
    ``model``: what the model predicts already; ``nb`` if it predicts neither."""
    epochs: int = 0
    """Passes over the reference; 0 for as many as make 1,000 steps in ``finetune`` and 2,000 in ``scratch``."""
    source: str = ""
    """Source of the model's corpus that the cells are of, for decoders that are told it; "" for one that is new."""

    def __post_init__(self) -> None:
        for name, kind in (("mode", Mode), ("loss", Likelihood)):
            if getattr(self, name) not in get_args(kind):
                message = f"{name} {getattr(self, name)!r} is not known; choose one of: {', '.join(get_args(kind))}"
                raise SettingsError(message)
        require("epochs", self.epochs, holds=self.epochs >= 0, must="a number of passes; 0 lets the cells decide")
        for name, default in (("loss", "model"), ("epochs", 0)):
            if self.mode == "zero_shot" and getattr(self, name) != default:
                message = f"{name} has no effect in mode 'zero_shot', which trains nothing; leave it out"
                raise SettingsError(message)
