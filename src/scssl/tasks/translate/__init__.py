"""Translate: proteins or accessible peaks of cells, predicted from their RNA."""

from __future__ import annotations

from scssl.tasks.translate.scores import TranslationScores
from scssl.tasks.translate.settings import TranslationTraining
from scssl.tasks.translate.translation import Translation
from scssl.tasks.translate.translator import Translator

__all__ = ["Translation", "TranslationScores", "TranslationTraining", "Translator"]
