"""Fine-tuning for a study: the model's own training goes on, with the batches as sources that the decoder is told."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from scssl.corpus import Corpus
from scssl.log import logger
from scssl.model.init import gentle
from scssl.training.trainer import steps_batch_size

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from scssl.model.cell_model import CellModel
    from scssl.training.devices import Device


def adapt(
    model: CellModel,
    study: AnnData | Path | str,
    *,
    batch: str,
    layer: str | None,
    steps: int,
    seed: int,
    device: Device,
) -> tuple[CellModel, dict[str, Any]]:
    """Go on with the training of a model on the cells of a study, without labels.

    The decoder is told the batch of each cell, so that the code need not carry it; that is of use for tasks that
    predict genes, and for models whose decoder is told the source.

    Parameters
    ----------
    model
        Model to start from; it stays as it is.
    study, batch, layer, seed, device
        See `Integrator`.
    steps
        At least so many; an epoch is finished.

    Returns
    -------
    model : CellModel
        The adapted one.
    training : dict
        How that went, as plain values.
    """
    from scssl.pretraining import pretrain

    if not model.config.architecture.source_decoder:
        logger.warning(
            "the decoder of this model is not told the source of cells, so it cannot be told their batch: fine-tuning "
            "does nothing about batches. Models of the preset `default` are"
        )
    started = time.monotonic()
    corpus = gather(study, model=model, batch=batch, layer=layer, seed=seed)
    n_cells = corpus.n_cells("train")
    config = gentle(model.config)
    epochs = math.ceil(steps / max(1, n_cells // steps_batch_size(n_cells, config)))
    found = pretrain(corpus, config=config, init=model, max_epochs=epochs, seed=seed, device=device, loggers=["csv"])
    trained = found.card.get("training", {})
    return found, {"epochs": epochs, "seconds": round(time.monotonic() - started, 1)} | {
        name: trained[name] for name in ("best_epoch", "batch_size") if name in trained
    }


def gather(study: AnnData | Path | str, *, model: CellModel, batch: str, layer: str | None, seed: int) -> Corpus:
    """Return the cells of a study as a corpus in memory, its batches as sources, 5 % of the cells set apart."""
    return Corpus.from_anndata(
        study,
        genes=model.panel,
        layer=layer,
        source=batch,
        split_by="cell",
        val=0.05,
        test=0.0,
        duplicates="keep",
        seed=seed,
    )
