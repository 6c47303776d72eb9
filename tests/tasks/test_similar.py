"""Similar cells: against a brute-force search, what the table holds, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scssl
from scssl.errors import DataError, FormatError, SettingsError
from scssl.tasks import SimilarCells


@pytest.fixture(scope="module")
def atlas():
    return scssl.datasets.simulate_atlas(260, 100, n_types=3, n_donors=6, type_effect=3.0, seed=2)


@pytest.fixture(scope="module")
def query(atlas):
    return atlas[::4].copy()


@pytest.fixture(scope="module")
def reference(atlas):
    return atlas[np.arange(atlas.n_obs) % 4 != 0].copy()


@pytest.fixture(scope="module")
def model(reference):
    return scssl.pretrain(
        reference, preset="small", genes="union", max_epochs=2, loggers=["csv"], device="cpu",
        overrides=["architecture.hidden=[32]", "architecture.n_latent=8"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def search(model, reference):
    return SimilarCells(model, k=4).fit(reference)


def brute_force(model, query, reference, k):
    """All distances one by one, sorted."""
    theirs = model.embed(reference).astype(float)
    for name, cell in zip(query.obs_names, model.embed(query).astype(float), strict=True):
        gaps = np.sqrt(((theirs - cell) ** 2).sum(axis=1))
        for rank, place in enumerate(np.argsort(gaps, kind="stable")[:k], start=1):
            yield name, rank, reference.obs_names[place], gaps[place]


def test_it_is_the_brute_force_search(search, model, query, reference):
    table = search.predict(query)
    wanted = pd.DataFrame(brute_force(model, query, reference, 4), columns=["query", "rank", "cell", "distance"])
    pd.testing.assert_frame_equal(table[["query", "rank", "cell"]], wanted[["query", "rank", "cell"]])
    np.testing.assert_allclose(table["distance"], wanted["distance"], rtol=1e-5)
    told = reference.obs.loc[table["cell"], ["cell_type", "donor", "batch", "study", "condition"]].astype(str)
    assert list(table.columns[4:]) == ["cell_type", "donor", "batch", "study", "condition"]
    np.testing.assert_array_equal(table.iloc[:, 4:].to_numpy(str), told.to_numpy(str))


def test_memory_stays_bounded_by_parts_of_the_query(search, query, monkeypatch):
    from scssl.tasks.annotate import knn

    whole = search.predict(query)
    monkeypatch.setattr(knn, "CHUNK", 7)
    pd.testing.assert_frame_equal(search.predict(query), whole)


def test_a_cell_of_the_reference_is_its_own_most_similar(search, reference):
    table = search.predict(reference[:9].copy())
    first = table[table["rank"] == 1]
    assert first["cell"].tolist() == first["query"].tolist()
    assert first["distance"].max() < 1e-3


def test_a_corpus_is_searched_with_its_sources(model, reference, query, tmp_path):
    reference.write_h5ad(tmp_path / "r.h5ad")
    corpus = scssl.Corpus.build(
        tmp_path / "r.h5ad", tmp_path / "c", genes=model.panel, obs=["cell_type", "donor"], source="study"
    )
    found = SimilarCells(model, k=3).fit(tmp_path / "c")
    assert len(found.reference.codes) == sum(corpus.n_cells(split) for split in ("train", "val", "test"))
    table = found.predict(query)
    plain = SimilarCells(model, k=3).fit(reference, columns=["cell_type"]).predict(query)
    np.testing.assert_allclose(table["distance"], plain["distance"], atol=1e-3)
    assert {"cell_type", "donor", "source"} <= set(table.columns)
    assert table["cell_type"].tolist() == plain["cell_type"].tolist()


def test_faiss_finds_nearly_the_same(model, reference, query, search):
    pytest.importorskip("faiss")
    table = SimilarCells(model, k=4, backend="faiss").fit(reference).predict(query)
    exact = search.predict(query)
    assert (table["cell"] == exact["cell"]).mean() > 0.95
    assert table.groupby("query")["distance"].is_monotonic_increasing.all()


def test_evaluate_counts_by_hand(search, query, reference):
    scores = search.evaluate(query, truth="cell_type")
    table = search.predict(query)
    same = table["cell_type"].to_numpy() == query.obs.loc[table["query"], "cell_type"].astype(str).to_numpy()
    assert scores.neighbours == pytest.approx(same.mean())
    assert scores.first == pytest.approx(same[table["rank"] == 1].mean())
    assert scores.n_cells == query.n_obs
    assert scores.chance < scores.first


def test_cells_without_counts_are_left_out(model, reference, query):
    empty = query.copy()
    empty.X = (sparse.diags((np.arange(query.n_obs) != 3).astype(float)) @ query.X).tocsr()
    table = SimilarCells(model, k=2).fit(reference).predict(empty)
    assert query.obs_names[3] not in set(table["query"])
    assert len(table) == 2 * (query.n_obs - 1)


def test_save_and_load(search, query, tmp_path):
    search.save(tmp_path / "s")
    again = SimilarCells.load(tmp_path / "s")
    pd.testing.assert_frame_equal(again.predict(query), search.predict(query))
    with pytest.raises(SettingsError, match="exists already"):
        search.save(tmp_path / "s")
    search.save(tmp_path / "s", overwrite=True)
    for name in ("similar.json", "codes.safetensors", "cells.csv"):
        file = tmp_path / "s" / name
        whole = file.read_bytes()
        file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        with pytest.raises(FormatError, match=re.escape(name)):
            SimilarCells.load(tmp_path / "s")
        file.write_bytes(whole)
    with pytest.raises(FormatError, match=r"it has no similar\.json"):
        SimilarCells.load(tmp_path)


def test_refusals(model, reference, query):
    with pytest.raises(SettingsError, match="backend 'annoy' is not known; choose one of: exact, faiss"):
        SimilarCells(model, backend="annoy")
    with pytest.raises(SettingsError, match="k is 0"):
        SimilarCells(model, k=0)
    with pytest.raises(SettingsError, match="call fit"):
        SimilarCells(model).predict(query)
    with pytest.raises(DataError, match=r"obs has no column 'tissue'; there are: cell_type"):
        SimilarCells(model).fit(reference, columns=["tissue"])
    with pytest.raises(DataError, match=r"has 5 cells with counts, fewer than k = 10; lower k"):
        SimilarCells(model).fit(reference[:5].copy())
    fitted = SimilarCells(model, k=2).fit(reference, columns=["donor"])
    with pytest.raises(DataError, match=r"obs\['cell_type'\] was not kept"):
        fitted.evaluate(query)
    other = query.copy()
    other.obs["donor"] = "nobody"
    with pytest.raises(DataError, match=r"no name in obs\['donor'\] is one in"):
        fitted.evaluate(other, truth="donor")
    renamed = reference.copy()
    renamed.obs["rank"] = "x"
    with pytest.raises(DataError, match="has the name of a column that the table has anyway"):
        SimilarCells(model).fit(renamed, columns=["rank"])
