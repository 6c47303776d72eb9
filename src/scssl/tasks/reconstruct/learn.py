"""Fitting a reconstructor: the model as it is, or trained on the reference, and how far its values stray."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.errors import SettingsError
from scssl.log import logger
from scssl.tasks.reconstruct.holdout import SHARES, Sample, hold_out
from scssl.tasks.reconstruct.readout import COUNTED, Readout, check_readable, loss_of
from scssl.tasks.reconstruct.sample import batch_of, draw

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.model.cell_model import CellModel
    from scssl.tasks.reconstruct.settings import ReconstructorSettings
    from scssl.training import Config
    from scssl.training.devices import Device

LOOKED_AT = 2000
"""Cells of the reference from which the spread is learned."""
SCRATCH_PASSES = 2
"""A network that starts at random makes this many times the steps."""
LEAST_ENTRIES = 10
"""Held-out entries that a gene needs for its spread to be known."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a reconstructor knows once it was fitted."""

    model: CellModel
    """Whose decoder is read: the reconstructor's own, or what became of it by training on the reference."""
    reference: str
    """Where the reference came from; "" if there was none."""
    n_reference: int
    fingerprint: str
    """Of the reference's cells, to know them again."""
    spread: NDArray[np.float32] | None
    """(n_genes,) standard deviation of log values about the prediction, NaN where not known; None where the likelihood
    of the counts says it, or nothing was learned."""
    training: dict[str, Any] = field(default_factory=dict)
    """How the training went, as plain values; empty where there was none."""


def learn(
    model: CellModel,
    reference: AnnData | Path | str,
    *,
    settings: ReconstructorSettings,
    layer: str | None,
    seed: int,
    device: Device,
) -> Fitted:
    """Learn from the cells of a reference; see `Reconstructor.fit`."""
    if settings.mode == "zero_shot":
        check_readable(model)
    drawn = draw(model, reference, layer=layer, max_cells=LOOKED_AT, seed=seed)
    training: dict[str, Any] = {}
    if settings.mode == "finetune":
        _tell_of_lacking(model, drawn.sample.measured, file=drawn.file)
    if settings.mode != "zero_shot":
        model = train(model, reference, settings=settings, layer=layer, seed=seed, device=device)
        training = {"loss": loss_of(model), **_plain(model.card.get("training", {}))}
    readout = Readout(model, source=settings.source, device=device)
    spread = None if readout.counted else spread_of(readout, drawn.sample, seed=seed)
    return Fitted(
        model=model,
        reference=drawn.file,
        n_reference=drawn.n_cells,
        fingerprint=drawn.fingerprint,
        spread=spread,
        training=training,
    )


def _tell_of_lacking(model: CellModel, measured: NDArray[np.bool_], *, file: str) -> None:
    known = model.encoder.gene_share.cpu().numpy() > 0
    lacking = int((known & ~measured).sum())
    if lacking:
        logger.warning(
            "%s: has not measured %s of the %s genes that the model knows. Fine-tuning teaches nothing of them, while "
            "the network changes under them: read these in mode 'zero_shot' (--mode zero_shot), or give a reference "
            "that has them", file, f"{lacking:,}", f"{int(known.sum()):,}",
        )  # fmt: skip


def train(
    model: CellModel,
    reference: AnnData | Path | str,
    *,
    settings: ReconstructorSettings,
    layer: str | None,
    seed: int,
    device: Device,
) -> CellModel:
    """Return the model trained on, or its network trained anew, on the cells of a reference without their labels."""
    from scssl.corpus.gather import gather
    from scssl.model.init import gentle, long_enough
    from scssl.pretraining import pretrain

    if not hasattr(model, "encoder"):
        message = f"mode {settings.mode!r} trains a scssl.CellModel; {type(model).__name__} is none"
        raise SettingsError(message)
    corpus = gather(reference, genes=model.panel, layer=layer, seed=seed)
    config = reading(model.config, own=loss_of(model), settings=settings)
    n_cells = corpus.n_cells("train")
    scratch = settings.mode == "scratch"
    config = long_enough(config if scratch else gentle(config), n_cells=n_cells)
    epochs = settings.epochs or config.training.epochs * (SCRATCH_PASSES if scratch else 1)
    logger.info(
        "%s: %s on %s cells, %d epochs, loss %s", settings.mode,
        "from random weights" if scratch else "pre-training goes on", f"{n_cells:,}", epochs, config.task["loss"],
    )  # fmt: skip
    return pretrain(
        corpus, config=config, init=None if scratch else model, max_epochs=epochs, seed=seed, device=device,
        loggers=["csv"],
    )  # fmt: skip


def reading(config: Config, *, own: str, settings: ReconstructorSettings) -> Config:
    """Return the settings of a pre-training whose decoder predicts expression.

    Parameters
    ----------
    config
        Of the model.
    own
        What the model's decoder predicts, see `loss_of`.
    settings
        Of the reconstructor; decide the loss.
    """
    known = own if own in (*COUNTED, "mse") else "nb"
    loss = known if settings.loss == "model" else settings.loss
    if loss in COUNTED and config.architecture.output == "softplus":
        message = f"loss {loss!r} needs a decoder with a linear output; the model's is a softplus: choose loss 'mse'"
        raise SettingsError(message)
    if not own:
        return replace(config, pretext="masked", task={"rate": 0.5, "loss": loss})
    return replace(config, task={**_without_programmes(config), "loss": loss})


def _without_programmes(config: Config) -> dict[str, Any]:
    """Genes are hidden at random: all are to be predicted, not those of programmes, whose file may be elsewhere."""
    if config.task.get("masking", "random") == "random":
        return dict(config.task)
    kept = {name: value for name, value in config.task.items() if name not in ("masking", "programmes")}
    return {"rate": 0.5, **kept}


def spread_of(readout: Readout, sample: Sample, *, seed: int) -> NDArray[np.float32]:
    """(n_genes,) root mean square error of log values at hidden entries; NaN where there were too few.

    Parameters
    ----------
    readout
        Of the model, for all genes of its panel.
    sample
        Cells of the reference.
    seed
        Of the draw of what is hidden.
    """
    gene_share = readout.task.encoder.gene_share.cpu().numpy()
    split = hold_out(sample, "hidden", share=SHARES["hidden"], gene_share=gene_share, seed=seed)
    assert split.hidden is not None
    squares, n = np.zeros(len(sample.measured)), np.zeros(len(sample.measured))
    for start in range(0, len(split.rows), 256):
        cells = slice(start, start + 256)
        batch = batch_of(split.seen[cells], sample, total=split.seen_total[cells])
        decoded = readout.decode(batch, hidden=split.hidden[cells])
        predicted = readout.quantities(decoded, total=split.expected_total[cells], wanted=("measured",))["measured"]
        scale = readout.target_sum * sample.measured_share / split.true_total[cells]
        truth = np.log1p(scale[:, None] * np.asarray(split.truth[cells].todense()))
        squares += np.where(split.hidden[cells], (predicted - truth) ** 2, 0).sum(axis=0)
        n += split.hidden[cells].sum(axis=0)
    found = np.sqrt(squares / np.maximum(n, 1))
    return np.where(n >= LEAST_ENTRIES, found, np.nan).astype(np.float32)


def _plain(values: Any) -> dict[str, Any]:
    return {name: value for name, value in dict(values).items() if isinstance(value, str | int | float | bool)}
