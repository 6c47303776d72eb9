"""Plans: which methods a study compares, with how many seeds, folds, labels and cells."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Final, Literal

from scssl.errors import SettingsError, require

Arm = Literal["excluded", "included"]
Mode = Literal["zero_shot", "probe", "finetune", "scratch"]
MODES: Final[tuple[Mode, ...]] = ("zero_shot", "probe", "finetune", "scratch")
SMALLEST_TYPE: Final = 20
"""Types with fewer test cells are marked: their scores are mostly chance."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a study does."""

    name: str = "quick"
    preset: str = "default"
    """Settings that every network is trained with."""
    pretexts: tuple[str, ...] = ("masked",)
    """Pretext tasks; the verdict is about the first, the others are reported beside it."""
    controls: tuple[str, ...] = ("none",)
    """Pretext tasks that learn nothing, or without hiding anything: baselines of the same network."""
    modes: tuple[Mode, ...] = MODES
    """Ways to use a pre-trained network."""
    baselines: tuple[str, ...] = ("pca_knn", "pca_logistic", "pca_target", "logistic")
    """Baselines that are no network; `list_baselines` lists them."""
    extras: tuple[str, ...] = ()
    """Baselines of other packages; left out, and said so, where they are not installed."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of networks, and of which labels are told."""
    folds: int = 3
    """Folds over the target's donors."""
    labels: tuple[int | None, ...] = (None,)
    """Labelled cells per type; None for all. More than one makes the label-efficiency curve."""
    fractions: tuple[float, ...] = (1.0,)
    """Shares of the corpus' cells to pre-train on. More than one makes the data-size curve."""
    arms: tuple[Arm, ...] = ("excluded",)
    """``excluded``: nothing of the target is in pre-training; ``included``: its cells are, without their labels."""
    overrides: tuple[str, ...] = ()
    """Settings of the networks that differ from the preset's, ``a.b=c`` each."""
    epochs: int | None = None
    """Passes of pre-training; the preset's by default."""
    min_effect: float = 0.01
    """Smallest difference in macro F1 that matters."""
    level: float = 0.95
    """Nominal coverage of the intervals."""
    n_resamples: int = 4000
    """Bootstrap resamples."""

    def __post_init__(self) -> None:
        require("seeds", self.seeds, holds=bool(self.seeds) and min(self.seeds) >= 0, must="one or more, from 0")
        require("folds", self.folds, holds=self.folds >= 2, must="2 or more")
        require("min_effect", self.min_effect, holds=0 <= self.min_effect < 1, must="a share, from 0 to below 1")
        require("level", self.level, holds=0 < self.level < 1, must="a share, above 0 and below 1")
        require("n_resamples", self.n_resamples, holds=self.n_resamples >= 100, must="100 or more")
        require("pretexts", self.pretexts, holds=bool(self.pretexts), must="one or more")
        require("arms", self.arms, holds=bool(self.arms), must="excluded, included or both")
        for n in self.labels:
            require("labels", n, holds=n is None or n >= 1, must="numbers of cells per type, or all")
        for share in self.fractions:
            require("fractions", share, holds=0 < share <= 1, must="shares of the corpus, above 0 and up to 1")
        if "scratch" not in self.modes or len(self.modes) < 2 or not self.baselines:
            message = "a study needs scratch, another mode and a baseline: without them there is nothing to judge by"
            raise SettingsError(message)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


PLANS: Final = {
    "quick": Plan(),
    "full": Plan(
        name="full",
        pretexts=("masked", "vicreg", "simclr", "barlow_twins", "byol"),
        controls=("none", "autoencoder"),
        baselines=("pca_knn", "pca_logistic", "pca_target", "pca_target_knn", "logistic"),
        extras=("xgboost", "celltypist", "scvi", "scanvi"),
        folds=5,
        labels=(1, 10, 100, None),
        fractions=(0.1, 0.3, 1.0),
    ),
}
"""The plans there are, by name."""


def get_plan(plan: str | Plan, **changes: Any) -> Plan:
    """Return a plan by name, with some of its settings changed.

    Parameters
    ----------
    plan
        ``"quick"``, ``"full"``, or a plan.
    **changes
        Settings of `Plan`; those that are None are left as they are.

    Raises
    ------
    SettingsError
        If there is no such plan or setting.
    """
    if isinstance(plan, str):
        if plan not in PLANS:
            message = f"plan {plan!r} is not known; choose one of: {', '.join(PLANS)}"
            raise SettingsError(message)
        plan = PLANS[plan]
    known = [f.name for f in fields(Plan)]
    for name in changes:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
            message = f"a plan has no setting {name!r}; {hint}"
            raise SettingsError(message)
    return replace(plan, **{name: value for name, value in changes.items() if value is not None})
