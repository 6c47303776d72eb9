"""Cells that the reference has no name for: told apart at a stated cost, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.errors import DataError, require
from scssl.log import logger
from scssl.tasks.annotate import unknown_files
from scssl.tasks.annotate.folds import make_folds
from scssl.tasks.annotate.novelty import SCORES, Score, Space, Trial, even_sample
from scssl.tasks.annotate.quantile import Threshold, Unit, donor_weights, threshold

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

FAR = "far from every reference cell"
LOW = "low quality"
FEW = "too few genes measured"
REASONS = ("", FAR, LOW, FEW)
LEAST_MEASURED = 0.1
"""Where the measured genes carry less of the variance that the model knows, embeddings say too little."""
MAX_CELLS = 20_000
MIN_TYPE_CELLS = 20
"""Types with fewer held-out cells are not taken out to measure how many would be found."""
CELLS_OF_TYPE = 1000
LOW_SHARE, LOW_DEVIATIONS = 0.005, 4.0
"""Low quality is below this quantile of the reference, and so many (robust) deviations below its median in log."""


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """Which cells of a query are of no type of the reference, at an error budget.

    The budget is the share of cells of *known* types that may be rejected, mean over donors; it is what the threshold
    is set by, on donors held out. How many cells of *unknown* types are then found is measured by taking each type in
    turn out of the reference, and decides between the scores of `Space`.
    """

    error_budget: float
    """Share of cells of known types that may be rejected; 0: none ever is."""
    score: Score
    """The score that told the held-out types best."""
    limit: float
    """Cells with a larger score are far; infinite where none ever is."""
    unit: Unit
    """What the budget holds for, see `scssl.tasks.annotate.quantile.Threshold`."""
    power: Mapping[str, float]
    """Per type taken out of the reference: share of its cells that was rejected. Empty where it is not known."""
    wrongly: Mapping[str, float]
    """Per type: share of held-out cells that was rejected while the type was there."""
    least_counts: float
    """Cells with fewer counts are of low quality."""
    least_genes: float
    """Cells with fewer genes seen are of low quality."""
    space: Space
    """The reference that cells are compared with."""

    @classmethod
    def fit(
        cls,
        embedding: NDArray[np.floating],
        *,
        codes: NDArray[np.integer],
        classes: Sequence[str],
        donors: NDArray[np.int64] | None = None,
        rows: NDArray[np.integer] | None = None,
        judged: NDArray[np.floating] | None = None,
        error_budget: float = 0.05,
        n_counts: NDArray[np.floating] | None = None,
        n_genes: NDArray[np.floating] | None = None,
        k: int = 10,
        max_types: int = 10,
        max_cells: int = MAX_CELLS,
        seed: int = 0,
    ) -> Self:
        """Learn what is far from a reference.

        Parameters
        ----------
        embedding
            (n_cells, n_latent) of all labelled reference cells.
        codes
            (n_cells,) their types.
        classes
            Names of the types.
        donors
            (n_cells,) codes, negative where not known. With fewer than two, cells are held out one by one.
        rows
            Cells that the limit may be set by: those that the encoder did not learn labels from. All by default. With
            `rows`, types taken out choose the score, but no `power` is kept: the encoder has learned these types.
        judged
            (n_rows, n_latent) of `rows`, where an encoder that did not learn from them embeds them elsewhere.
        error_budget
            Share of cells of known types that may be rejected; 0: never reject.
        n_counts, n_genes
            (n_cells,) counts and genes seen in each reference cell, to tell cells of low quality by. On genes that
            the query measures too, or scaled to all genes, or a query with few genes is all of low quality.
        k
            Nearest cells that count, for the scores that look at cells.
        max_types
            Types that are taken out in turn; drawn, if there are more.
        max_cells
            Reference cells that are kept (rare types entirely), and held-out cells that the limit is set by.
        seed
            Of all draws.

        Raises
        ------
        DataError
            If lengths differ, values are not finite, or no cell can be held out.
        SettingsError
            If the budget is not possible.
        """
        require("error_budget", error_budget, holds=0 <= error_budget < 1, must="at least 0 and below 1")
        x, y = _checked(embedding, codes, n_classes=len(classes))
        if donors is not None and len(np.unique(donors[donors >= 0])) < 2:
            donors = None
        bank = even_sample(y, n=max_cells, seed=seed)
        space = Space.fit(x[bank], codes=y[bank], k=k, seed=seed)
        least_counts, least_genes = _least(n_counts), _least(n_genes)
        shared: dict[str, Any] = {"error_budget": float(error_budget), "space": space}
        shared |= {"least_counts": least_counts, "least_genes": least_genes}
        if error_budget == 0:
            return cls(score=SCORES[0], limit=np.inf, unit="cells", power={}, wrongly={}, **shared)

        fold = make_folds(y, donors, seed=seed)
        allowed = np.zeros(len(y), dtype=bool)
        allowed[slice(None) if rows is None else rows] = True
        held = np.flatnonzero((fold >= 0) & allowed)
        if len(held) > max_cells:
            held = np.sort(np.random.default_rng([seed, 1]).choice(held, max_cells, replace=False))
        # A type that only the cell's own fold has is unknown there: such cells say nothing of known types.
        count = np.zeros((len(classes), fold.max(initial=0) + 1), dtype=np.int64)
        there = bank[fold[bank] >= 0]
        np.add.at(count, (y[there], fold[there]), 1)
        held = held[count.sum(axis=1)[y[held]] > count[y[held], fold[held]]]
        if not len(held):
            message = "unknown cells: no reference cell can be held out, as every type is in one donor only"
            raise DataError(message)
        elsewhere = x
        if rows is not None and judged is not None:
            elsewhere = x.copy()
            elsewhere[rows] = judged
        trial = Trial(embedding=x, codes=y, fold=fold, bank=there, k=k, seed=seed, judged=elsewhere)
        known = trial.scores(held)
        low = np.zeros(len(held), dtype=bool)
        for values, least in ((n_counts, least_counts), (n_genes, least_genes)):
            if values is not None:
                low |= np.asarray(values)[held] < least
        d = None if donors is None else donors[held]
        limits = {name: _limit(known[name], low=low, donors=d, error_budget=error_budget) for name in SCORES}
        types = _types_to_take_out(y[held], n=max_types, seed=seed)
        power: dict[Score, dict[str, float]] = {name: {} for name in SCORES}
        for code in types:
            some = held[y[held] == code][:CELLS_OF_TYPE]
            for name, values in trial.scores(some, without=code).items():
                power[name][classes[code]] = float((values > limits[name].value).mean())
        wrong: dict[Score, dict[str, float]] = {
            name: {
                classes[code]: float((low | (known[name] > limits[name].value))[y[held] == code].mean())
                for code in np.unique(y[held])
            }
            for name in SCORES
        }
        # Wrong rejections by type too: the budget is over cells, and could be spent on one rare type.
        gain = [sum(power[name].values()) / max(len(types), 1) - np.mean([*wrong[name].values()]) for name in SCORES]
        best = SCORES[int(np.argmax(gain))] if types else SCORES[0]
        found = cls(
            score=best,
            limit=limits[best].value,
            unit=limits[best].unit,
            power=power[best] if rows is None else {},
            wrongly=wrong[best],
            **shared,
        )
        if rows is None:
            found._say(donor_share=_share(known[best] > found.limit, low=low, donors=d))
        return found

    def distance(self, embedding: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return how far cells lie from the reference, (n_cells,); comparable with `limit`.

        Parameters
        ----------
        embedding
            (n_cells, n_latent).

        Raises
        ------
        DataError
            If the width is another one, or values are not finite.
        """
        x = np.asarray(embedding)
        width = len(self.space.white)
        if x.ndim != 2 or x.shape[1] != width or not np.isfinite(x).all():
            message = f"embedding has shape {x.shape}; it must be finite and (n_cells, {width})"
            raise DataError(message)
        return self.space.score(x, kind=self.score)

    def judge(
        self,
        embedding: NDArray[np.floating],
        *,
        n_counts: NDArray[np.floating] | None = None,
        n_genes: NDArray[np.floating] | None = None,
        measured: float | NDArray[np.floating] = 1.0,
    ) -> pd.Categorical:
        """Say for each cell why it cannot be named; empty where it can.

        Parameters
        ----------
        embedding
            (n_cells, n_latent).
        n_counts, n_genes
            (n_cells,) counts and genes seen, as in `fit`; None: not looked at.
        measured
            Share of the model's variance that the measured genes carry, of the query or of each cell.

        Returns
        -------
        pandas.Categorical
            (n_cells,) of `REASONS`. Where several hold, the one that stands later there.
        """
        codes = np.zeros(len(embedding), dtype=np.int8)
        if self.error_budget > 0:
            codes[self.distance(embedding) > self.limit] = REASONS.index(FAR)
            for values, least in ((n_counts, self.least_counts), (n_genes, self.least_genes)):
                if values is not None:
                    codes[np.asarray(values) < least] = REASONS.index(LOW)
            codes[np.broadcast_to(np.asarray(measured) < LEAST_MEASURED, codes.shape)] = REASONS.index(FEW)
        return pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(REASONS, dtype=object))

    def table(self) -> pd.DataFrame:
        """Return, per type, what share of its cells is rejected while it is known and once it is taken out.

        Returns
        -------
        pandas.DataFrame
            Index ``class``; ``rejected_wrongly`` and ``found_when_unknown``, missing where it was not measured.
        """
        columns = {"rejected_wrongly": dict(self.wrongly), "found_when_unknown": dict(self.power)}
        return pd.DataFrame(columns, dtype=float).rename_axis("class").sort_index()

    def to_dict(self) -> dict[str, Any]:
        """Return all but the arrays as plain values for JSON."""
        return unknown_files.to_dict(self)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays that have to be kept, by name."""
        return unknown_files.arrays(self.space)

    @classmethod
    def from_dict(cls, values: Any, *, arrays: Mapping[str, NDArray[Any]], n_latent: int) -> Self:
        """Read what `to_dict` and `arrays` wrote.

        Parameters
        ----------
        values
            Content of the JSON file.
        arrays
            The arrays by name.
        n_latent
            Width that the embedding must have.

        Raises
        ------
        FormatError
            If anything is missing, not possible, or does not fit together.
        """
        return cls(**unknown_files.read(values, arrays=arrays, n_latent=n_latent))

    def _say(self, *, donor_share: float) -> None:
        """Log what rejecting costs and what it finds; warn where it finds next to nothing."""
        if not self.power:
            logger.warning(
                "unknown cells: no type has the %d held-out cells it takes to measure how many cells of an unknown "
                "type would be found",
                MIN_TYPE_CELLS,
            )
            return
        mean = float(np.mean([*self.power.values()]))
        logger.info(
            "unknown cells: %.1f %% of held-out cells of known types are rejected; of types taken out, %.0f %%",
            100 * donor_share,
            100 * mean,
        )
        if mean < 2 * self.error_budget:
            logger.warning(
                "unknown cells: of cells of types taken out of the reference only %.0f %% are rejected, hardly more "
                "than of known types (budget %.0f %%); that a cell is not rejected says nothing about it here",
                100 * mean,
                100 * self.error_budget,
            )


def _limit(
    scores: NDArray[np.float32], *, low: NDArray[np.bool_], donors: NDArray[np.integer] | None, error_budget: float
) -> Threshold:
    """Return the limit that keeps to the budget together with what is rejected for low quality anyway."""
    return threshold(np.where(low, np.inf, scores), error_rate=error_budget, donors=donors)


def _share(far: NDArray[np.bool_], *, low: NDArray[np.bool_], donors: NDArray[np.integer] | None) -> float:
    return float(donor_weights(donors, n_cells=len(far)) @ (far | low))


def _least(values: NDArray[np.floating] | None) -> float:
    """Return the value below which a cell is far below the reference."""
    if values is None or not len(values):
        return 0.0
    logs = np.log1p(np.asarray(values, dtype=np.float64))
    middle = np.median(logs)
    deviation = 1.4826 * np.median(np.abs(logs - middle))
    return float(np.expm1(max(min(np.quantile(logs, LOW_SHARE), middle - LOW_DEVIATIONS * deviation), 0.0)))


def _types_to_take_out(codes: NDArray[np.int64], *, n: int, seed: int) -> list[int]:
    """Return types with enough cells, drawn if there are too many; none if no other type would be left."""
    types, count = np.unique(codes, return_counts=True)
    enough = types[count >= MIN_TYPE_CELLS] if len(types) > 1 else types[:0]
    if len(enough) > n:
        enough = np.sort(np.random.default_rng([seed, 2]).choice(enough, n, replace=False))
    return [int(code) for code in enough]


def _checked(
    embedding: NDArray[np.floating], codes: NDArray[np.integer], *, n_classes: int
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    x, y = np.asarray(embedding), np.asarray(codes, dtype=np.int64)
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(y) or y.min() < 0 or y.max() >= n_classes:
        message = f"embedding {x.shape} and codes {y.shape}: one type out of {n_classes} for each cell is needed"
        raise DataError(message)
    if not np.isfinite(x).all():
        message = "the embedding contains values that are not finite"
        raise DataError(message)
    return x, y
