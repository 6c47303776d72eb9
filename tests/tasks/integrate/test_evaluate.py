"""What an integration is held against, and what is said of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl.errors import DataError
from scssl.tasks import Integrator
from scssl.tasks.integrate.controls import log_values, oracle, principal_components, shuffled
from scssl.tasks.integrate.evaluate import HARMONY, ORACLE, OURS, PCA, SHUFFLED, UNMOVED, advise, say


@pytest.fixture(scope="module")
def integrator(model, study):
    return Integrator(model, batch="study").fit(study)


@pytest.fixture(scope="module")
def report(integrator, study):
    pytest.importorskip("scib_metrics")
    return integrator.evaluate(study, labels="cell_type")


def among_neighbours(embedding, *, batch, labels=None, before):
    """Stand in for the scores of scib-metrics, which take long to compile: shares of the 15 nearest cells."""
    from scssl.metrics.integration import IntegrationScores

    assert len(before) == len(embedding) == len(batch)
    near = ((embedding[:, None] - embedding[None]) ** 2).sum(axis=2).argsort(axis=1)[:, 1:16]
    types = {} if labels is None else {"clisi": float((labels[near] == labels[:, None]).mean())}
    return IntegrationScores(types=types, mixing={"ilisi": float((batch[near] != batch[:, None]).mean())})


@pytest.fixture
def quick(monkeypatch):
    pytest.importorskip("harmonypy")
    monkeypatch.setattr("scssl.tasks.integrate.evaluate.integration_scores", among_neighbours)


@pytest.mark.usefixtures("quick")
def test_all_methods_are_scored_on_the_same_cells(integrator, study):
    found = integrator.evaluate(study, labels="cell_type")
    table = found.table
    assert list(table.index) == [OURS, UNMOVED, PCA, HARMONY, SHUFFLED, ORACLE]
    assert list(table.columns) == ["type_score", "mixing_score", "clisi", "ilisi"]
    assert table["clisi"].idxmin() == SHUFFLED
    assert table["clisi"].idxmax() == ORACLE
    assert table.loc[OURS, "ilisi"] > table.loc[UNMOVED, "ilisi"]
    assert table.loc[SHUFFLED, "ilisi"] > table.loc[PCA, "ilisi"]
    mine = among_neighbours(
        integrator.fitted.embedding, batch=study.obs["study"].to_numpy(), labels=study.obs["cell_type"].to_numpy(),
        before=integrator.fitted.codes,
    )  # fmt: skip
    assert (table.loc[OURS, "clisi"], table.loc[OURS, "ilisi"]) == (mine.types["clisi"], mine.mixing["ilisi"])
    assert found.n_cells == study.n_obs
    assert not found.notes


@pytest.mark.slow
def test_controls_are_in_the_table_and_are_limits(report):
    assert list(report.table.index) == [OURS, UNMOVED, PCA, HARMONY, SHUFFLED, ORACLE]
    table = report.table
    assert table.loc[SHUFFLED, "ilisi"] > table.loc[PCA, "ilisi"]
    assert table["nmi"].idxmin() == SHUFFLED
    assert table.loc[ORACLE, "type_score"] == table["type_score"].max()
    assert table.loc[OURS, "mixing_score"] > table.loc[PCA, "mixing_score"]
    assert table.loc[PCA, "pcr"] == pytest.approx(0, abs=1e-6)
    assert report.n_cells > 300
    assert report.summary()["scores"][OURS]["ilisi"] == round(table.loc[OURS, "ilisi"], 4)


@pytest.mark.slow
def test_a_row_is_the_same_whoever_else_is_there(report, integrator, study):
    from scssl.metrics.integration import integration_scores

    batch, labels = study.obs["study"].to_numpy(), study.obs["cell_type"].to_numpy()
    before = principal_components(study, panel=integrator.model.panel, rows=np.arange(study.n_obs))
    alone = integration_scores(integrator.fitted.embedding, batch=batch, labels=labels, before=before)
    for name, value in {**alone.types, **alone.mixing}.items():
        assert report.table.loc[OURS, name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.usefixtures("quick")
def test_without_labels_it_is_said(integrator, study):
    found = integrator.evaluate(study, max_cells=100)
    assert found.table["type_score"].isna().all()
    assert ORACLE not in found.table.index
    assert any("only mixing is scored" in note for note in found.notes)
    assert any("100 of" in note for note in found.notes)
    assert found.verdict.endswith("Whether types were kept is not known: that takes labels.")
    assert found.summary()["scores"][OURS]["type_score"] is None


def test_refusals(integrator, study):
    one = study[study.obs["study"] == "study_1"].copy()
    with pytest.raises(DataError, match="has one batch only"):
        integrator.evaluate(one)
    with pytest.raises(DataError, match=r"obs has no column 'types'"):
        integrator.evaluate(study, labels="types")
    with pytest.raises(DataError, match="max_cells is 3"):
        integrator.evaluate(study, max_cells=3)
    few = study[::40].copy()
    with pytest.raises(DataError, match="cells with counts are too few to score"):
        integrator.evaluate(few)


@pytest.mark.parametrize(
    ("mixing", "types", "words"),
    [
        (0.2, 0.2, "Batches are better mixed than in PCA without integration (mixing 0.70 against 0.50), and types are "
                   "better told apart (0.70 against 0.50)."),
        (0.2, -0.2, "but types were lost: they are less well told apart"),
        (0.2, 0.01, "and types are as well told apart"),
        (-0.2, 0.2, "Batches are less mixed than in PCA without integration (mixing 0.30 against 0.50), but types"),
        (0.01, 0.0, "Batches are about as mixed as"),
    ],
)  # fmt: skip
def test_plain_words(mixing, types, words):
    table = pd.DataFrame({"type_score": [0.5 + types, 0.5], "mixing_score": [0.5 + mixing, 0.5]}, index=[OURS, PCA])
    assert words in say(table)


NONE, FINETUNE, SIMPLER = (
    "--correct none",
    "--mode finetune",
    "Harmony on PCA is better at both (types 0.60, mixing 0.70)",
)


@pytest.mark.parametrize(
    ("types", "unmoved", "harmony", "mode", "words"),
    [
        (0.4, 0.45, (0.6, 0.7), "zero_shot", [NONE, FINETUNE, SIMPLER]),
        (0.4, 0.41, (0.6, 0.5), "zero_shot", [FINETUNE]),
        (0.4, 0.45, (0.3, 0.7), "finetune", [NONE]),
        (0.55, 0.9, (0.6, 0.7), "finetune", [SIMPLER]),
        (0.5, 0.9, (0.5, 0.7), "zero_shot", []),
        (np.nan, np.nan, (np.nan, 0.7), "zero_shot", []),
    ],
)
def test_what_to_try_where_something_simpler_is_better(types, unmoved, harmony, mode, words):
    table = pd.DataFrame(
        {"type_score": [types, unmoved, 0.5, harmony[0]], "mixing_score": [0.6, 0.3, 0.2, harmony[1]]},
        index=[OURS, UNMOVED, PCA, HARMONY],
    )
    found = advise(table, mode=mode)
    assert [word for word in (NONE, FINETUNE, SIMPLER) if word in found] == words
    assert bool(found) == bool(words)
    assert not advise(table.loc[[OURS, PCA, HARMONY]], mode=mode).count(NONE)


def test_components_are_those_of_the_dense_values(study, model):
    rows = np.arange(0, study.n_obs, 2)
    found = principal_components(study, panel=model.panel, rows=rows, n_components=4)
    counts = study.X[rows].toarray().astype(float)
    values = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    u, s, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs((u * s)[:, :4]), atol=0.02)


def test_log_values_of_an_empty_cell_stay_zero():
    values = log_values(sp.csr_matrix([[0, 0], [1, 3]]))
    np.testing.assert_allclose(values.toarray(), [[0, 0], [np.log1p(2500), np.log1p(7500)]], rtol=1e-6)


def test_limits_know_what_they_should():
    labels = np.array(["a", "b", None, "a"], dtype=object)
    places = oracle(labels, seed=0)
    assert np.linalg.norm(places[0] - places[3]) < 1 < np.linalg.norm(places[0] - places[1]) + 0.2
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    mixed = shuffled(x, seed=0)
    assert sorted(mixed[:, 0]) == sorted(x[:, 0])
    assert not np.array_equal(mixed, x)
