"""What a pre-trained model is used for: each task with the verbs fit, predict, evaluate, save and load."""

from __future__ import annotations

from scssl.tasks.annotate import Annotation, AnnotationScores, Annotator, FineTuning, read_label_map

__all__ = ["Annotation", "AnnotationScores", "Annotator", "FineTuning", "read_label_map"]
