"""The negative control of a comparison: donors of one condition, split in halves that nothing tells apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.log import progress
from scssl.tasks.compare.answers import number as in_words
from scssl.tasks.compare.answers import permuted
from scssl.tasks.compare.tables import Material, compare_all

if TYPE_CHECKING:
    from scssl.tasks.compare.design import Design
    from scssl.tasks.compare.settings import ComparerSettings, Kind

FEWEST: Final = 4
"""Donors that can be split in two against two."""
NOMINAL: Final = 0.05
RARE: Final = 0.001


@dataclass(frozen=True, kw_only=True)
class NullReport:
    """What a comparison finds where there is nothing to find."""

    table: pd.DataFrame
    """Index ``kind``: ``tests``, ``false_positives`` (p-values up to 0.05), their share ``rate``, ``rate_0.001`` (the
    same of p-values up to 0.001: where tests are many it is small ones that count), ``smallest_p``, ``possible_p`` (the
    smallest that permuting halves can give; 0 where p-values are of a model), ``findings`` (at the false discovery
    rate, all splits together) and ``splits_with_findings``, the share of splits with any."""
    n_splits: int
    n_donors: int
    verdict: str

    def summary(self) -> dict[str, Any]:
        """Return plain values."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict(orient="index")
        return {"n_splits": self.n_splits, "n_donors": self.n_donors, "verdict": self.verdict, "kinds": rows}


def halves(n: int, *, most: int, seed: int) -> list[tuple[int, ...]]:
    """List the ways to choose half of some donors, each way and its mirror image once.

    Parameters
    ----------
    n
        Donors.
    most
        Ways at most; of more, so many are drawn.
    seed
        Of the draw.

    Examples
    --------
    >>> len(halves(8, most=100, seed=0)), halves(4, most=100, seed=0)
    (35, [(0, 1), (0, 2), (0, 3)])
    """
    rng = np.random.default_rng([seed, 0x4A])
    if n > 16:
        return [tuple(sorted(rng.choice(n, n // 2, replace=False).tolist())) for _ in range(most)]
    ways = list(combinations(range(n), n // 2))
    if n % 2 == 0:
        ways = [way for way in ways if 0 in way]
    if len(ways) > most:
        ways = [ways[i] for i in np.sort(rng.choice(len(ways), most, replace=False))]
    return ways


def null_report(
    design: Design,
    material: Material,
    settings: ComparerSettings,
    *,
    kinds: tuple[Kind, ...],
    most: int,
    seed: int,
) -> NullReport:
    """Compare halves of the control donors in all ways, or in some.

    Parameters
    ----------
    design, material, settings
        See `compare_all`.
    kinds
        What is asked.
    most
        Splits at most.
    seed
        Of everything random.

    Raises
    ------
    DataError
        If there are fewer than four control donors.
    """
    control = np.flatnonzero(~design.samples["case"].to_numpy(dtype=bool))
    if len(control) < FEWEST:
        message = (
            f"{design.file}: {len(control)} donors under {design.question.control!r} cannot be split in halves to "
            f"compare; {FEWEST} are needed"
        )
        raise DataError(message)
    ways = halves(len(control), most=most, seed=seed)
    rows = []
    with progress("comparing halves of the controls", len(ways), unit="splits") as advance:
        for number, way in enumerate(ways):
            part, own = split(design, material, control=control, case=control[list(way)])
            tables = compare_all(part, own, settings, kinds=kinds, seed=seed)
            for kind in kinds:
                table = tables.of(kind)
                p = table["p_value"].to_numpy(dtype=np.float64)
                p = p[np.isfinite(p)]
                rows.append(
                    {
                        "kind": kind, "split": number, "tests": len(p),
                        "false_positives": int((p <= NOMINAL).sum()), "rare": int((p <= RARE).sum()),
                        "smallest_p": p.min(initial=1.0), "possible_p": _possible(table, kind, settings),
                        "findings": int((table["q_value"].astype(float) <= settings.fdr).sum()),
                    }
                )  # fmt: skip
            advance(1)
    each = pd.DataFrame(rows)
    grouped = each.groupby("kind", sort=False)
    table = grouped[["tests", "false_positives"]].sum()
    table["rate"] = table["false_positives"] / table["tests"].replace(0, np.nan)
    table["rate_0.001"] = grouped["rare"].sum() / table["tests"].replace(0, np.nan)
    table[["smallest_p", "possible_p"]] = grouped[["smallest_p", "possible_p"]].min()
    table["findings"] = grouped["findings"].sum()
    table["splits_with_findings"] = grouped["findings"].apply(lambda n: float((n > 0).mean()))
    return NullReport(table=table, n_splits=len(ways), n_donors=len(control), verdict=_verdict(table, len(ways)))


def split(design: Design, material: Material, *, control: np.ndarray, case: np.ndarray) -> tuple[Design, Material]:
    """Return the comparison of some donors of one condition with others of the same.

    Parameters
    ----------
    design, material
        Of the whole comparison.
    control
        Samples that take part.
    case
        Those of them that are taken for the case.
    """
    table = design.samples.iloc[control].copy()
    table["case"] = np.isin(control, case)
    place = np.full(len(design.samples) + 1, -1)
    place[control] = np.arange(len(control))
    part = replace(design, samples=table, sample=place[design.sample].astype(np.int64), paired=False, confounded=[])
    bulk = None if material.bulk is None else material.bulk.subset(control)
    return part, replace(material, bulk=bulk)


def _possible(table: pd.DataFrame, kind: Kind, settings: ComparerSettings) -> float:
    """Return the smallest p-value that permuting can give, 0 where p-values rest on a model, NaN without tests."""
    if not table["p_value"].notna().any():
        return float("nan")
    return float(table["smallest_p"].astype(float).min()) if kind in permuted(settings) else 0.0


def _verdict(table: pd.DataFrame, n_splits: int) -> str:
    said = [
        f"{kind}: {row['rate']:.1%} of {int(row['tests']):,} tests below {NOMINAL:g}, "
        f"findings in {row['splits_with_findings']:.0%} of the splits"
        if row["possible_p"] <= NOMINAL
        # Fewer than nominal by arithmetic rather than by virtue.
        else f"{kind}: not checked, as halves of so few donors can give no p-value below {in_words(row['possible_p'])}"
        for kind, row in table.iterrows()
        if row["tests"]
    ]
    return (
        f"Control donors compared with each other in {n_splits} splits, where nothing is there: {'; '.join(said)}. "
        f"About {NOMINAL:.0%} is what chance gives. Splits share donors, so these shares vary more than independent "
        "tests would; and real differences between donors count as false positives of some splits."
    )
