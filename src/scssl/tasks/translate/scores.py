"""How good predictions of proteins or peaks are, beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.metrics.agreement import agreement
from scssl.metrics.detection import detection

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRANSLATOR: Final = "translator"
"""Name of the translator among the methods."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TranslationScores:
    """Scores of a translator and of baselines, on the same cells and one scale."""

    to: str
    mode: str
    scale: str
    """On which RMSE is, in words."""
    n_cells: int
    overall: pd.DataFrame
    """One row per method: ``pearson`` and ``spearman`` per feature (median over features), per cell (median over cells)
    and over all values at once, ``rmse`` over all values; for peaks ``auroc`` and ``average_precision`` (medians)."""
    features: pd.DataFrame
    """One row per method and feature: ``feature``, ``pearson``, ``spearman``, ``rmse``, for peaks also ``auroc`` and
    ``average_precision``."""
    donors: pd.DataFrame
    """One row per method and donor: ``donor``, ``n_cells``, ``pearson`` (median over features), ``rmse``; empty without
    a column of donors."""
    chosen: dict[str, dict[str, float]]
    """What was chosen for baselines by cross-validation."""
    truth: NDArray[np.float32]
    """(n_cells, n_features) on the scale, of the cells that were scored."""
    predicted: NDArray[np.float32]
    """(n_cells, n_features) by the translator."""

    @property
    def best_baseline(self) -> str | None:
        """Baseline with the highest median correlation per feature."""
        others = self.overall[self.overall["method"] != TRANSLATOR].dropna(subset=["pearson"])
        return None if others.empty else str(others["method"].iloc[int(others["pearson"].argmax())])

    @property
    def verdict(self) -> str:
        """One sentence on the translator against its best baseline, feature by feature."""
        best = self.best_baseline
        if best is None:
            return "no baseline could be compared with"
        mine, other = (self.features[self.features["method"] == m].set_index("feature") for m in (TRANSLATOR, best))
        pairs = pd.concat([mine["pearson"], other["pearson"]], axis=1, keys=["mine", "other"]).dropna()
        won = int((pairs["mine"] > pairs["other"]).sum())
        return (
            f"correlates better than the best baseline ({best}) for {won} of {len(pairs)} features; median "
            f"{pairs['mine'].median():.3f} against {pairs['other'].median():.3f}"
        )

    def summary(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "to": self.to,
            "mode": self.mode,
            "scale": self.scale,
            "n_cells": self.n_cells,
            "n_features": int(self.features["feature"].nunique()),
            "methods": _records(self.overall),
            "donors": _records(self.donors),
            "best_baseline": self.best_baseline,
            "verdict": self.verdict,
            "chosen": self.chosen,
        }


def score(
    truth: NDArray[np.float32],
    predicted: dict[str, NDArray[np.float32]],
    *,
    names: list[str],
    donors: NDArray[np.object_] | None,
    open_peaks: bool,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the tables `overall`, `features` and `donors` of `TranslationScores`.

    Parameters
    ----------
    truth
        (n_cells, n_features).
    predicted
        The same by method.
    names
        Features.
    donors
        (n_cells,) names; None for no table by donor.
    open_peaks
        Whether the truth is open or not.
    """
    overall, features, by_donor = [], [], []
    for method, found in predicted.items():
        each, cell = agreement(truth, found), agreement(truth, found, axis=1)
        flat = agreement(truth.reshape(-1, 1), found.reshape(-1, 1))
        table = {"method": method, "feature": names, "pearson": each.pearson, "spearman": each.spearman,
                 "rmse": each.rmse}  # fmt: skip
        row: dict[str, Any] = {
            "method": method,
            "pearson": median(each.pearson),
            "spearman": median(each.spearman),
            "pearson_per_cell": median(cell.pearson),
            "spearman_per_cell": median(cell.spearman),
            "pearson_overall": float(flat.pearson[0]),
            "spearman_overall": float(flat.spearman[0]),
            "rmse": float(flat.rmse[0]),
        }
        if open_peaks:
            open_ = detection(truth > 0, found)
            table |= {"auroc": open_.auroc, "average_precision": open_.average_precision}
            row |= {"auroc": median(open_.auroc), "average_precision": median(open_.average_precision)}
        overall.append(row)
        features.append(pd.DataFrame(table))
        for donor in [] if donors is None else sorted({str(name) for name in donors if name is not None}):
            rows = np.asarray(donors == donor)
            part = agreement(truth[rows], found[rows])
            error = float(np.sqrt(np.mean((truth[rows] - found[rows]) ** 2)))
            by_donor.append({"method": method, "donor": donor, "n_cells": int(rows.sum()),
                             "pearson": median(part.pearson), "rmse": error})  # fmt: skip
    columns = ["method", "donor", "n_cells", "pearson", "rmse"]
    return pd.DataFrame(overall), pd.concat(features, ignore_index=True), pd.DataFrame(by_donor, columns=columns)


def median(values: NDArray[np.float64]) -> float:
    """Return the median of what is known, NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return None if np.isnan(value) else round(value, 4)
        return value

    return [{str(k): plain(v) for k, v in row.items()} for row in table.to_dict("records")]
