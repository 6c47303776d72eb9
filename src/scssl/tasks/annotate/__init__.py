"""Annotate: names for new cells, by a labelled reference, in the space of a pre-trained encoder."""

from __future__ import annotations

from scssl.tasks.annotate.annotation import Annotation
from scssl.tasks.annotate.annotator import Annotator
from scssl.tasks.annotate.labels import read_label_map
from scssl.tasks.annotate.scores import AnnotationScores
from scssl.training.finetuning import FineTuning

__all__ = ["Annotation", "AnnotationScores", "Annotator", "FineTuning", "read_label_map"]
