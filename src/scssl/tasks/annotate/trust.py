"""What is learned from held-out donors so that labels can be trusted: temperature, label sets, rejection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scssl.errors import FormatError
from scssl.metrics.calibration import calibration_scores
from scssl.tasks.annotate.calibrate import fit_temperature, probabilities
from scssl.tasks.annotate.conformal import LabelSets, coverage
from scssl.tasks.annotate.unknown import Novelty

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scssl.tasks.annotate.classifier import HeldOut

UNIT = {True: "donors", False: "cells"}


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How scores become probabilities, label sets and rejections."""

    temperature: float
    """By which log-scores are divided."""
    sets: LabelSets | None
    """None if no sets were asked for."""
    novelty: Novelty | None
    """None if no cell is to be rejected."""
    by_donor: bool
    """Whether donors, not cells, were held out."""
    held_out: dict[str, Any]
    """What was found on the held-out cells: plain values."""

    @classmethod
    def learn(cls, held_out: HeldOut, *, by_donor: bool, error_rate: float, novelty: Novelty | None = None) -> Trust:
        """Learn from reference cells that were scored without their donors.

        Parameters
        ----------
        held_out
            Their scores.
        by_donor
            Whether donors, not cells, were held out.
        error_rate
            Share of cells whose label set may miss the true label; 0 for no sets.
        novelty
            What tells cells of unknown types.
        """
        donors = held_out.donors if by_donor else None
        temperature = fit_temperature(held_out.log_scores, codes=held_out.codes, donors=donors)
        p = probabilities(held_out.log_scores, temperature=temperature)
        sets = None
        found = calibration_scores(held_out.codes, p).summary()
        summary: dict[str, Any] = {
            "unit": UNIT[by_donor],
            "n_cells": len(held_out.codes),
            "n_donors": len(np.unique(held_out.donors)) if by_donor else 0,
            **{name: round(float(found[name]), 4) for name in ("accuracy", "confidence", "ece")},
        }
        if error_rate > 0:
            sets = LabelSets.fit(p, codes=held_out.codes, donors=donors, error_rate=error_rate)
            table = coverage(sets.sets(p), codes=held_out.codes)
            summary |= {"coverage": round(float(table["coverage"].iloc[0]), 4), "rate_holds_for": sets.unit}
            summary["labels_per_set"] = round(float(table["size"].iloc[0]), 2)
        if novelty is not None:
            table = novelty.table()
            for name in map(str, table):
                summary[name] = {str(label): round(float(value), 3) for label, value in table[name].dropna().items()}
        return cls(temperature=temperature, sets=sets, novelty=novelty, by_donor=by_donor, held_out=summary)

    def probabilities(self, log_scores: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return calibrated probabilities, (n_cells, n_classes)."""
        return probabilities(log_scores, temperature=self.temperature)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that have to be kept, by name."""
        return {} if self.novelty is None else dict(self.novelty.arrays())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "temperature": self.temperature,
            "sets": None if self.sets is None else self.sets.to_dict(),
            "novelty": None if self.novelty is None else self.novelty.to_dict(),
            "by_donor": self.by_donor,
            "held_out": self.held_out,
        }

    @classmethod
    def from_dict(cls, values: Any, *, arrays: Mapping[str, NDArray[Any]], n_classes: int, n_latent: int) -> Trust:
        """Read what `to_dict` and `arrays` wrote.

        Raises
        ------
        FormatError
            If anything is missing or not possible.
        """
        good = (
            isinstance(values, dict)
            and isinstance(values.get("temperature"), int | float)
            and 0 < values["temperature"] < float("inf")
            and isinstance(values.get("by_donor"), bool)
            and isinstance(values.get("held_out"), dict)
            and isinstance(values["held_out"].get("confidence"), int | float)
            and isinstance(values["held_out"].get("unit"), str)
            and {"sets", "novelty"} <= values.keys()
        )
        if not good:
            message = "what was calibrated is incomplete or malformed; the file was altered"
            raise FormatError(message)
        stored, novelty = values["sets"], values["novelty"]
        return cls(
            temperature=float(values["temperature"]),
            sets=None if stored is None else LabelSets.from_dict(stored, n_classes=n_classes),
            novelty=None if novelty is None else Novelty.from_dict(novelty, arrays=arrays, n_latent=n_latent),
            by_donor=values["by_donor"],
            held_out=values["held_out"],
        )
