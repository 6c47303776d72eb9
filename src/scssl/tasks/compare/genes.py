"""Genes: differential expression of each type by pseudobulk, donors as the units, through pydeseq2."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.cores import n_cores
from scssl.errors import import_extra
from scssl.tasks.compare.layout import Layout, NotTestable
from scssl.tasks.compare.linear import LEVEL, inverse_trigamma

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pydeseq2.dds import DeseqDataSet

    from scssl.tasks.compare.bulk import Bulk
    from scssl.tasks.compare.design import Design
    from scssl.tasks.compare.settings import ComparerSettings

COLUMNS: Final = ["cell_type", "gene", "symbol", "mean", "log2_ratio", "low", "high", "p_value", "unit"]
MIN_COUNT: Final = 10
"""Counts that a gene must have in as many samples as the smaller condition has: others say nothing."""
LARGE: Final = 2_000_000
"""Counts from which on genes are shared out among the cores; below, starting the processes takes longer."""
FEWEST: Final = 10
"""Genes from which on dispersions can lend each other strength."""


def expressed(counts: NDArray[np.integer], case: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which genes have counts enough to be tested; their condition plays no part.

    Parameters
    ----------
    counts
        (n_samples, n_genes).
    case
        (n_samples,) True for the case.
    """
    least = int(min(case.sum(), (~case).sum()))
    found: NDArray[np.bool_] = (counts >= MIN_COUNT).sum(axis=0) >= max(least, 1)
    return found


def size_factors(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return how deeply samples were sequenced: the median ratio to a usual sample (Anders and Huber 2010).

    Genes with counts in every sample are compared (doi 10.1186/gb-2010-11-10-r106); if there are fewer than ten, sums.

    Parameters
    ----------
    counts
        (n_samples, n_genes).

    Returns
    -------
    numpy.ndarray
        (n_samples,) with a geometric mean of 1.
    """
    total = np.maximum(counts.sum(axis=1), 1).astype(np.float64)
    everywhere = (counts > 0).all(axis=0)
    if everywhere.sum() >= FEWEST:
        logs = np.log(counts[:, everywhere])
        depth = np.exp(np.median(logs - logs.mean(axis=0), axis=1))
    else:
        depth = total
    found: NDArray[np.float64] = depth / np.exp(np.log(depth).mean())
    return found


def compare_genes(
    bulk: Bulk,
    design: Design,
    settings: ComparerSettings,
    *,
    advance: Callable[[int], None],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Compare the expression of genes within each type.

    Negative binomial models of the counts that each donor's cells of the type have together (DESeq2; Love et al. 2014,
    doi 10.1186/s13059-014-0550-8), with the covariates and the donors of pairs in the design. Wald's statistic is
    looked up in Student's t rather than in the normal distribution, as few donors know a dispersion badly (see
    `degrees_of_freedom`).

    Parameters
    ----------
    bulk
        Summed counts.
    design
        What is compared.
    settings
        How.
    advance
        Told of each type that is done.

    Returns
    -------
    table : pandas.DataFrame
        One row per type and gene that was tested, or looked at.
    reasons : dict
        Type to why it was not tested.

    Raises
    ------
    scssl.errors.MissingExtraError
        If pydeseq2 is not installed.
    """
    parts, reasons = [], {}
    for code, name in enumerate(design.types):
        samples, _ = design.rows_of(code, min_cells=settings.min_cells)
        try:
            layout = Layout.of(
                design.samples.iloc[samples], covariates=design.question.covariates, paired=design.paired
            )
            part = _one_type(bulk.of(code)[samples], bulk, layout)
        except NotTestable as reason:
            reasons[name] = str(reason)
            part = _cells_alone(bulk, design, code=code, min_cells=settings.min_cells)
        parts.append(part.assign(cell_type=name))
        advance(1)
    filled = [part for part in parts if len(part)]
    table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=COLUMNS)
    return table.reindex(columns=COLUMNS), reasons


def _one_type(counts: NDArray[np.int64], bulk: Bulk, layout: Layout) -> pd.DataFrame:
    import_extra("pydeseq2", extra="compare")
    kept = expressed(counts, layout.case)
    if kept.sum() < FEWEST:
        message = f"{kept.sum()} genes have {MIN_COUNT} counts in enough donors; {FEWEST} are needed"
        raise NotTestable(message)
    results = deseq(counts[:, kept], layout)
    table = pd.DataFrame(results, columns=["mean", "log2_ratio", "low", "high", "p_value"])
    table["gene"], table["symbol"] = bulk.genes[kept], bulk.symbols[kept]
    # A gene whose p-value was withheld because one donor stands out was not tested.
    return table.assign(unit="donor").sort_values("p_value", kind="stable", na_position="last")


