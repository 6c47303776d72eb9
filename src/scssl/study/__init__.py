"""Did pre-training help? Baselines that anything learned has to beat."""

from __future__ import annotations

from scssl.study.baselines import PCAEncoder, pca_knn

__all__ = ["PCAEncoder", "pca_knn"]
