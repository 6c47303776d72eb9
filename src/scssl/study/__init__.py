"""Did pre-training help? The study, and the baselines that anything learned has to beat."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scssl.study.baselines import Baseline, PCAEncoder, list_baselines, pca_knn
    from scssl.study.plan import Plan, get_plan
    from scssl.study.study import StudyResult, run

_LAZY = {
    "Baseline": "baselines",
    "PCAEncoder": "baselines",
    "Plan": "plan",
    "StudyResult": "study",
    "get_plan": "plan",
    "list_baselines": "baselines",
    "pca_knn": "baselines",
    "run": "study",
}

__all__ = ["Baseline", "PCAEncoder", "Plan", "StudyResult", "get_plan", "list_baselines", "pca_knn", "run"]


def __getattr__(name: str) -> Any:
    # The report reads the folder of a study, and needs nothing of what made it.
    if name not in _LAZY:
        message = f"module 'scssl.study' has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(f"scssl.study.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
