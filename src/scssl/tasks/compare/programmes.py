"""Programmes: whether sets of genes that act together are more or less expressed, with donors as the units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.genes import load_programmes
from scssl.tasks.compare.genes import expressed, size_factors
from scssl.tasks.compare.layout import Layout, NotTestable
from scssl.tasks.compare.linear import moderated_t, permuted

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.tasks.compare.bulk import Bulk
    from scssl.tasks.compare.design import Design
    from scssl.tasks.compare.settings import ComparerSettings

COLUMNS: Final = [
    "cell_type", "programme", "n_genes", "log2_ratio", "low", "high", "donor_sd", "p_moderated", "p_permutation",
    "smallest_p", "p_value", "unit",
]  # fmt: skip
FEWEST: Final = 5
"""Genes of a programme that a type must express."""
LEARNED: Final = "modules:"


class Sets(NamedTuple):
    """Programmes over the genes of a file."""

    names: list[str]
    members: NDArray[np.bool_]
    """(n_programmes, n_genes)."""
    missing: str = ""
    """Why there are none, if there are none."""

    def table(self, bulk: Bulk) -> pd.DataFrame:
        """Return ``programme`` and ``genes``, their names separated by spaces.

        Parameters
        ----------
        bulk
            The genes.
        """
        listed = [" ".join(map(str, bulk.symbols[row])) for row in self.members]
        return pd.DataFrame({"programme": self.names, "genes": listed})


def read_sets(data: AnnData | Path | str, bulk: Bulk, *, spec: str, layer: str | None, seed: int) -> Sets:
    """Return the programmes that the settings name; those learned from the cells know nothing of their conditions.

    Parameters
    ----------
    data
        The cells.
    bulk
        Their genes.
    spec
        See `ComparerSettings.programmes`.
    layer
        Where the counts are.
    seed
        Of the sample of cells that is learned from.

    Raises
    ------
    ScsslError
        If a file or collection was named and cannot be used.
    """
    none = np.zeros((0, len(bulk.genes)), dtype=bool)
    learned = spec.startswith(LEARNED)
    try:
        if bulk.panel is None:
            message = "fewer than 50 features are genes that are known"
            raise DataError(message)
        if learned:
            from scssl.corpus import Corpus

            # Whose cells they are plays no part: the split must not either.
            store = Corpus.from_anndata(
                data, genes=bulk.panel, layer=layer, split_by="cell", val=0, test=0, duplicates="keep", seed=seed
            )
            found = load_programmes(spec, bulk.panel, corpus=store, seed=seed)
        else:
            found = load_programmes(spec, bulk.panel, min_genes=FEWEST, min_coverage=0.0)
    except DataError as error:
        if not learned:
            raise
        return Sets([], none, f"no programmes could be learned: {error}")
    members = np.zeros((len(found), len(bulk.genes)), dtype=bool)
    known = bulk.place >= 0
    members[:, known] = found.members[:, bulk.place[known]]
    return Sets(list(found.names), members)


def compare_programmes(
    bulk: Bulk, sets: Sets, design: Design, settings: ComparerSettings, *, seed: int
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Compare the activity of gene programmes within each type.

    A donor's score is the mean over the programme's expressed genes of the log2 counts that its cells have together,
    sequencing depth taken out: a difference is the mean log2 ratio of these genes, each of which weighs the same. The
    scores are tested like shares (see `compare_composition`).

    Parameters
    ----------
    bulk
        Summed counts.
    sets
        Programmes.
    design
        What is compared.
    settings
        How.
    seed
        Of permutations that are drawn.

    Returns
    -------
    table : pandas.DataFrame
        One row per type and programme.
    reasons : dict
        Type to why it was not tested.
    """
    if sets.missing:
        return pd.DataFrame(columns=COLUMNS), dict.fromkeys(design.types, sets.missing)
    parts, reasons = [], {}
    for code, name in enumerate(design.types):
        try:
            parts.append(_one_type(bulk.of(code), sets, design, settings, code=code, seed=seed))
        except NotTestable as reason:
            reasons[name] = str(reason)
            parts.append(_cells_alone(bulk.of(code), sets, design, settings, code=code))
    filled = [part for part in parts if len(part)]
    table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS)
    return table.reindex(columns=COLUMNS), reasons


