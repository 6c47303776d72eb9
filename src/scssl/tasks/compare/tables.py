"""All tests of a comparison, and the false discovery rate across them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scssl.log import progress
from scssl.tasks.compare import composition, genes, programmes, state
from scssl.tasks.compare.fdr import adjusted, simes, within
from scssl.tasks.compare.settings import KINDS, Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.tasks.compare.bulk import Bulk
    from scssl.tasks.compare.design import Design
    from scssl.tasks.compare.programmes import Sets
    from scssl.tasks.compare.settings import ComparerSettings


@dataclass(kw_only=True)
class Material:
    """What is looked at, beside the design."""

    bulk: Bulk | None = None
    """Summed counts, for genes and programmes."""
    sets: Sets | None = None
    codes: NDArray[np.floating] | None = None
    """(n_cells, n_dimensions) embedding, for states."""
    empty: NDArray[np.bool_] | None = None
    """(n_cells,) cells whose place in it means nothing."""


@dataclass(kw_only=True)
class Tables:
    """What was found, before it is put in words."""

    composition: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=composition.COLUMNS))
    state: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=state.COLUMNS))
    genes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=genes.COLUMNS))
    programmes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=programmes.COLUMNS))
    questions: pd.DataFrame = field(default_factory=pd.DataFrame)
    """One row per type and kind: ``p_value``, ``q_value``, ``n_tests``, ``n_found``, ``smallest_p``, ``unit``."""
    reasons: dict[Kind, dict[str, str]] = field(default_factory=dict)
    """Kind to type to why it was not tested."""

    def of(self, kind: Kind) -> pd.DataFrame:
        """Return the table of a kind."""
        table: pd.DataFrame = getattr(self, kind)
        return table


def compare_all(
    design: Design, material: Material, settings: ComparerSettings, *, kinds: tuple[Kind, ...], seed: int
) -> Tables:
    """Make all tests, and correct for all of them.

    Parameters
    ----------
    design
        What is compared.
    material
        What is looked at.
    settings
        How.
    kinds
        What is asked.
    seed
        Of everything random.
    """
    found = Tables()
    if "composition" in kinds:
        found.composition, found.reasons["composition"] = composition.compare_composition(design, settings, seed=seed)
    if "programmes" in kinds:
        assert material.bulk is not None
        assert material.sets is not None
        found.programmes, found.reasons["programmes"] = programmes.compare_programmes(
            material.bulk, material.sets, design, settings, seed=seed
        )
    if "state" in kinds:
        assert material.codes is not None
        assert material.empty is not None
        with progress("comparing states", len(design.types), unit="types") as advance:
            found.state, found.reasons["state"] = state.compare_states(
                material.codes, design, settings, empty=material.empty, seed=seed, advance=advance
            )
    if "genes" in kinds:
        assert material.bulk is not None
        with progress("comparing genes", len(design.types), unit="types") as advance:
            found.genes, found.reasons["genes"] = genes.compare_genes(material.bulk, design, settings, advance=advance)
    found.questions = ask(found, kinds=kinds, fdr=settings.fdr)
    # The surest first, whatever the type; what was not tested stays in the order of its size.
    found.genes = found.genes.sort_values(["q_value", "p_value"], kind="stable", ignore_index=True)
    return found


def ask(tables: Tables, *, kinds: tuple[Kind, ...], fdr: float) -> pd.DataFrame:
    """Put one question per type and kind ("does any gene differ in these cells?"), and correct for all of them.

    A question's p-value is that of its test, or Simes' of its many tests; Benjamini and Hochberg's correction goes
    across the questions of all kinds and types together. ``q_value`` of single genes and programmes allows for that
    (see `fdr.within`), so that in every table what is found is what has a ``q_value`` at or below the rate.

    Parameters
    ----------
    tables
        With p-values; ``q_value`` and, of genes and programmes, ``q_within`` (Benjamini-Hochberg within the type
        alone) are added.
    kinds
        What was asked.
    fdr
        Rate.
    """
    rows: list[dict[str, Any]] = []
    for kind in (k for k in KINDS if k in kinds):
        table = tables.of(kind)
        for name, part in table.groupby("cell_type", sort=False):
            p = part["p_value"].to_numpy(dtype=np.float64)
            rows.append(
                {
                    "cell_type": name,
                    "kind": kind,
                    "p_value": simes(p),
                    "n_tests": int(np.isfinite(p).sum()),
                    "smallest_p": float(part["smallest_p"].iloc[0]) if "smallest_p" in part else np.nan,
                    "unit": str(part["unit"].iloc[0]),
                }
            )
    questions = pd.DataFrame(rows, columns=["cell_type", "kind", "p_value", "n_tests", "smallest_p", "unit"])
    q = adjusted(questions["p_value"].to_numpy(dtype=np.float64))
    questions["q_value"] = q
    n_of = np.zeros(len(questions), dtype=np.int64)
    n_found, n_questions = int((q <= fdr).sum()), int(np.isfinite(q).sum())
    for kind in KINDS:
        table = tables.of(kind)
        many = kind in ("genes", "programmes")
        for column in ("q_value", *(["q_within"] if many else [])):
            table[column] = np.nan
        of_kind = (questions["kind"] == kind).to_numpy()
        for row in np.flatnonzero(of_kind):
            chosen = (table["cell_type"] == questions["cell_type"].iloc[row]).to_numpy()
            p = table.loc[chosen, "p_value"].to_numpy(dtype=np.float64)
            if many:
                table.loc[chosen, "q_within"] = adjusted(p)
                values = within(p, question=float(q[row]), n_found=n_found, n_questions=n_questions)
            else:
                values = np.full(len(p), q[row])
            table.loc[chosen, "q_value"] = values
            n_of[row] = int((values <= fdr).sum())
    questions["n_found"] = n_of
    return questions
