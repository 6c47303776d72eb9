"""Scoring reconstructions on what was held out, the model beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.log import logger, progress
from scssl.metrics.reconstruction import ReconstructionScores, ReconstructionTally
from scssl.tasks.reconstruct import baselines
from scssl.tasks.reconstruct.baselines import Given, Predicted
from scssl.tasks.reconstruct.holdout import Sample, Split, hold_out
from scssl.tasks.reconstruct.sample import batch_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import scipy.sparse as sp
    from numpy.typing import NDArray

    from scssl.tasks.reconstruct.baselines import Method
    from scssl.tasks.reconstruct.readout import Readout

CHUNK = 256
"""Cells scored at a time."""
EXAMPLES = 6
"""Genes of which the single predictions are kept, for figures."""
SCALES = {
    "thinned": "log1p of counts per 10,000 in the held-out {share:.0%} of each cell's counts",
    "hidden": "log1p of counts per 10,000 at hidden entries, {share:.0%} of the measured genes of each cell",
}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of a reconstruction beside those of baselines, on the same held-out entries."""

    scores: dict[str, ReconstructionScores]
    """By method; the model comes first."""
    examples: pd.DataFrame
    """Predictions of the model for a few genes: ``gene``, ``truth``, ``predicted`` (log values)."""
    settings: dict[str, Any]
    """How it was held out, on which scale, of which cells; what was chosen for the baselines."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per method, one column per score."""
        return pd.DataFrame({name: scores.summary() for name, scores in self.scores.items()}).T

    def summary(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"methods": {name: scores.summary() for name, scores in self.scores.items()}, **self.settings}


@dataclass(frozen=True)
class Held:
    """Cells with a part held out, on the genes that were measured."""

    sample: Sample
    split: Split

    @property
    def n_cells(self) -> int:
        """Cells that have counts on both sides."""
        return len(self.split.rows)

    @property
    def scale(self) -> float:
        """What shares of the measured genes' counts are multiplied by before log1p."""
        return baselines.TARGET_SUM * self.sample.measured_share

    def given(self) -> Given:
        """Return what baselines see: the counts of the measured genes."""
        split, measured = self.split, self.sample.measured
        seen = None if split.hidden is None else ~split.hidden[:, measured]
        return Given(split.seen[:, measured], split.seen_total, seen, self.scale)

    def truth(self, cells: slice) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.bool_] | None]:
        """Return log values, counts and which entries are scored, (n, n_measured) each."""
        split, measured = self.split, self.sample.measured
        counts = np.asarray(split.truth[cells][:, measured].todense())
        log = np.log1p(self.scale * counts / split.true_total[cells][:, None])
        return log, counts, None if split.hidden is None else split.hidden[cells][:, measured]

    def score(self, method: Method, *, names: list[str], theta: NDArray[np.floating]) -> ReconstructionScores:
        """Score a method.

        Parameters
        ----------
        method
            Predicts the cells.
        names
            (n_measured,) genes.
        theta
            (n_measured,) inverse dispersion, for one of the deviances.
        """
        tally = ReconstructionTally(len(names), theta=theta)
        for cells in _chunks(self.n_cells):
            found, (log, counts, scored) = method(cells), self.truth(cells)
            expected = found.share * self.split.expected_total[cells][:, None]
            tally.add(log, found.log, counts=counts, expected=expected, scored=scored)
        return tally.scores(names=names)


class OfModel:
    """A model as a method among others.

    Parameters
    ----------
    readout
        Of the model, for all genes of its panel.
    held
        The cells.
    spread
        (n_genes,) standard deviation of log values, for models whose likelihood does not say; None for none.
    kept
        Positions among the measured genes whose predictions are kept.
    """

    def __init__(
        self, readout: Readout, held: Held, *, spread: NDArray[np.floating] | None, kept: NDArray[np.int64]
    ) -> None:
        self.readout, self.held, self.spread, self.kept = readout, held, spread, kept
        self.strayed = np.zeros(2)
        """Sums of squared errors, and of squared standard deviations."""
        self.examples: list[NDArray[np.floating]] = []

    def __call__(self, cells: slice) -> Predicted:
        """Predict some cells."""
        held, split, measured = self.held, self.held.split, self.held.sample.measured
        share = held.sample.measured_share
        batch = batch_of(split.seen[cells], held.sample, total=split.seen_total[cells])
        decoded = self.readout.decode(batch, hidden=None if split.hidden is None else split.hidden[cells])
        total = split.expected_total[cells] / share
        found = self.readout.quantities(decoded, total=total, wanted=("measured", "sd"))
        log = found["measured"][:, measured]
        if decoded.share is None:
            shares = baselines.shares_of_log(log)
            sd = None if self.spread is None else np.broadcast_to(self.spread[measured], log.shape)
        else:
            shares, sd = decoded.expected_share().cpu().numpy()[:, measured] / share, found["sd"][:, measured]
        self._look(cells, log, sd)
        return Predicted(log, shares)

    def _look(self, cells: slice, log: NDArray[np.floating], sd: NDArray[np.floating] | None) -> None:
        truth, _, scored = self.held.truth(cells)
        at = np.ones(truth.shape, dtype=bool) if scored is None else scored
        if sd is not None:
            at_known = at & np.isfinite(sd)
            self.strayed += [((log - truth)[at_known] ** 2).sum(), (sd[at_known].astype(np.float64) ** 2).sum()]
        for position in self.kept:
            rows = np.flatnonzero(at[:, position])
            gene = np.full(len(rows), position, dtype=np.float64)
            self.examples.append(np.stack([gene, truth[rows, position], log[rows, position]], axis=1))

    def summary(self) -> dict[str, Any]:
        """Return how much farther measurements stray than was said: 1 is right, more is too sure."""
        error, said = self.strayed
        return {"errors_over_sd": round(float(np.sqrt(error / said)), 4) if said > 0 else None}


