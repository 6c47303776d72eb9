"""One training on labels: a network and a head, their weights before and after, and what they say of held-out cells."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from scssl.model.cell_model import CellModel
from scssl.tasks.annotate.blend import blended
from scssl.tasks.annotate.classifier import hold_out
from scssl.tasks.annotate.labelled import LABEL
from scssl.tasks.annotate.probe import LinearHead, learn_probe
from scssl.training import build_task, gene_moments

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import Tensor

    from scssl.genes import GenePanel
    from scssl.tasks.annotate.classifier import HeldOut
    from scssl.tasks.annotate.labelled import LabelledCorpus
    from scssl.tasks.annotate.settings import ClassWeight
    from scssl.training.finetuning import FineTuning
    from scssl.training.supervised import LabelTask, SupervisedResult
    from scssl.training.trainer import Device


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """What all the trainings on one reference have in common."""

    model: CellModel
    cells: LabelledCorpus
    settings: FineTuning
    class_weight: ClassWeight
    from_scratch: bool
    seed: int
    device: Device

    @property
    def n_classes(self) -> int:
        """Labels there are."""
        return len(self.cells.categories[LABEL])

    def fit(self, corpus: LabelledCorpus) -> Fit:
        """Train on the cells of a corpus."""
        from scssl.training.supervised import LabelTask, balanced_weights, fit_labels

        settings, n_classes = self.settings, self.n_classes
        tuned = blank(self.model, corpus, seed=self.seed) if self.from_scratch else copied(self.model)
        codes = _codes(corpus, "train")
        weights = torch.ones(n_classes)
        if self.class_weight == "balanced":
            counts = torch.from_numpy(np.bincount(codes, minlength=n_classes))
            weights = balanced_weights(counts, max_weight=settings.max_weight)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            task = LabelTask(tuned.encoder, n_classes=n_classes, settings=settings, class_weight=weights)
        if not self.from_scratch:
            space = tuned.embed_corpus(corpus, split="train", device=self.device)
            head = learn_probe(space, codes, n_classes=n_classes, class_weight=self.class_weight)
            weight, bias = (torch.from_numpy(array) * settings.softened for array in (head.weight, head.bias))
            task.start_from(weight=weight, bias=bias)
        # Embedding left it in the other mode, without dropout.
        task.train()
        start = {name: value.cpu().clone() for name, value in task.state_dict().items()}
        rate = settings.encoder_rate
        if self.from_scratch:
            rate, more = 1.0, settings.scratch_passes
            epochs, steps = max(1, round(settings.epochs * more)), max(1, round(settings.min_steps * more))
            peak = settings.learning_rate * settings.scratch_rate
            settings = replace(settings, epochs=epochs, min_steps=steps, learning_rate=peak)
        result = fit_labels(task, corpus, settings, encoder_rate=rate, seed=self.seed, device=self.device)
        end = {name: value.clone() for name, value in task.state_dict().items()}
        return Fit(model=tuned, task=task, corpus=corpus, start=start, end=end, result=result, device=self.device)

    def probe(
        self, codes: NDArray[np.int64], *, donors: NDArray[np.int64] | None
    ) -> tuple[CellModel, LinearHead, HeldOut | None]:
        """Return the model as it was given, and what mode ``probe`` learns on it."""
        space = np.empty((len(codes), self.model.n_latent), dtype=np.float32)
        space[self.cells.rows] = self.model.embed_corpus(self.cells, split="train", device=self.device)
        learner = partial(learn_probe, n_classes=self.n_classes, class_weight=self.class_weight)
        return (
            copied(self.model),
            learner(space, codes),
            hold_out(learner, space, codes, donors=donors, seed=self.seed),
        )

    def summary(self, result: SupervisedResult, *, n_train: int, n_val: int) -> dict[str, Any]:
        """Return how a training went."""
        best = result.history[result.best_epoch - 1]
        return {
            "epochs": len(result.history),
            "best_epoch": result.best_epoch,
            "precision": result.precision,
            "cells": {"train": n_train, "val": n_val},
            "metrics": {name: best[name] for name in ("train_loss", "val_loss", "val_macro_f1") if name in best},
            # Tuples cannot be written to h5ad.
            "settings": {
                **asdict(self.settings),
                "blends": list(self.settings.blends),
                "class_weight": self.class_weight,
            },
            "seed": self.seed,
            "from": "random weights" if self.from_scratch else "pre-trained weights",
        }


class Judgement(NamedTuple):
    """Held-out cells of one division."""

    log_scores: NDArray[np.float32]
    embedding: NDArray[np.float32]
    codes: NDArray[np.int64]
    rows: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """One training, with the weights before and after."""

    model: CellModel
    task: LabelTask
    corpus: LabelledCorpus
    start: dict[str, Tensor]
    end: dict[str, Tensor]
    result: SupervisedResult
    device: Device

    @property
    def n_train(self) -> int:
        """Cells learned from."""
        return self.corpus.n_cells("train")

    def at(self, share: float) -> tuple[CellModel, LinearHead]:
        """Return the model, whose weights are changed in place, and the head at a share of the way to the end."""
        self.task.load_state_dict(blended(self.start, self.end, share=share))
        weight, bias = (p.detach().numpy().astype(np.float32) for p in (self.task.head.weight, self.task.head.bias))
        return self.model, LinearHead(weight=weight.copy(), bias=bias.copy())

    def judge(self, shares: tuple[float, ...]) -> list[Judgement]:
        """Score the validation cells at each share."""
        codes, rows = _codes(self.corpus, "val"), self.corpus.rows[self.n_train :]
        found = []
        for share in shares:
            model, head = self.at(share)
            space = np.empty((0, model.n_latent), dtype=np.float32)
            if rows.size:
                space = model.embed_corpus(self.corpus, split="val", device=self.device)
            found.append(Judgement(head.log_scores(space), space, codes, rows))
        return found


def _codes(corpus: LabelledCorpus, split: Literal["train", "val"]) -> NDArray[np.int64]:
    shards = corpus.shards_of(split)
    return np.concatenate([np.asarray(s.codes[LABEL][:], dtype=np.int64) for s in shards] or [np.empty(0, np.int64)])


def narrowed_to(model: CellModel, reference: AnnData | Path | str, *, layer: str | None) -> CellModel:
    """Return an untrained model of the same shape, without genes of which nothing could be learned from the reference.

    Cells that did measure them would then be judged by weights that are still random.
    """
    from scssl.corpus.sources.source import open_source
    from scssl.genes import harmonise

    with open_source(reference, layer=layer) as source:
        measured = harmonise(source.var, model.panel, file=source.file).measured
    panel = model.panel
    if not measured.all():
        panel = panel.subset(np.flatnonzero(measured), name=f"{panel.name}, as measured by the reference")
    return untrained(model, panel=panel, seed=0)


def untrained(model: CellModel, *, panel: GenePanel, seed: int) -> CellModel:
    """Return a model of the same shape on a panel, with random weights."""
    # Its decoder would no longer fit: what is kept is a model without a pretext task.
    config = replace(model.config, pretext="none", task={}, training=replace(model.config.training, seed=seed))
    task = build_task(config, n_genes=len(panel), n_sources=1)
    return CellModel(task=task, panel=panel, config=config, sources=list(model.sources), card=copy.deepcopy(model.card))


def copied(model: CellModel) -> CellModel:
    """Return a model with the same encoder, to be changed."""
    copy = untrained(model, panel=model.panel, seed=model.config.training.seed)
    copy.task.encoder.load_state_dict(model.encoder.state_dict())
    return copy


def blank(model: CellModel, corpus: LabelledCorpus, *, seed: int) -> CellModel:
    """Return an untrained model of the same shape that knows of the counts what the training cells say."""
    blank = untrained(model, panel=model.panel, seed=seed)
    blank.sources = list(corpus.sources)
    blank.card = {name: blank.card[name] for name in ("versions", "licence") if name in blank.card}
    mean, variance = gene_moments(corpus, target_sum=model.config.target_sum)
    blank.task.start_from(gene_mean=mean, gene_variance=variance, gene_share=torch.from_numpy(corpus.gene_share()))
    return blank
