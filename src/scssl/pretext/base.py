"""What a pretext task is, and the registry of those that exist."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from torch import nn

from scssl.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

    from scssl.corpus.batch import CellBatch
    from scssl.genes.programmes import Programmes
    from scssl.nn import Architecture, Encoder


class Draw(NamedTuple):
    """Key of all that is random about a cell (masks, views): same key and cell, same draw, whatever the batch."""

    seed: int
    epoch: int


@dataclass(frozen=True, kw_only=True)
class PretextRecord:
    """What `scssl pretexts` says of a task."""

    name: str
    summary: str
    doi: str
    needs: str = ""
    """What it asks for beyond counts (two views, gene programmes, ...)."""
    settings: type
    """Frozen dataclass of its settings, all with defaults."""
    hides_genes: bool
    """Whether it hides genes from the encoder (decides which invariants are tested)."""
    draws: bool = True
    """Whether anything in it is random, such as masks and views."""
    trains: bool = True
    """Whether there is anything to minimise."""


class PretextTask(nn.Module, ABC):
    """A task that needs no labels: batches in, losses out.

    A subclass is registered with `register`, builds what it needs besides the encoder (a decoder, a projector) in its
    constructor, and returns its losses. Nothing else needs to know of it.

    Parameters
    ----------
    encoder
        Encoder to train.
    architecture
        Shape of the encoder, for what mirrors it.
    n_sources
        Sources in the corpus.
    settings
        Instance of the record's settings class.
    programmes
        Gene programmes over the panel, for tasks that need them.
    """

    record: ClassVar[PretextRecord]

    def __init__(
        self,
        encoder: Encoder,
        *,
        architecture: Architecture,
        n_sources: int,
        settings: Any,
        programmes: Programmes | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.architecture = architecture
        self.n_sources = n_sources
        self.settings = settings
        self.programmes = programmes

    def start_from(self, *, gene_mean: Tensor, gene_variance: Tensor, gene_share: Tensor) -> None:
        """Take up what the corpus says of the genes, before training.

        Parameters
        ----------
        gene_mean
            (n_genes,) mean log1p value among the cells that measured the gene.
        gene_variance
            (n_genes,) its variance.
        gene_share
            (n_genes,) share of a typical cell's counts.
        """
        states = self.encoder.states
        states.mean.copy_(gene_mean)
        if float(gene_variance.sum()) > 0:
            states.variance_share.copy_(gene_variance / gene_variance.sum())
        self.encoder.gene_share.copy_(gene_share)

    def after_step(self, *, progress: float) -> None:
        """Do what follows an optimiser step, such as moving an averaged copy of the encoder; nothing by default.

        Parameters
        ----------
        progress
            Share of all steps of the run that are done, above 0 and up to 1.
        """

    @abstractmethod
    def losses(self, batch: CellBatch, *, draw: Draw) -> dict[str, Tensor]:
        """Return the loss to minimise under ``"loss"``, and parts or diagnostics (scalars) beside it."""


GROUP: Final = "scssl.pretext"
"""Entry points of this group name modules that register tasks."""
_TASKS: dict[str, type[PretextTask]] = {}


def register(task: type[PretextTask]) -> type[PretextTask]:
    """Add a task to the registry (class decorator)."""
    _TASKS[task.record.name] = task
    return task


def _load_others() -> None:
    """Import the modules of installed packages that declare tasks of their own."""
    for point in entry_points(group=GROUP):
        point.load()


def get_task(name: str) -> type[PretextTask]:
    """Return a task by name.

    Raises
    ------
    SettingsError
        If there is none of this name; the message lists those that exist.
    """
    if name not in _TASKS:
        _load_others()
    if name not in _TASKS:
        message = (
            f"pretext {name!r} does not exist; choose one of: {', '.join(sorted(_TASKS))}. One of your own is known "
            "once its module was imported, or always if its package declares an entry point of the group scssl.pretext"
        )
        raise SettingsError(message)
    return _TASKS[name]


def list_tasks() -> list[PretextRecord]:
    """Return the records of all tasks, by name."""
    _load_others()
    return [_TASKS[name].record for name in sorted(_TASKS)]