def deseq(counts: NDArray[np.int64], layout: Layout) -> NDArray[np.float64]:
    """Fit DESeq2 and test the condition by Wald's statistic, against Student's t.

    Parameters
    ----------
    counts
        (n_samples, n_genes).
    layout
        The samples.

    Returns
    -------
    numpy.ndarray
        (n_genes, 5): mean, log2 ratio, both ends of its interval, p-value (NaN where one donor's outlier decides).
    """
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.default_inference import DefaultInference
    from pydeseq2.ds import DeseqStats
    from scipy.stats import t

    index = [f"sample{i}" for i in range(len(counts))]
    frame = pd.DataFrame(counts, index=index, columns=[f"gene{i}" for i in range(counts.shape[1])])
    design = layout.design.set_axis(index, axis=0)
    samples = pd.DataFrame({"case": layout.case.astype(int)}, index=index)
    everywhere = int((counts > 0).all(axis=0).sum())
    contrast = np.zeros(design.shape[1])
    contrast[-1] = 1.0
    with warnings.catch_warnings():
        # Of fits that fall back on simpler ones, which is what they should do here.
        warnings.simplefilter("ignore")
        inference: Any = DefaultInference(n_cpus=n_cores() if counts.size > LARGE else 1)
        fitted = DeseqDataSet(
            counts=frame, metadata=samples, design=design, quiet=True, inference=inference,
            size_factors_fit_type="ratio" if everywhere >= FEWEST else "poscounts",
        )  # fmt: skip
        fitted.deseq2()
        tested = DeseqStats(fitted, contrast=contrast, quiet=True, inference=inference, independent_filter=False)
        tested.summary()
    found = tested.results_df
    ratio, error = (found[name].to_numpy(dtype=np.float64) for name in ("log2FoldChange", "lfcSE"))
    mean, dispersion = (
        np.asarray(values, dtype=np.float64) for values in (found["baseMean"], fitted.var["dispersions"])
    )
    df = degrees_of_freedom(
        layout.df, mean=mean, dispersion=dispersion, prior_variance=float(fitted.uns["prior_disp_var"]),
        own=_undrawn(fitted),
    )  # fmt: skip
    reach = error * t.ppf((1 + LEVEL) / 2, df)
    p = np.where(found["pvalue"].isna(), np.nan, 2 * t.sf(np.abs(ratio / error), df))
    return np.column_stack([mean, ratio, ratio - reach, ratio + reach, p])


def _undrawn(fitted: DeseqDataSet) -> NDArray[np.bool_]:
    """Say which genes differ too much from their trend to be drawn to it.

    By the rule of DESeq2 and from the dispersions as they are in the end: where a sample that stands out was replaced,
    these were estimated anew, the flags and the drawn dispersions that pydeseq2 keeps were not.
    """
    gene, trend = (
        fitted.var[name].to_numpy(dtype=np.float64) for name in ("genewise_dispersions", "fitted_dispersions")
    )
    far: NDArray[np.bool_] = np.log(gene) > np.log(trend) + 2 * np.sqrt(float(fitted.uns["_squared_logres"]))
    return far


def degrees_of_freedom(
    df: int,
    *,
    mean: NDArray[np.floating],
    dispersion: NDArray[np.floating],
    prior_variance: float,
    own: NDArray[np.bool_],
) -> NDArray[np.float64]:
    r"""Return how well the variance of each gene is known, in degrees of freedom.

    DESeq2 draws the dispersion of a gene towards that of its like, and then takes it for known. It is as if the others
    had lent the gene the degrees of freedom at which chance alone would make logarithms of variances differ as much as
    those of the genes do (Smyth 2004, doi 10.2202/1544-6115.1027). A gene that differs too much to be drawn has its own
    alone. Its own donors tell of the whole variance :math:`v = 1/\mu + \alpha` of a logarithm, the others of its part
    :math:`\alpha` beyond counting. An error in that part matters the less the smaller it is: as Satterthwaite (1946,
    doi 10.2307/3002019) sums variances, what is lent is worth :math:`(v / \alpha)^2` as much, what is own is not.

    Parameters
    ----------
    df
        Of the design: samples less coefficients.
    mean, dispersion
        (n_genes,) counts in a usual sample, and what donors differ beyond counting.
    prior_variance
        Variance of the logarithms of dispersions around their trend; DESeq2 takes none below 0.25 (9 degrees).
    own
        (n_genes,) genes whose dispersion was not drawn.

    Returns
    -------
    numpy.ndarray
        (n_genes,).

    Examples
    --------
    >>> usual = {"mean": np.array([1e6, 1e6, 10.0]), "dispersion": np.full(3, 0.1), "prior_variance": 0.25}
    >>> degrees_of_freedom(6, **usual, own=np.array([False, True, False])).round(1).tolist()
    [15.0, 6.0, 41.8]
    """
    lent = np.where(own, 0.0, 2 * inverse_trigamma(prior_variance))
    return np.asarray(df + lent * ((1 / mean + dispersion) / dispersion) ** 2)


def _cells_alone(bulk: Bulk, design: Design, *, code: int, min_cells: int) -> pd.DataFrame:
    """Say how expression differs in these cells, and nothing about other donors."""
    counts = bulk.of(code)
    case = design.samples["case"].to_numpy(dtype=bool)
    size = [int(design.counts[side, code].sum()) for side in (~case, case)]
    pooled = np.stack([counts[~case].sum(axis=0), counts[case].sum(axis=0)])
    kept = (pooled >= MIN_COUNT).any(axis=0)
    if min(size) < min_cells or not kept.any():
        return pd.DataFrame(columns=COLUMNS)
    rates = np.log2((pooled[:, kept] + 0.5) / size_factors(pooled[:, kept])[:, None])
    table = pd.DataFrame({"gene": bulk.genes[kept], "symbol": bulk.symbols[kept], "mean": pooled[:, kept].mean(axis=0)})
    table["log2_ratio"] = rates[1] - rates[0]
    order = (-table["log2_ratio"].abs()).argsort(kind="stable")
    return table.iloc[order].assign(unit="cell")