def scores(
    counts: NDArray[np.integer], members: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Score programmes in samples.

    Parameters
    ----------
    counts
        (n_samples, n_genes).
    members
        (n_programmes, n_genes).
    kept
        (n_genes,) genes that are expressed.

    Returns
    -------
    scores : numpy.ndarray
        (n_samples, n_programmes); NaN for programmes of which fewer than five genes are expressed.
    n_genes : numpy.ndarray
        (n_programmes,) genes that were used.
    noise : numpy.ndarray
        (n_programmes,) variance of a score that counting alone makes, mean over samples.
    """
    logs = np.log2(counts[:, kept] / size_factors(counts[:, kept])[:, None] + 0.5)
    inside = members[:, kept].astype(np.float64)
    n_genes = inside.sum(axis=1)
    found: NDArray[np.float64] = logs @ inside.T / np.maximum(n_genes, 1)
    found[:, n_genes < FEWEST] = np.nan
    counting = (1 / (counts[:, kept] + 0.5)).mean(axis=0) / np.log(2) ** 2
    return found, n_genes.astype(np.int64), inside @ counting / np.maximum(n_genes, 1) ** 2


def _one_type(
    counts: NDArray[np.int64],
    sets: Sets,
    design: Design,
    settings: ComparerSettings,
    *,
    code: int,
    seed: int,
) -> pd.DataFrame:
    rows, _ = design.rows_of(code, min_cells=settings.min_cells)
    layout = Layout.of(design.samples.iloc[rows], covariates=design.question.covariates, paired=design.paired)
    values, n_genes, noise = scores(counts[rows], sets.members, expressed(counts[rows], layout.case))
    there = np.asarray(np.isfinite(values).all(axis=0))
    if not there.any():
        message = f"no programme has {FEWEST} genes that are expressed in enough donors"
        raise NotTestable(message)
    found = moderated_t(values[:, there], layout, least=noise[there])
    ways = layout.assignments(most=settings.max_permutations, seed=seed)
    table = pd.DataFrame(_head(sets.names, n_genes, there, cell_type=design.types[code]))
    table["log2_ratio"], table["low"], table["high"] = found.effect, found.low, found.high
    table["donor_sd"] = found.spread
    table["p_moderated"], table["p_permutation"] = found.p, permuted(values[:, there], layout, ways, seed=seed)
    table["smallest_p"] = ways.smallest
    table["p_value"] = table["p_moderated" if settings.test == "moderated" else "p_permutation"]
    return table.assign(unit="donor").sort_values("p_value", kind="stable")


def _cells_alone(
    counts: NDArray[np.int64],
    sets: Sets,
    design: Design,
    settings: ComparerSettings,
    *,
    code: int,
) -> pd.DataFrame:
    case = design.samples["case"].to_numpy(dtype=bool)
    size = [int(design.counts[side, code].sum()) for side in (~case, case)]
    if min(size) < settings.min_cells:
        return pd.DataFrame(columns=COLUMNS)
    pooled = np.stack([counts[~case].sum(axis=0), counts[case].sum(axis=0)])
    values, n_genes, _ = scores(pooled, sets.members, expressed(pooled, np.array([False, True])))
    there = np.asarray(np.isfinite(values).all(axis=0))
    table = pd.DataFrame(_head(sets.names, n_genes, there, cell_type=design.types[code]))
    return table.assign(log2_ratio=(values[1] - values[0])[there], unit="cell")


def _head(names: list[str], n_genes: NDArray[np.int64], there: NDArray[np.bool_], *, cell_type: str) -> dict[str, Any]:
    return {
        "cell_type": cell_type,
        "programme": [name for name, keep in zip(names, there, strict=True) if keep],
        "n_genes": n_genes[there],
    }
