"""Scores: pure functions over arrays."""

from __future__ import annotations

from scssl.metrics.classification import ClassificationScores, classification_scores, confusion_table

__all__ = ["ClassificationScores", "classification_scores", "confusion_table"]
