"""What a pre-trained model is used for: each task with the verbs fit, predict, evaluate, save and load."""

from __future__ import annotations

from scssl.tasks.annotate import Annotation, AnnotationScores, Annotator, FineTuning, read_label_map
from scssl.tasks.compare import Comparer, Comparison, NullReport
from scssl.tasks.integrate import Integration, IntegrationReport, Integrator
from scssl.tasks.reconstruct import Reconstruction, Reconstructor
from scssl.tasks.similar import SimilarCells
from scssl.tasks.simulate import Simulation, SimulationScores, Simulator
from scssl.tasks.translate import Translation, TranslationScores, TranslationTraining, Translator

__all__ = [
    "Annotation",
    "AnnotationScores",
    "Annotator",
    "Comparer",
    "Comparison",
    "FineTuning",
    "Integration",
    "IntegrationReport",
    "Integrator",
    "NullReport",
    "Reconstruction",
    "Reconstructor",
    "SimilarCells",
    "Simulation",
    "SimulationScores",
    "Simulator",
    "Translation",
    "TranslationScores",
    "TranslationTraining",
    "Translator",
    "read_label_map",
]
