"""Genes that drove labels: tables that add up, against slow sums, in every mode; and what users get wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

import scssl
from scssl.errors import DataError, SettingsError
from scssl.nn.inputs import unmeasured_genes
from scssl.tasks import Annotator
from scssl.tasks.annotate.explain import explain
from scssl.tasks.annotate.smooth_vote import SmoothVote
from scssl.training.finetuning import FineTuning

TYPES = ["a", "b", "c"]
MODES = ["zero_shot", "probe", "finetune", "scratch"]


@pytest.fixture(scope="module")
def atlas():
    """Three types, each with five genes of its own that only it expresses much."""
    rng = np.random.default_rng(0)
    types = np.repeat(np.arange(3), 80)
    means = np.full((240, 60), 0.7)
    for c in range(3):
        means[types == c, 5 * c : 5 * c + 5] = 12.0
    obs = pd.DataFrame(
        {"cell_type": np.array(TYPES)[types], "donor": np.tile(["d1", "d2", "d3", "d4"], 60)},
        index=[f"cell{i}" for i in range(240)],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(60)])
    return AnnData(rng.poisson(means).astype(np.float32), obs=obs, var=var)


@pytest.fixture(scope="module")
def model(atlas):
    return scssl.pretrain(atlas, preset="small", max_epochs=5, batch_size=32, seed=0, genes="union", device="cpu")


@pytest.fixture(scope="module")
def annotators(atlas, model):
    tuning = FineTuning(epochs=3, min_steps=60, cross_fitted=0)
    return {mode: Annotator(model, mode=mode, finetuning=tuning).fit(atlas, device="cpu") for mode in MODES}


@pytest.mark.parametrize("mode", MODES)
def test_genes_of_a_type_are_found(annotators, atlas, mode):
    found = explain(annotators[mode], atlas, n_top=5, device="cpu")
    assert found.settings["stand_in_agreement"] == 1 if mode != "zero_shot" else True
    for c, label in enumerate(TYPES):
        table = found.genes_of(label)
        own = set(atlas.var_names[5 * c : 5 * c + 5])
        positive = table[table["mean_log1p"] > table["baseline_log1p"]]
        assert set(positive["gene"]) <= own
        assert len(positive) >= 3
        assert table["score"].is_monotonic_decreasing
        assert (table["n_cells"] == (found.cells["label"] == label).sum()).all()


@pytest.mark.parametrize("mode", MODES)
def test_parts_add_up_to_the_score(annotators, atlas, mode):
    cells = explain(annotators[mode], atlas, n_steps=200, device="cpu").cells
    change = cells["score"] - cells["baseline"]
    np.testing.assert_allclose(cells["attributed"], change, atol=0.02 * np.abs(change).mean())
    assert list(cells.index) == list(atlas.obs_names)


def test_scores_and_tables_against_a_loop(annotators, atlas):
    """With every gene asked for, tables hold each attribution; sums and means are those of a loop over cells."""
    annotator = annotators["probe"]
    query = atlas[::7].copy()
    found = explain(annotator, query, n_top=60, batch_size=4, device="cpu")
    head, encoder = annotator.fitted.classifier, annotator.fitted.model.encoder
    logits = head.log_scores(annotator.fitted.model.embed(query)).astype(np.float64)
    classes = annotator.fitted.reference.classes
    for i, (cell, row) in enumerate(found.cells.iterrows()):
        mine = logits[i].argmax()
        assert row["label"] == classes[mine]
        others = np.delete(logits[i], mine)
        assert row["score"] == pytest.approx(logits[i, mine] - np.log(np.exp(others).sum()), abs=1e-3)
        genes = found.per_cell[found.per_cell["cell"] == cell]
        assert genes["score"].is_monotonic_decreasing
        assert genes["score"].sum() >= row["attributed"] - 1e-3  # those against the label are left out
    batch = next(annotator.fitted.model.batches(query))
    x = pd.DataFrame(encoder.normalise(batch).numpy(), index=query.obs_names, columns=annotator.fitted.model.panel.ids)
    for row in found.per_cell.iloc[::11].itertuples():
        assert row.log1p == pytest.approx(x.loc[row.cell, row.gene], abs=1e-5)
    for row in found.per_type.iloc[::5].itertuples():
        mine = found.cells.index[found.cells["label"] == row.label]
        assert row.n_cells == len(mine)
        assert row.mean_log1p == pytest.approx(x.loc[mine, row.gene].mean(), abs=1e-5)
    assert unmeasured_genes(batch) is None


@pytest.mark.parametrize("mode", ["zero_shot", "probe"])
def test_batches_and_choices_of_cells_do_not_matter(annotators, atlas, mode):
    whole = explain(annotators[mode], atlas, batch_size=512, device="cpu")
    names = [atlas.obs_names[i] for i in (100, 3, 200)]
    mask = atlas.obs_names.isin(names)
    for cells in (names, np.flatnonzero(mask), mask):
        part = explain(annotators[mode], atlas, cells=cells, batch_size=17, device="cpu")
        assert list(part.cells.index) == [atlas.obs_names[i] for i in (3, 100, 200)]
        pd.testing.assert_frame_equal(part.cells, whole.cells.loc[part.cells.index], atol=1e-4)


def test_one_label_against_another(annotators, atlas):
    found = explain(annotators["probe"], atlas, label="b", against="a", device="cpu")
    assert set(found.cells["label"]) == {"b"}
    truth = atlas.obs["cell_type"].to_numpy()
    assert found.cells.loc[truth == "b", "score"].min() > 0 > found.cells.loc[truth == "a", "score"].max()
    others = explain(annotators["probe"], atlas, against="a", device="cpu")
    assert set(others.cells["label"]) == {"b", "c"}


def test_unmeasured_genes_are_never_named(annotators, atlas):
    part = atlas[:, [i for i in range(60) if i not in (0, 1, 5, 10)]].copy()
    found = explain(annotators["probe"], part, n_top=60, device="cpu")
    assert not set(atlas.var_names[[0, 1, 5, 10]]) & (set(found.per_cell["gene"]) | set(found.per_type["gene"]))


def test_cells_without_counts_are_left_out(annotators, atlas):
    query = atlas[:20].copy()
    query.X[4] = 0
    assert query.obs_names[4] not in explain(annotators["probe"], query, device="cpu").cells.index


def test_the_stand_in_against_a_loop():
    rng = np.random.default_rng(3)
    reference, labels = rng.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3
    labels[labels == 2] = 3  # a label without cells
    smooth = SmoothVote(torch.from_numpy(reference), labels=labels, n_classes=4, k=5)
    query = rng.normal(size=(7, 4)).astype(np.float32)
    found = smooth.around(torch.from_numpy(query))(torch.from_numpy(query)).numpy()
    for i, c in np.ndindex(7, 4):
        mine = reference[labels == c]
        if not len(mine):
            assert found[i, c] < -1000
            continue
        near = sorted(mine, key=lambda cell: np.sum((cell - query[i]) ** 2))[:5]
        expected = -np.sum((query[i] - np.mean(near, axis=0)) ** 2) / (2 * smooth.width)
        assert found[i, c] == pytest.approx(expected, rel=1e-4)
    gaps = []
    for i, cell in enumerate(reference):
        rest = [r for j, r in enumerate(reference) if labels[j] == labels[i] and j != i]
        near = sorted(rest, key=lambda r: np.sum((r - cell) ** 2))[:5]
        gaps.append(np.sum((cell - np.mean(near, axis=0)) ** 2))
    # torch takes the lower of the two in the middle.
    assert smooth.width == pytest.approx(sorted(gaps)[len(gaps) // 2 - 1], rel=1e-4)


def test_mistakes(annotators, atlas, model):
    annotator = annotators["probe"]
    for wrong, message in (
        ({"label": "x"}, "label 'x' is not a label of the reference; there are: a, b, c"),
        ({"against": "x"}, "against 'x'"),
        ({"label": "a", "against": "a"}, "nothing to compare"),
        ({"n_top": 0}, "n_top is 0"),
        ({"n_steps": 0}, "n_steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ):
        with pytest.raises(SettingsError, match=message):
            explain(annotator, atlas, **wrong)
    for wrong, message in (
        (["no cell"], "no cell 'no cell'"),
        ([], "cells is empty"),
        ([240], "row 240, of 240"),
        (np.ones(3, dtype=bool), "mask of cells has 3 entries"),
        (np.zeros(240, dtype=bool), "no cell to explain"),
    ):
        with pytest.raises(DataError, match=message):
            explain(annotator, atlas, cells=wrong)
    with pytest.raises(SettingsError, match="no reference yet"):
        explain(Annotator(model), atlas)


def test_few_steps_are_said(annotators, atlas, caplog):
    explain(annotators["finetune"], atlas, n_steps=1, device="cpu")
    said = [record for record in caplog.records if "finite steps" in record.getMessage()]
    lost = explain(annotators["finetune"], atlas, n_steps=1, device="cpu").settings["lost_to_finite_steps"]
    assert bool(said) == (lost > 0.05)


def test_only_networks_are_explained(atlas):
    from scssl.study import PCAEncoder

    pca = PCAEncoder(scssl.GenePanel.from_names(atlas.var_names), n_components=5).fit(atlas)
    with pytest.raises(SettingsError, match="only a CellModel can be explained; this annotator is on a PCAEncoder"):
        explain(Annotator(pca).fit(atlas), atlas)
