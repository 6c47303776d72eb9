"""Whether batches were mixed and types kept: scores of an integration beside what else could have been done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.log import logger, progress
from scssl.metrics.integration import integration_scores
from scssl.tasks.annotate.labels import UNLABELLED, read_labels
from scssl.tasks.integrate.controls import harmony, oracle, principal_components, shuffled
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.genes import GenePanel
    from scssl.tasks.integrate.fitted import Integration

OURS: Final = "scssl"
UNMOVED: Final = "scssl, batches not moved"
PCA: Final = "PCA, not integrated"
HARMONY: Final = "Harmony on PCA"
SHUFFLED: Final = "shuffled (limit)"
ORACLE: Final = "labels known (limit)"
CLEAR: Final = 0.02
"""Difference of mean scores from which on one is called better."""


@dataclass(frozen=True, kw_only=True)
class IntegrationReport:
    """Scores of an integration and of what it is held against."""

    table: pd.DataFrame
    """Index ``method``; ``type_score`` and ``mixing_score`` (means), then every score; raw, 1 is best."""
    verdict: str
    """In plain words, against unintegrated principal components; and what to try where these are better."""
    notes: list[str] = field(default_factory=list)
    """What to keep in mind."""
    n_cells: int
    """Cells that were scored."""

    def summary(self) -> dict[str, Any]:
        """Return plain values, missing scores as None."""
        rounded = self.table.astype(float).round(4).astype(object)
        rows = rounded.where(self.table.notna(), None).to_dict(orient="index")
        return {"n_cells": self.n_cells, "verdict": self.verdict, "notes": self.notes, "scores": rows}


def evaluate(
    found: Integration,
    cells: AnnData | Path | str,
    *,
    panel: GenePanel,
    labels: str | None = None,
    layer: str | None = None,
    unlabelled: Collection[str] = UNLABELLED,
    max_cells: int = 20_000,
    seed: int = 0,
) -> IntegrationReport:
    """Score an integration; see `Integrator.evaluate`.

    Parameters
    ----------
    found
        Where the cells lie.
    cells
        The same cells, with counts.
    panel
        Genes of the model.
    labels, layer, unlabelled, max_cells, seed
        See `Integrator.evaluate`.
    """
    file, notes = found.batches.file, []
    if max_cells < 20:
        message = f"max_cells is {max_cells}; at least 20 cells are needed to score"
        raise DataError(message)
    names = None
    if labels is not None:
        names = read_labels(found.batches.obs, labels, file=file, unlabelled=unlabelled).to_numpy(dtype=object)
        n_none = int(sum(name is None for name in names))
        if n_none:
            notes.append(f"without a label: {count(n_none, 'cell')}, counted where labels do not matter")
    else:
        notes.append(
            "no labels were given: only mixing is scored, and mixing is best where all is lost, as the shuffled cells "
            "show; give labels to see whether types were kept"
        )
    rows = np.flatnonzero(~found.empty)
    if len(rows) < 20:
        message = (
            f"{file}: {len(rows)} cells with counts are too few to score how they are mixed; at least 20 are needed"
        )
        raise DataError(message)
    if len(rows) > max_cells:
        rows = np.sort(np.random.default_rng([seed, 0xE7]).choice(rows, max_cells, replace=False))
        notes.append(f"{max_cells:,} of {len(found.embedding):,} cells, drawn at random, were scored")
    batch = np.array(found.batches.names, dtype=object)[found.batches.codes[rows]].astype(str)
    names = None if names is None else names[rows]
    before = principal_components(cells, panel=panel, rows=rows, layer=layer)
    mine = found.embedding[rows]
    methods: dict[str, NDArray[np.float32]] = {OURS: mine}
    if not np.array_equal(found.codes, found.embedding):
        methods[UNMOVED] = found.codes[rows]
    methods |= {PCA: before, HARMONY: harmony(before, batch=batch, seed=seed), SHUFFLED: shuffled(mine, seed=seed)}
    if names is not None:
        methods[ORACLE] = oracle(names, seed=seed)
    table = score_all(methods, batch=batch, labels=names, before=before)
    verdict = " ".join(part for part in (say(table), advise(table, mode=found.settings["mode"])) if part)
    for note in notes:
        logger.info("%s: %s", file, note)
    return IntegrationReport(table=table, verdict=verdict, notes=notes, n_cells=len(rows))


def score_all(
    methods: dict[str, NDArray[np.float32]],
    *,
    batch: NDArray[Any],
    labels: NDArray[Any] | None,
    before: NDArray[np.float32],
) -> pd.DataFrame:
    """Score several embeddings of the same cells, one row each, each by itself.

    Parameters
    ----------
    methods
        Embeddings by name, (n_cells, n) each.
    batch, labels, before
        See `integration_scores`.
    """
    rows = {}
    with progress("scoring embeddings", len(methods), unit="methods") as advance:
        for name, embedding in methods.items():
            scores = integration_scores(embedding, batch=batch, labels=labels, before=before)
            means = {"type_score": scores.type_score, "mixing_score": scores.mixing_score}
            rows[name] = {**means, **scores.types, **scores.mixing}
            advance(1)
    return pd.DataFrame.from_dict(rows, orient="index").astype(float).rename_axis("method")


def say(table: pd.DataFrame) -> str:
    """Say in plain words what an integration did, against unintegrated principal components.

    Parameters
    ----------
    table
        Of an `IntegrationReport`.
    """
    mine, plain = (table.loc[name].to_dict() for name in (OURS, PCA))
    mixed = _against(mine["mixing_score"], plain["mixing_score"])
    words = {1: "Batches are better mixed than", 0: "Batches are about as mixed as", -1: "Batches are less mixed than"}
    numbers = f"mixing {mine['mixing_score']:.2f} against {plain['mixing_score']:.2f}"
    text = f"{words[mixed]} in PCA without integration ({numbers})"
    if np.isnan(mine["type_score"]):
        return f"{text}. Whether types were kept is not known: that takes labels."
    kept = _against(mine["type_score"], plain["type_score"])
    words = {
        1: "types are better told apart",
        0: "types are as well told apart",
        -1: "types were lost: they are less well told apart",
    }
    numbers = f"{mine['type_score']:.2f} against {plain['type_score']:.2f}"
    joint = "but" if mixed * kept < 0 else "and"
    return f"{text}, {joint} {words[kept]} ({numbers})."


def advise(table: pd.DataFrame, *, mode: str) -> str:
    """Say what to try where an integration is worse than something simpler; nothing where it is not.

    Parameters
    ----------
    table
        Of an `IntegrationReport`, with scores of types.
    mode
        Of the integrator.
    """
    rows: dict[str, dict[str, float]] = table[["type_score", "mixing_score"]].to_dict("index")  # type: ignore[assignment]
    mine, said = rows[OURS], list[str]()
    if np.isnan(mine["type_score"]):
        return ""
    if _against(mine["type_score"], rows[PCA]["type_score"]) < 0:
        kept = rows.get(UNMOVED, mine)["type_score"]
        if _against(mine["type_score"], kept) < 0:
            said.append(f"Moving the batches took part of that: --correct none (correct='none') keeps {kept:.2f}.")
        if mode == "zero_shot":
            said.append(
                "The model may have seen few cells of this kind: try --mode finetune (mode='finetune'), which goes on "
                "with its training on these."
            )
    types, mixing = (rows[HARMONY][name] for name in ("type_score", "mixing_score"))
    if _against(types, mine["type_score"]) > 0 and _against(mixing, mine["mixing_score"]) > 0:
        said.append(f"{HARMONY} is better at both (types {types:.2f}, mixing {mixing:.2f}).")
    return " ".join(said)


def _against(mine: float, other: float) -> int:
    return 0 if abs(mine - other) < CLEAR else (1 if mine > other else -1)
