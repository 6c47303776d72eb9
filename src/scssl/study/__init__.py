"""Did pre-training help? The study, and the baselines that anything learned has to beat."""

from __future__ import annotations

from scssl.study.baselines import Baseline, PCAEncoder, list_baselines, pca_knn
from scssl.study.plan import Plan, get_plan
from scssl.study.run import StudyResult, run

__all__ = ["Baseline", "PCAEncoder", "Plan", "StudyResult", "get_plan", "list_baselines", "pca_knn", "run"]
