"""The settings of a translator."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from scssl.errors import SettingsError, require

To = Literal["protein", "atac"]
Mode = Literal["zero_shot", "probe", "finetune", "in_data", "scratch"]
Likelihood = Literal["auto", "nb_mixture", "nb", "gaussian", "bernoulli", "poisson"]
Written = Literal["scaled", "expected", "foreground"]

LIKELIHOODS: dict[str, tuple[str, ...]] = {
    "protein": ("nb_mixture", "nb", "gaussian"),
    "atac": ("bernoulli", "poisson", "gaussian"),
}
"""What each modality can be taken for."""
GIVES: dict[str, tuple[str, ...]] = {
    "nb_mixture": ("scaled", "expected", "foreground"),
    "nb": ("scaled", "expected"),
    "gaussian": ("scaled",),
    "bernoulli": ("scaled",),
    "poisson": ("scaled", "expected"),
}
"""What can be written of each."""


@dataclass(frozen=True, kw_only=True)
class TranslationTraining:
    """How a head, and with it an encoder, is trained. Seed and device are given where it is started."""

    epochs: int = 40
    """Most passes over the training cells."""
    min_steps: int = 600
    """More passes are made where that would be fewer steps than this."""
    batch_size: int = 256
    """Cells per step; less where an epoch would have fewer than ten steps."""
    head_rate: float = 1e-2
    """Highest learning rate of a head on a frozen encoder."""
    learning_rate: float = 1e-3
    """Highest learning rate where the encoder is trained, too."""
    encoder_rate: float = 0.3
    """Learning rate of a pre-trained encoder, as a share of `learning_rate`."""
    head_decay: float = 3.0
    """Decoupled weight decay of the head's matrices: it learns from few cells, and its inputs are standardised."""
    weight_decay: float = 0.01
    """Decoupled weight decay of the encoder's matrices."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    hidden: int = 0
    """Width of a hidden layer of the head; 0 for a linear one."""
    dropout: float = 0.3
    """Share of the units dropped before the head's last map while training; the encoder has its own dropout."""
    pretrain_steps: int = 1000
    """In ``in_data``: about how many steps the pre-training on the reference's RNA makes."""
    val: float = 0.2
    """Share of the cells, by whole donors where there are several, that say when to stop. All cells are then learned
    from for as many steps. 0 trains to the end."""

    def __post_init__(self) -> None:
        for name, least in {"epochs": 1, "min_steps": 1, "batch_size": 1, "hidden": 0, "pretrain_steps": 1}.items():
            value = getattr(self, name)
            require(f"training.{name}", value, holds=value >= least, must=f"a whole number, {least} or more")
        for name in ("head_rate", "learning_rate", "encoder_rate", "gradient_clip"):
            value = getattr(self, name)
            require(f"training.{name}", value, holds=0 < value < math.inf, must="a number above 0")
        for name in ("head_decay", "weight_decay"):
            value = getattr(self, name)
            require(f"training.{name}", value, holds=0 <= value < math.inf, must="a number, 0 or more")
        for name in ("dropout", "val"):
            value = getattr(self, name)
            require(f"training.{name}", value, holds=0 <= value < 1, must="a share: 0 or more, and less than 1")


@dataclass(frozen=True, kw_only=True)
class TranslatorSettings:
    """What is predicted, and how."""

    to: To = "protein"
    """Modality that is predicted from RNA."""
    mode: Mode = "probe"
    """``zero_shot``: mean of the nearest reference cells; ``probe``: a head on the frozen encoder; ``finetune``: the
    encoder is trained with it; ``in_data``: the same after pre-training on the reference's own RNA alone;
    ``scratch``: the same network from random weights."""
    likelihood: Likelihood = "auto"
    """``auto``: ``nb_mixture`` for counts of proteins, ``gaussian`` for proteins that were normalised, ``bernoulli``
    for peaks."""
    k: int = 20
    """Neighbours that are averaged over, in ``zero_shot``."""
    max_features: int = 20_000
    """Of more features than this, those found in most cells are predicted."""
    training: TranslationTraining = field(default_factory=TranslationTraining)
    """Of the head, in all modes but ``zero_shot``."""

    def __post_init__(self) -> None:
        for name, kind in (("to", To), ("mode", Mode), ("likelihood", Likelihood)):
            if getattr(self, name) not in get_args(kind):
                message = f"{name} {getattr(self, name)!r} is not known; choose one of: {', '.join(get_args(kind))}"
                raise SettingsError(message)
        if self.likelihood not in ("auto", *LIKELIHOODS[self.to]):
            message = (
                f"likelihood {self.likelihood!r} is not one of {self.to}; choose one of: auto, "
                f"{', '.join(LIKELIHOODS[self.to])}"
            )
            raise SettingsError(message)
        for name in ("k", "max_features"):
            value = getattr(self, name)
            require(name, value, holds=value >= 1, must="a whole number, 1 or more")
