"""Baselines that anything learned has to beat; one file per method, `list_baselines` lists them."""

from __future__ import annotations

from scssl.study.baselines import celltypist, logistic, pca_methods, scvi, xgboost
from scssl.study.baselines.base import Baseline, Fit, get_baseline, list_baselines, register
from scssl.study.baselines.pca import pca_knn
from scssl.tasks.pca import PCAEncoder, log_normalise

__all__ = [
    "Baseline",
    "Fit",
    "PCAEncoder",
    "get_baseline",
    "list_baselines",
    "log_normalise",
    "pca_knn",
    "register",
]
_ = (celltypist, logistic, pca_methods, scvi, xgboost)  # registered by being imported
