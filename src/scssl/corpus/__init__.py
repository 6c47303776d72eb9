"""Corpora: many cells from many files over one gene panel, split by donor, read in well-mixed batches."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scssl.corpus.settings import BuildSettings
from scssl.corpus.store import Corpus

if TYPE_CHECKING:
    from scssl.corpus.batch import CellBatch
    from scssl.corpus.loader.loader import CorpusLoader

__all__ = ["BuildSettings", "CellBatch", "Corpus", "CorpusLoader"]

# These need torch, which building and inspecting a corpus does not.
_LAZY = {"CellBatch": "scssl.corpus.batch", "CorpusLoader": "scssl.corpus.loader.loader"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        message = f"module 'scssl.corpus' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_LAZY[name]), name)
