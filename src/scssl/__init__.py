"""Self-supervised learning on single-cell genomics."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("scssl")

if TYPE_CHECKING:
    from scssl import datasets, metrics, study, tasks
    from scssl import report as pl
    from scssl.corpus import Corpus
    from scssl.genes import GenePanel
    from scssl.model import hub
    from scssl.model.cell_model import CellModel, load
    from scssl.pretraining import pretrain

_LAZY = {
    "CellModel": "scssl.model.cell_model:CellModel",
    "Corpus": "scssl.corpus:Corpus",
    "GenePanel": "scssl.genes:GenePanel",
    "datasets": "scssl.datasets",
    "hub": "scssl.model.hub",
    "load": "scssl.model.cell_model:load",
    "metrics": "scssl.metrics",
    "pl": "scssl.report",
    "pretrain": "scssl.pretraining:pretrain",
    "study": "scssl.study",
    "tasks": "scssl.tasks",
}

__all__ = [
    "CellModel",
    "Corpus",
    "GenePanel",
    "__version__",
    "datasets",
    "hub",
    "load",
    "metrics",
    "pl",
    "pretrain",
    "study",
    "tasks",
]


def __getattr__(name: str) -> Any:
    # Public names load on first use, so that `import scssl` and `scssl --help` cost nothing.
    if name not in _LAZY:
        message = f"module 'scssl' has no attribute {name!r}"
        raise AttributeError(message)
    module, _, attribute = _LAZY[name].partition(":")
    value = import_module(module)
    return getattr(value, attribute) if attribute else value


def __dir__() -> list[str]:
    return sorted(__all__)
