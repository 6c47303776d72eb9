"""Scores: pure functions over arrays."""

from __future__ import annotations

from scssl.metrics.agreement import Agreement, agreement
from scssl.metrics.calibration import (
    CalibrationScores,
    brier_score,
    calibration_scores,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)
from scssl.metrics.classification import ClassificationScores, classification_scores, confusion_table
from scssl.metrics.detection import Detection, detection
from scssl.metrics.hierarchy import HierarchicalScores, hierarchical_scores
from scssl.metrics.integration import IntegrationScores, integration_scores
from scssl.metrics.populations import energy_distance, median_distance, mmd, population_distance
from scssl.metrics.reconstruction import ReconstructionScores, ReconstructionTally

__all__ = [
    "Agreement",
    "CalibrationScores",
    "ClassificationScores",
    "Detection",
    "HierarchicalScores",
    "IntegrationScores",
    "ReconstructionScores",
    "ReconstructionTally",
    "agreement",
    "brier_score",
    "calibration_scores",
    "classification_scores",
    "confusion_table",
    "detection",
    "energy_distance",
    "expected_calibration_error",
    "hierarchical_scores",
    "integration_scores",
    "median_distance",
    "mmd",
    "negative_log_likelihood",
    "population_distance",
    "reliability_curve",
]