def evaluate(
    sample: Sample,
    readout: Readout,
    *,
    name: str,
    genes: list[str],
    labels: NDArray[np.object_] | None,
    spread: NDArray[np.floating] | None,
    gene_share: NDArray[np.floating],
    how: Any,
    share: float,
    seed: int,
    others: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Hold out a part of the counts, and score the model and the baselines on it.

    Parameters
    ----------
    sample
        Cells.
    readout
        Of the model.
    name
        What to call the model.
    genes
        (n_genes,) names of the genes of the panel.
    labels
        (n_cells,) cell types, for their means; None for none.
    spread
        See `OfModel`.
    gene_share
        (n_genes,) share of a typical cell's counts.
    how, share, seed
        See `hold_out`.
    others
        More methods: name to function that makes one of `Held`.
    """
    held = Held(sample, hold_out(sample, how, share=share, gene_share=gene_share, seed=seed))
    if held.n_cells < 2:
        message = (
            f"{held.n_cells} of {sample.counts.shape[0]} cells have counts both to see and to score; give deeper "
            "cells, or hold out another share"
        )
        raise DataError(message)
    given = held.given()
    names = [genes[i] for i in np.flatnonzero(sample.measured)]
    theta = dispersion(given)
    log = given.log
    square = np.asarray(log.power(2).mean(axis=0)).ravel() - np.asarray(log.mean(axis=0)).ravel() ** 2
    model = OfModel(readout, held, spread=spread, kept=np.argsort(-square, kind="stable")[:EXAMPLES])
    methods: dict[str, Method] = {name: model, "gene mean": baselines.gene_mean(given)}
    if labels is not None:
        methods["cell-type mean"] = baselines.type_mean(given, labels[held.split.rows])
    k, n = _choices(given, seed=seed)
    components = baselines.Components(given, n=n, seed=seed)
    # Neighbours are looked up among the components that predict best, which hold the least noise.
    methods["kNN smoothing"] = baselines.neighbours(given, codes=components.codes, k=k)
    methods["PCA"] = components.method(n)
    methods |= {other: make(held) for other, make in (others or {}).items()}
    scores = {}
    with progress("scoring", len(methods), unit="methods") as advance:
        for method, predict in methods.items():
            scores[method] = held.score(predict, names=names, theta=theta)
            advance(1)
    kept = np.concatenate([np.empty((0, 3)), *model.examples])
    examples = pd.DataFrame({"gene": [names[int(i)] for i in kept[:, 0]], "truth": kept[:, 1], "predicted": kept[:, 2]})
    settings = {
        "hold_out": how, "share": share, "seed": seed, "scale": SCALES[how].format(share=share),
        "n_cells": held.n_cells, "n_genes": len(names), "neighbours": k, "components": n, **model.summary(),
    }  # fmt: skip
    return Evaluation(scores=scores, examples=examples, settings=settings)


def _choices(given: Given, *, seed: int) -> tuple[int, int]:
    """Return numbers of neighbours and components that predict best what is thinned from the counts that are seen.

    As in molecular cross-validation (doi 10.1101/786269): what is scored in the end takes no part.
    """
    everything = np.ones(given.counts.shape[1], dtype=bool)
    inner = Sample(counts=given.counts, measured=everything, measured_share=given.scale / baselines.TARGET_SUM)
    split = hold_out(inner, "thinned", share=0.5, gene_share=np.zeros(len(everything)), seed=seed + 1)
    seen = None if given.seen is None else given.seen[split.rows]
    half = Given(split.seen, split.seen_total, seen, given.scale)
    held = Held(inner, split)
    if held.n_cells < 2:
        return baselines.NEIGHBOURS[0], baselines.COMPONENTS[0]

    def loss(method: Method) -> float:
        total = 0.0
        for cells in _chunks(held.n_cells):
            error = (method(cells).log - held.truth(cells)[0]) ** 2
            total += float(error.sum() if seen is None else error[seen[cells]].sum())
        return total

    components = baselines.Components(half, n=max(baselines.COMPONENTS), seed=seed)
    sizes = sorted({min(n, components.n) for n in baselines.COMPONENTS})
    n = baselines.choose({size: components.method(size) for size in sizes}, loss)
    codes = components.codes[:, :n]
    ks = sorted({min(k, held.n_cells) for k in baselines.NEIGHBOURS})
    k = baselines.choose({size: baselines.neighbours(half, codes=codes, k=size) for size in ks}, loss)
    logger.info("chosen on counts thinned once more: %d neighbours, %d components", k, n)
    return k, n


def dispersion(given: Given) -> NDArray[np.float64]:
    """(n_genes,) inverse dispersion about the mean of each gene, by moments, the same for all methods."""
    n = given.counts.shape[0]
    share = baselines.gene_mean(given)(slice(0, 1)).share[0].astype(np.float64)
    counts: sp.csr_matrix = given.counts.astype(np.float64)
    squares = np.asarray(counts.power(2).sum(axis=0)).ravel()
    cross = np.asarray(counts.T @ given.total).ravel()
    size, deep = given.total, given.total**2
    if given.seen is None:
        totals, squared = np.full(len(share), size.sum()), np.full(len(share), deep.sum())
    else:
        totals, squared = size @ given.seen, deep @ given.seen
    mean_squares = share**2 * squared
    extra = squares - 2 * share * cross + mean_squares - share * totals
    found = mean_squares / np.maximum(extra, 1e-9 * max(n, 1))
    return np.asarray(np.clip(found, 0.05, 1e4), dtype=np.float64)


def _chunks(n: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
