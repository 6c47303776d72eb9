"""The result of a comparison: tables, and what they say in plain words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from scssl.tasks.compare.design import Design
    from scssl.tasks.compare.settings import Kind
    from scssl.tasks.compare.tables import Tables

TABLES: Final = ("answers", "composition", "state", "genes", "programmes", "shares", "samples", "members", "left_out")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two conditions compared, donors as the units.

    In every table ``q_value`` is the false discovery rate across everything that was asked, and ``unit`` is ``donor``
    for what was tested and ``cell`` for what says something about these cells only.
    """

    answers: pd.DataFrame
    """One row per cell type and kind of change, what is found first: ``what``, ``sure`` (both in words), ``found``,
    ``effect`` with ``low`` and ``high``, ``p_value``, ``q_value``, ``smallest_p`` (that permuting could give;
    missing where ``p_value`` is not by permutation)."""
    composition: pd.DataFrame
    """One row per type: shares, ``log2_ratio`` of centred log-ratios, ``p_moderated``, ``p_permutation``."""
    state: pd.DataFrame
    """One row per type: ``relative_shift`` with its interval (``shift``, the energy distance beyond what donors differ,
    in units of the usual distance between two types), ``donor_spread``, ``condition_share`` of the distance between
    donors of different conditions, ``auc`` of a classifier on donors it has not seen."""
    genes: pd.DataFrame
    """One row per type and gene that was tested: ``log2_ratio`` with its interval, ``p_value``, ``q_within`` (within
    the type alone, what other tools call adjusted)."""
    programmes: pd.DataFrame
    """One row per type and programme: ``log2_ratio``, the mean of its genes."""
    shares: pd.DataFrame
    """One row per sample and type: cells and their share."""
    samples: pd.DataFrame
    """One row per donor and condition: cells, covariates."""
    members: pd.DataFrame
    """``programme`` and its ``genes``."""
    left_out: pd.DataFrame
    """What was not tested, and why: ``cell_type``, ``kind``, ``reason``."""
    sentences: list[str]
    """What came out, in plain words."""
    warnings: list[str]
    """What is to be known before anything is believed: confounding."""
    notes: list[str]
    """Which cells took no part."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Question, settings, inputs and versions: plain values."""

    @property
    def found(self) -> pd.DataFrame:
        """The answers that are found at the false discovery rate."""
        return self.answers[self.answers["found"].astype(bool)]

    def summary(self) -> dict[str, Any]:
        """Return plain values: what ``--json`` prints."""
        return {
            "sentences": self.sentences,
            "warnings": self.warnings,
            "notes": self.notes,
            "n_questions": int(self.answers["p_value"].notna().sum()),
            "n_found": len(self.found),
            "answers": plain(self.answers),
            "left_out": plain(self.left_out),
            "settings": self.settings,
        }

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def left_out(tables: Tables, design: Design, *, min_cells: int, kinds: tuple[Kind, ...]) -> pd.DataFrame:
    """List what was not tested, and why.

    Parameters
    ----------
    tables
        With reasons.
    design
        What was compared.
    min_cells
        Cells of a type that a sample must have.
    kinds
        What was asked.
    """
    if not design.testable:
        reason = "fewer than two donors on a side: nothing was tested"
        return pd.DataFrame([{"cell_type": "all", "kind": "all", "reason": reason}])
    rows = [
        {"cell_type": name, "kind": kind, "reason": reason}
        for kind, reasons in tables.reasons.items()
        for name, reason in reasons.items()
    ]
    small = design.samples.index[(design.counts.sum(axis=1) < min_cells)]
    if "composition" in kinds and len(small):
        with_pair = " (and with them the same donors' other samples)" if design.paired else ""
        listed = ", ".join(map(str, small[:8])) + (", ..." if len(small) > 8 else "")
        reason = f"samples left out because they have fewer than {min_cells} cells{with_pair}: {listed}"
        rows.append({"cell_type": "all", "kind": "composition", "reason": reason})
    if any(kind != "composition" for kind in kinds):
        counts = design.counts
        for code, name in enumerate(design.types):
            _, few = design.rows_of(code, min_cells=min_cells)
            if few:
                place = [design.samples.index.get_loc(sample) for sample in few]
                listed = ", ".join(f"{sample} ({counts[i, code]})" for sample, i in zip(few[:8], place, strict=False))
                more = ", ..." if len(few) > 8 else ""
                who = "they, or the same donor's other sample, have" if design.paired else "they have"
                reason = f"samples left out because {who} fewer than {min_cells} of these cells: {listed}{more}"
                rows.append({"cell_type": name, "kind": "all but composition", "reason": reason})
    return pd.DataFrame(rows, columns=["cell_type", "kind", "reason"])


def plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows of plain values, missing ones as None.

    Parameters
    ----------
    table
        Any.
    """
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict(orient="records")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
