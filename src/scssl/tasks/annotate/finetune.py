"""Fine-tuning and training from scratch: the encoder of a model and a linear head, on the labels of a reference."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scssl.model import CellModel
from scssl.tasks.annotate.classifier import HeldOut
from scssl.tasks.annotate.labelled import LABEL, choose_validation, gather_labelled
from scssl.tasks.annotate.probe import LinearHead
from scssl.training import build_task, gene_moments

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.tasks.annotate.labelled import LabelledCorpus
    from scssl.tasks.annotate.settings import ClassWeight
    from scssl.training.finetuning import FineTuning
    from scssl.training.trainer import Device


class Tuned(NamedTuple):
    """What supervised training gives."""

    model: CellModel
    """The encoder as it was trained on the labels, ready for use."""
    head: LinearHead
    held_out: HeldOut | None
    """Cells set apart for validation."""
    by_donor: bool
    """Whether whole donors were set apart."""
    summary: dict[str, Any]
    """How it went, as plain values."""


def tune(
    model: CellModel,
    reference: AnnData | Path | str,
    *,
    layer: str | None,
    kept: NDArray[np.bool_],
    codes: NDArray[np.int64],
    classes: list[str],
    donors: NDArray[np.int64] | None,
    name: str,
    settings: FineTuning,
    class_weight: ClassWeight,
    from_scratch: bool,
    seed: int,
    device: Device,
) -> Tuned:
    """Train the encoder of a model, or one of its shape that starts at random, on labels.

    Parameters
    ----------
    model
        Model to start from; it stays as it is.
    reference
        AnnData or file with raw counts.
    layer
        Where the counts are.
    kept
        (n_cells,) the labelled cells.
    codes, classes
        (n_labelled,) labels, and their names.
    donors
        (n_labelled,) codes of donors, None where cells are to be set apart one by one.
    name
        What the reference is called.
    settings
        Of the training.
    class_weight
        ``"balanced"``: all labels weigh the same in all; ``"none"``: all cells do.
    from_scratch
        Start at random, on the genes that the reference measured, with what the reference says of their counts.
    seed
        Of everything random.
    device
        Where to compute.
    """
    from scssl.training.supervised import LabelTask, balanced_weights, fit_labels

    validation, by_donor = choose_validation(codes, donors, share=settings.val, seed=seed)
    if from_scratch:
        model = _narrowed(model, reference, layer=layer)
    share = None if from_scratch else model.encoder.gene_share.cpu().numpy()
    corpus = gather_labelled(
        model.batches(reference, layer=layer),
        model.panel,
        kept=kept,
        codes=codes,
        classes=classes,
        validation=validation,
        share=share,
        name=name,
        seed=seed,
    )
    tuned = _blank(model, corpus, seed=seed) if from_scratch else _copied(model)
    counts = torch.from_numpy(np.bincount(codes[~validation], minlength=len(classes)))
    balanced = class_weight == "balanced"
    weights = balanced_weights(counts, max_weight=settings.max_weight) if balanced else torch.ones(len(classes))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        task = LabelTask(tuned.encoder, n_classes=len(classes), settings=settings, class_weight=weights)
    rate = 1.0 if from_scratch else settings.encoder_rate
    result = fit_labels(task, corpus, settings, encoder_rate=rate, seed=seed, device=device)
    head = LinearHead(
        weight=task.head.weight.detach().numpy().astype(np.float32),
        bias=task.head.bias.detach().numpy().astype(np.float32),
    )
    best = result.history[result.best_epoch - 1]
    summary = {
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "seconds": round(result.seconds, 1),
        "precision": result.precision,
        "cells": {"train": corpus.n_cells("train"), "val": corpus.n_cells("val")},
        "metrics": {name: best[name] for name in ("train_loss", "val_loss", "val_macro_f1") if name in best},
        "settings": {**asdict(settings), "class_weight": class_weight},
        "seed": seed,
        "from": "random weights" if from_scratch else "pre-trained weights",
    }
    tuned.card["supervised"] = {**summary, "reference": name, "classes": len(classes)}
    held = _held_out(tuned, head, corpus, donors=donors if by_donor else None, device=device)
    return Tuned(model=tuned, head=head, held_out=held, by_donor=by_donor, summary=summary)


def _narrowed(model: CellModel, reference: AnnData | Path | str, *, layer: str | None) -> CellModel:
    """Leave only the genes that the reference measured: nothing would be learned of the others.

    Cells that did measure them would then be judged by weights that are still random.
    """
    from scssl.corpus.sources.source import open_source
    from scssl.genes import harmonise

    with open_source(reference, layer=layer) as source:
        measured = harmonise(source.var, model.panel, file=source.file).measured
    panel = model.panel
    if not measured.all():
        panel = panel.subset(np.flatnonzero(measured), name=f"{panel.name}, as measured by the reference")
    return _untrained(model, panel=panel, seed=0)


def _untrained(model: CellModel, *, panel: Any, seed: int) -> CellModel:
    # Its decoder would no longer fit: what is kept is a model without a pretext task.
    config = replace(model.config, pretext="none", task={}, training=replace(model.config.training, seed=seed))
    task = build_task(config, n_genes=len(panel), n_sources=1)
    return CellModel(task=task, panel=panel, config=config, sources=list(model.sources), card=copy.deepcopy(model.card))


def _copied(model: CellModel) -> CellModel:
    copied = _untrained(model, panel=model.panel, seed=model.config.training.seed)
    copied.task.encoder.load_state_dict(model.encoder.state_dict())
    return copied


def _blank(model: CellModel, corpus: LabelledCorpus, *, seed: int) -> CellModel:
    blank = _untrained(model, panel=model.panel, seed=seed)
    blank.sources = list(corpus.sources)
    blank.card = {name: blank.card[name] for name in ("versions", "licence") if name in blank.card}
    mean, variance = gene_moments(corpus, target_sum=model.config.target_sum)
    blank.task.start_from(gene_mean=mean, gene_variance=variance, gene_share=torch.from_numpy(corpus.gene_share()))
    return blank


def _held_out(
    model: CellModel, head: LinearHead, corpus: LabelledCorpus, *, donors: NDArray[np.int64] | None, device: Device
) -> HeldOut | None:
    n_train, n_val = corpus.n_cells("train"), corpus.n_cells("val")
    if not n_val:
        return None
    embedding = model.embed_corpus(corpus, split="val", device=device)
    shard = corpus.shards_of("val")[0]
    rows = corpus.rows[n_train:]
    return HeldOut(
        log_scores=head.log_scores(embedding),
        codes=np.asarray(shard.codes[LABEL][:], dtype=np.int64),
        donors=rows if donors is None else donors[rows],
        embedding=embedding,
        rows=rows,
    )
