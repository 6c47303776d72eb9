"""Fitting a translator: read RNA and the other modality of a reference, and learn one from the other."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scssl.corpus.sources.source import open_source
from scssl.errors import DataError
from scssl.log import logger
from scssl.metrics.agreement import agreement
from scssl.nn.heads import HEADS
from scssl.tasks.translate.cells import Cells
from scssl.tasks.translate.division import Division, divide, read_groups
from scssl.tasks.translate.fitted import Fitted, Neighbours
from scssl.tasks.translate.scale import columns, dense, settle
from scssl.tasks.translate.targets import read_target, rna_of
from scssl.tasks.translate.train import Problem, encode, train
from scssl.training import resolve_device

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.model.cell_model import CellModel
    from scssl.nn.heads import ReadoutHead
    from scssl.tasks.translate.scale import Scale
    from scssl.tasks.translate.settings import TranslatorSettings
    from scssl.training.devices import Device

FEWEST = 20
"""Cells with both modalities from which anything can be learned."""


def learn(
    model: CellModel,
    reference: Any,
    *,
    settings: TranslatorSettings,
    target: str | None,
    donor: str | None,
    layer: str | None,
    seed: int,
    device: Device,
) -> Fitted:
    """Learn to predict a modality from RNA; see `Translator.fit`."""
    started, where = time.monotonic(), resolve_device(device)
    found = read_target(reference, target, to=settings.to)
    rna = rna_of(reference)
    scale = settle(found, to=settings.to, likelihood=settings.likelihood, max_features=settings.max_features)
    with open_source(rna, layer=layer) as source:
        groups, file = read_groups(source.obs, donor, file=source.file), source.file
    model = start_of(
        model, rna, mode=settings.mode, steps=settings.training.pretrain_steps, layer=layer, seed=seed, device=device
    )
    cells = Cells.read(rna, model, layer=layer)
    values, _ = columns(found, scale.names)
    size = scale.totals(values)
    usable = (size > 0) & (cells.totals[found.rows] > 0)
    rows = found.rows[usable]
    if len(rows) < len(cells):
        logger.info("%s: %s of %s cells have counts of RNA and of %s; they are learned from", file,
                    f"{len(rows):,}", f"{len(cells):,}", settings.to)  # fmt: skip
    if len(rows) < FEWEST:
        message = f"{found.where}: {len(rows)} cells have counts of RNA and of {settings.to}; at least {FEWEST} needed"
        raise DataError(message)
    problem = Problem(cells=cells.at(rows), values=values[np.flatnonzero(usable)], size=size[usable])
    groups = None if groups is None else groups[rows]
    if settings.mode == "scratch":
        mean, variance, share = problem.cells.moments(target_sum=model.config.target_sum)
        model.task.start_from(gene_mean=mean, gene_variance=variance, gene_share=share)
        problem = replace(problem, cells=replace(problem.cells, measured_share=1.0))
    division = divide(len(rows), groups, share=settings.training.val, seed=seed)
    run = _Run(model=model, problem=problem, scale=scale, settings=settings, seed=seed, device=where)
    predictor, summary = run.zero_shot(division) if settings.mode == "zero_shot" else run.trained(division)
    held = "donors" if groups is not None else "cells"
    summary |= {"held_out_by": held, "n_held_out": len(division.val), "seconds": round(time.monotonic() - started, 1)}
    return Fitted(
        model=run.model,
        predictor=predictor,
        scale=scale,
        mean=scale.scaled(problem.values).mean(axis=0),
        reference=file,
        target=found.spec,
        n_cells=len(rows),
        fingerprint=cells.fingerprint,
        training=summary,
    )


def start_of(
    model: CellModel, rna: AnnData | Path | str, *, mode: str, steps: int, layer: str | None, seed: int, device: Device
) -> CellModel:
    """Return the model that a mode starts from; the one given stays as it is.

    Parameters
    ----------
    model
        Pre-trained model; for ``scratch`` and ``in_data`` only its shape and genes count.
    rna
        The reference.
    mode
        How is learned.
    steps
        Of the pre-training, in ``in_data``.
    layer
        Where the counts are.
    seed
        Of the weights and the pre-training.
    device
        Where to compute.
    """
    from scssl.tasks.annotate.label_training import copied, narrowed_to, untrained

    if mode == "zero_shot" or mode == "probe":
        return model
    if mode == "finetune":
        return copied(model)
    narrow = narrowed_to(model, rna, layer=layer)
    if mode == "scratch":
        return untrained(narrow, panel=narrow.panel, seed=seed)
    from scssl.model.init import STEPS, long_enough
    from scssl.pretraining import pretrain

    with open_source(rna, layer=layer) as source:
        n_cells = source.n_cells
    config = replace(model.config, pretext="masked", task={}) if model.config.pretext == "none" else model.config
    config = long_enough(config, n_cells=n_cells)
    epochs = math.ceil(config.training.epochs * steps / STEPS)
    config = replace(config, training=replace(config.training, epochs=epochs))
    trained = pretrain(
        rna, config=config, genes=narrow.panel, layer=layer, split_by="cell", seed=seed, device=device, loggers=["csv"]
    )
    return copied(trained)


class _Run:
    """One fit: what its steps have in common."""

    def __init__(
        self,
        *,
        model: CellModel,
        problem: Problem,
        scale: Scale,
        settings: TranslatorSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model, self.problem, self.scale = model, problem, scale
        self.settings, self.seed, self.device = settings, seed, device

    def zero_shot(self, division: Division) -> tuple[Neighbours, dict[str, Any]]:
        """Remember the cells."""
        codes = encode(self.model.encoder, self.problem.cells, self.device).cpu().numpy()
        scaled = self.scale.scaled(self.problem.values)
        expected = None
        if self.scale.likelihood in ("nb_mixture", "nb", "poisson"):
            expected = (dense(self.problem.values) / self.problem.size[:, None]).astype(np.float32)

        def of(rows: NDArray[np.int64]) -> Neighbours:
            kept = None if expected is None else expected[rows]
            return Neighbours(embedding=codes[rows], scaled=scaled[rows], expected=kept, k=self.settings.k)

        found = of(division.train).predict(codes[division.val])["scaled"]
        return of(np.arange(len(codes))), self._judged(found, division)

    def trained(self, division: Division) -> tuple[ReadoutHead, dict[str, Any]]:
        """Train with some cells held out to find out for how long, then with all of them."""
        training, frozen = self.settings.training, self.settings.mode == "probe"
        start = {name: value.clone() for name, value in self.model.encoder.state_dict().items()}
        codes = None
        if self.settings.mode != "scratch":
            codes = encode(self.model.encoder, self.problem.cells, self.device)
        head, steps, history = self._stages(division, codes=codes, steps=None)
        summary: dict[str, Any] = {"steps": steps, "history": history}
        if len(division.val):
            space = encode(self.model.encoder, self.problem.cells.at(division.val), self.device)
            with torch.no_grad():
                found = head.predict(space)["scaled"].cpu().numpy()
            summary |= self._judged(found, division)
            if not frozen and codes is not None and steps["encoder"] == 0:
                logger.warning(
                    "training the encoder does not predict held-out cells better than a head on the frozen one, which "
                    "is therefore used"
                )
            everything = Division(np.arange(len(self.problem.cells)), division.val[:0])
            if not frozen:
                self.model.encoder.load_state_dict(start)
            head, _, _ = self._stages(everything, codes=codes, steps=steps)
        summary["settings"] = asdict(training)
        return head, summary

    def _stages(
        self, division: Division, *, codes: torch.Tensor | None, steps: dict[str, int] | None
    ) -> tuple[ReadoutHead, dict[str, int], list[dict[str, float]]]:
        """Train a head on the frozen encoder, then both; a network from random weights has no first stage."""
        settings, values = self.settings.training, self.problem.values
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            head = HEADS[self.scale.likelihood](
                self.model.n_latent, values.shape[1], hidden=settings.hidden, dropout=settings.dropout
            )
        space = codes if codes is not None else encode(self.model.encoder, self.problem.cells, self.device)
        rows = division.train[:50_000]
        target, size = self.problem.target(rows, torch.device("cpu"))
        head.start_from(space[torch.from_numpy(rows).to(space.device)].cpu(), target, size)
        common: dict[str, Any] = {"settings": settings, "seed": self.seed, "device": self.device}
        done: dict[str, int] = {}
        history: list[dict[str, float]] = []
        if codes is not None:
            done["head"], history = train(
                head, self.problem, division, codes=codes, steps=None if steps is None else steps["head"], **common
            )
        if self.settings.mode != "probe":
            rate = 1.0 if codes is None else settings.encoder_rate
            done["encoder"], more = train(
                head, self.problem, division, encoder=self.model.encoder, encoder_rate=rate,
                steps=None if steps is None else steps["encoder"], **common,
            )  # fmt: skip
            history = [*history, *more]
        return head, done, history

    def _judged(self, found: NDArray[np.float32], division: Division) -> dict[str, Any]:
        """Say how well held-out cells were predicted."""
        if len(division.val) < 3:
            return {}
        scores = agreement(self.scale.scaled(self.problem.values[division.val]), found)
        if np.isnan(scores.pearson).all():
            return {}
        return {"held_out_pearson": round(float(np.nanmedian(scores.pearson)), 4)}
