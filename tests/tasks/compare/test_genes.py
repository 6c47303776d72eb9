"""Genes: the test of DESeq2 against its own normal one, and false positives where nothing differs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scssl.tasks.compare.genes import degrees_of_freedom, deseq
from scssl.tasks.compare.layout import Layout

pytest.importorskip("pydeseq2")


@pytest.fixture(scope="module")
def null():
    """Counts of three donors against three, where nothing differs, and what is found."""
    rng = np.random.default_rng(2)
    mean = rng.lognormal(5, 1.2, 250)
    # Genes differ in how much donors differ in them, as they do.
    dispersion = (0.1 + 2 / mean) * 6 / rng.chisquare(6, 250)
    counts = rng.negative_binomial(1 / dispersion, 1 / (1 + mean * dispersion), size=(6, 250))
    counts = counts[:, counts.min(axis=0) >= 1]
    samples = pd.DataFrame({"donor": [f"d{i}" for i in range(6)], "case": np.arange(6) >= 3})
    layout = Layout.of(samples, covariates=(), paired=False)
    return counts, layout, deseq(counts, layout)


@pytest.mark.filterwarnings("ignore")
def test_the_statistic_is_that_of_deseq2_and_the_tail_that_of_few_donors(null):
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.default_inference import DefaultInference
    from pydeseq2.ds import DeseqStats

    counts, layout, found = null
    index = [f"s{i}" for i in range(6)]
    frame = pd.DataFrame(counts, index=index, columns=[f"g{i}" for i in range(counts.shape[1])])
    one = DefaultInference(n_cpus=1)
    samples = pd.DataFrame({"case": np.where(layout.case, "yes", "no")}, index=index)
    fitted = DeseqDataSet(counts=frame, metadata=samples, design="~case", quiet=True, inference=one)
    fitted.deseq2()
    tested = DeseqStats(fitted, contrast=["case", "yes", "no"], quiet=True, inference=one, independent_filter=False)
    tested.summary()
    table = tested.results_df
    np.testing.assert_allclose(found[:, 1], table["log2FoldChange"], rtol=1e-4, atol=1e-6)
    # Degrees that the prior is worth: where trigamma(d / 2), the variance of a log gamma, is its variance.
    low, high = 0.01, 1e4
    for _ in range(60):
        middle = (low + high) / 2
        above = stats.loggamma(middle / 2).var() > fitted.uns["prior_disp_var"]
        low, high = (middle, high) if above else (low, middle)
    for gene in range(0, counts.shape[1], 7):
        name = f"g{gene}"
        alpha, mean = fitted.var.loc[name, "dispersions"], table.loc[name, "baseMean"]
        df = 4 + low * (not fitted.var.loc[name, "_outlier_genes"]) * ((1 / mean + alpha) / alpha) ** 2
        z, error = table.loc[name, "stat"], table.loc[name, "lfcSE"]
        assert found[gene, 4] == pytest.approx(2 * stats.t.sf(abs(z), df), rel=1e-3)
        assert found[gene, 3] - found[gene, 1] == pytest.approx(error * stats.t.ppf(0.975, df), rel=1e-3)
    # Never surer than with dispersions that are known.
    assert (found[:, 4] >= table["pvalue"].to_numpy() - 1e-12).all()


def test_small_p_values_are_no_more_than_chance_makes(null):
    p = null[2][:, 4]
    tested = np.isfinite(p).sum()
    assert tested > 200
    # Chance gives two or three of 249 below 0.01, and one below 0.003; dispersions taken for known give 6 and 4.
    assert (p <= 0.01).sum() <= 4
    assert (p <= 0.003).sum() <= 2


def test_few_counts_are_known_noise():
    settings = {"dispersion": np.full(2, 0.2), "prior_variance": 0.25, "own": np.zeros(2, dtype=bool)}
    few, many = degrees_of_freedom(4, mean=np.array([5.0, 1e9]), **settings)
    assert many == pytest.approx(4 + 8.96, abs=0.01)
    assert few - 4 == pytest.approx((many - 4) * 4)


@pytest.mark.parametrize("counting", [0.0, 0.5, 2.0])
def test_degrees_are_those_of_the_variance_that_two_sources_tell_of(counting):
    """Own samples measure the whole variance, others the part beyond counting; joined as well as can be."""
    rng = np.random.default_rng(5)
    df, lent_df, alpha = 40, 30, 0.2
    whole = alpha * (1 + counting)
    own = whole * rng.chisquare(df, 200_000) / df - alpha * counting
    lent = alpha * rng.chisquare(lent_df, 200_000) / lent_df
    precision = 1 / np.array([own.var(), lent.var()])
    joined = alpha * counting + (precision[0] * own + precision[1] * lent) / precision.sum()
    found = degrees_of_freedom(
        df, mean=np.array([1 / max(alpha * counting, 1e-12)]), dispersion=np.array([alpha]),
        prior_variance=float(stats.loggamma(lent_df / 2).var()), own=np.zeros(1, dtype=bool),
    )  # fmt: skip
    # A variance with d degrees of freedom has a squared coefficient of variation of 2 / d.
    assert found[0] == pytest.approx(2 * whole**2 / joined.var(), rel=0.02)


@pytest.mark.filterwarnings("ignore")
def test_genes_that_were_fitted_without_an_outlier_are_lent_what_others_are():
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.default_inference import DefaultInference
    from pydeseq2.ds import DeseqStats

    rng = np.random.default_rng(6)
    counts = rng.negative_binomial(10, 10 / (10 + rng.lognormal(5, 0.5, 150)), size=(16, 150)) + 1
    counts[np.arange(20) % 16, np.arange(20)] *= 60
    # Three that donors differ in as well, each way: they stay off their trend without the sample that stands out.
    counts[::2, 17:20] *= 30
    layout = Layout.of(
        pd.DataFrame({"donor": [f"d{i}" for i in range(16)], "case": np.arange(16) >= 8}), covariates=(), paired=False
    )
    found = deseq(counts, layout)
    index = [f"s{i}" for i in range(16)]
    frame = pd.DataFrame(counts, index=index, columns=[f"g{i}" for i in range(150)])
    one = DefaultInference(n_cpus=1)
    design = layout.design.set_axis(index, axis=0)
    fitted = DeseqDataSet(counts=frame, metadata=design, design=design, quiet=True, inference=one)
    fitted.deseq2()
    contrast = np.eye(design.shape[1])[-1]
    tested = DeseqStats(fitted, contrast=contrast, quiet=True, inference=one, independent_filter=False)
    tested.summary()
    reach = (found[:, 3] - found[:, 1]) / tested.results_df["lfcSE"].to_numpy()
    again = fitted.var["refitted"].to_numpy(dtype=bool)
    # What was not drawn is as the gene alone has it.
    alone = np.isclose(fitted.var["dispersions"], fitted.var["genewise_dispersions"], rtol=1e-12)
    assert (again & ~alone).sum() >= 15
    assert (again & alone).sum() >= 1
    np.testing.assert_allclose(reach[alone], stats.t.ppf(0.975, 14), rtol=1e-6)
    assert (reach[~alone] < stats.t.ppf(0.975, 14 + 8)).all()
