"""Annotate: names for new cells, by a labelled reference, in the space of a pre-trained encoder."""

from __future__ import annotations

from scssl.tasks.annotate.annotation import Annotation
from scssl.tasks.annotate.annotator import Annotator
from scssl.tasks.annotate.labels import read_label_map

__all__ = ["Annotation", "Annotator", "read_label_map"]
