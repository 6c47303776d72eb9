import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scssl
from benchmarks import protocol
from benchmarks.recipes import figures, finetune_levers, roles, tables, uses
from benchmarks.recipes.levers import mmd, mutual_neighbours
from benchmarks.recipes.plan import PLAN
from benchmarks.recipes.scoring import DRAWS, LABELS, Labelled, draws, score_embedding
from benchmarks.recipes.variants import SIMPLE, START, VARIANTS
from scssl.tasks import Annotator, FineTuning


def cells_of(n_types, n_groups, per, seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_types), per)
    groups = rng.integers(0, n_groups, len(labels)).astype(str) if n_groups > 1 else None
    types = np.array([f"type {t}" for t in range(n_types)])
    return Labelled(np.arange(len(labels)), types, labels, groups)


@given(n_types=st.integers(2, 4), n_groups=st.sampled_from([1, 2, 5]), per=st.integers(15, 40), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_reference_and_query_share_no_group_and_no_cell(n_types, n_groups, per, seed):
    cells = cells_of(n_types, n_groups, per, seed)
    for n_labels in LABELS:
        found = list(draws(cells, n_labels=n_labels))
        assert len(found) == DRAWS[n_labels]
        for reference, query in found:
            assert not set(reference) & set(query)
            if cells.groups is not None:
                assert not set(cells.groups[reference]) & set(cells.groups[query])
            counts = np.bincount(cells.labels[reference], minlength=n_types)
            assert counts.max() <= LABELS[n_labels]
            assert set(cells.labels[query]) <= set(cells.labels[reference])
        again = list(draws(cells, n_labels=n_labels))
        assert all((a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(found, again, strict=True))


def test_a_code_that_tells_types_apart_scores_one_and_noise_scores_little():
    cells = cells_of(3, 1, 40, 0)
    told = np.eye(3, dtype=np.float32)[cells.labels]
    noise = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
    for codes, low, high in ((told, 1, 1), (noise, 0.1, 0.6)):
        for row in score_embedding(codes, cells, readouts=("knn", "probe:0.1")):
            assert low <= np.mean(row["draws"]) <= high


def test_no_atlas_has_both_roles():
    seeds = [roles.seed_of_atlas(role, seed) for role in ("development", "confirmation") for seed in range(100)]
    assert len(set(seeds)) == len(seeds)
    assert not {t.file for t in roles.REAL["development"]} & {t.file for t in roles.REAL["confirmation"]}


def test_every_variant_has_settings_that_exist():
    from scssl.training import choose_config

    for variant in VARIANTS.values():
        start = START if variant.preset == "default" else ()
        choose_config(preset=variant.preset, pretext=variant.pretext, overrides=[*start, *variant.changes])


def test_mutual_neighbours_are_those_of_a_plain_search():
    torch.manual_seed(0)
    code, source = torch.randn(30, 4), torch.arange(30) % 3
    found = {tuple(pair) for pair in mutual_neighbours(code, source, k=2).tolist()}
    unit = torch.nn.functional.normalize(code - code.mean(0), dim=1)

    def near(cell, other):
        theirs = [c for c in range(30) if source[c] == other]
        return sorted(theirs, key=lambda c: -float(unit[cell] @ unit[c]))[:2]

    expected = {
        (a, b)
        for a in range(30)
        for b in range(30)
        if source[a] != source[b] and b in near(a, source[b]) and a in near(b, source[a])
    }
    assert found == expected


def test_discrepancy_is_larger_where_sources_lie_apart():
    torch.manual_seed(0)
    code, source = torch.randn(200, 8), torch.arange(200) % 2
    apart = code + 3 * torch.nn.functional.one_hot(source, 8)
    assert mmd(apart, source) > 10 * mmd(code, source) >= 0


@pytest.mark.parametrize(
    "changes",
    [
        ["scale_input=1.0", "scale_target=1.0"],
        ["thin=0.5", "ask_visible=0.5"],
        ["adversary=0.1", "mmd=1.0", "variance=0.1", "rate_first=0.1"],
        ["latent=0.5", "average=0.9", "rate_low=0.1"],
    ],
)
def test_levers_train_and_leave_a_plain_encoder(changes, tmp_path):
    atlas = scssl.datasets.simulate_atlas(300, 120, n_studies=2, seed=1)
    overrides = [f"task.{c}" for c in changes]
    model = scssl.pretrain(
        atlas, preset="small", pretext="levers", max_epochs=2, source="study", split_by="cell", overrides=overrides
    )
    assert np.isfinite(model.card["metrics"]["val_loss"])
    model.save(tmp_path / "model")
    np.testing.assert_allclose(scssl.load(tmp_path / "model").embed(atlas), model.embed(atlas), atol=1e-5)


def test_intervals_are_student_t():
    from scipy.stats import ttest_1samp

    values = np.array([0.1, 0.3, 0.2, 0.4])
    expected = ttest_1samp(values, 0).confidence_interval()
    assert tables.half_width(values) == pytest.approx((expected.high - expected.low) / 2)


def test_committed_scores_are_those_of_the_plan():
    found = set()
    for name in ("recipes_development", "recipes_confirmation", "recipes_sizes"):
        scores = json.loads((protocol.RESULTS / f"{name}.json").read_text())["scores"]
        columns = scores["columns"].split("\t")
        for line in scores["rows"]:
            row = dict(zip(columns, line.split("\t"), strict=True))
            variant = row["method"] if row["method"] in VARIANTS else SIMPLE
            found.add((row["corpus"], variant, int(row["seed"]), int(row["cells"])))
    planned = {(job.corpus, job.variant, job.seed, job.cells) for part in PLAN for job in part.jobs(Path())}
    assert found == planned


def test_a_run_that_says_nothing_of_its_size_is_one_on_the_whole_corpus(tmp_path):
    row = {"corpus": "development-real", "variant": "start", "seed": 0, "cpu_seconds": 1.0, "target": "pbmc3k"}
    row |= {"use": "code", "n_labels": "10", "readout": "knn", "draws": [0.4, 0.6]}
    (tmp_path / "rows" / "any").mkdir(parents=True)
    (tmp_path / "rows" / "any" / "a.json").write_text(json.dumps([row]))
    assert tables.read(tmp_path)["cells"].tolist() == [0]
    (tmp_path / "rows" / "any" / "b.json").write_text(json.dumps([{**row, "cells": 300}]))
    table = tables.read(tmp_path)
    assert table["cells"].tolist() == [0, 300]
    assert table["f1"].tolist() == [0.5, 0.5]


def test_a_code_changed_at_use_is_what_its_name_says():
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    code = (rng.normal(size=(200, 30)) @ rng.normal(size=(30, 30))).astype(np.float32) + 5
    np.testing.assert_allclose(np.linalg.norm(uses.of_length_one(code), axis=1), 1, rtol=1e-5)
    covariance = np.cov(uses.whitened(code), rowvar=False, bias=True)
    spread = np.linalg.svd(code - code.mean(0), compute_uv=False)
    kept = int((spread > 0.01 * spread[0]).sum())
    assert np.sort(np.linalg.eigvalsh(covariance))[-kept:] == pytest.approx(np.ones(kept), abs=1e-3)
    expected = PCA(uses.FEWER, svd_solver="full").fit_transform(code)
    np.testing.assert_allclose(np.abs(uses.components(code)), np.abs(expected), rtol=1e-2, atol=1e-3)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.integers(0, 4))
def test_it_pays_from_where_nothing_falls_behind_again(scores, simple):
    found = figures.pays_from(np.array(scores), simple)
    expected = [i for i in range(len(scores)) if all(score > simple for score in scores[i:])]
    assert found == (expected[0] if expected else None)


@pytest.fixture(scope="module")
def labelled_cells():
    return scssl.datasets.simulate_atlas(200, 80, n_types=3, n_studies=1, seed=2)


@pytest.fixture(scope="module")
def untrained(labelled_cells):
    return scssl.pretrain(labelled_cells, preset="small", pretext="none", genes="union", max_epochs=1)


def tuned(module, model, cells, **settings):
    annotator = Annotator(
        model, mode="finetune", calibrate="never", finetuning=FineTuning(blends=(1.0,), precision="fp32", **settings)
    )
    with finetune_levers.trained_by(module):
        return annotator.fit(cells, labels="cell_type").fitted


def test_a_frozen_encoder_stays_as_it_was(untrained, labelled_cells):
    # One epoch has no second half.
    model = tuned(finetune_levers.FrozenFirst, untrained, labelled_cells, epochs=1, min_steps=1).model
    for name, weight in untrained.encoder.state_dict().items():
        assert torch.equal(weight, model.encoder.state_dict()[name])


def test_the_first_layer_learns_at_a_tenth_of_the_rate(untrained, labelled_cells):
    seen = {}

    class Watched(finetune_levers.SlowFirstLayer):
        def configure_optimizers(self):
            made = super().configure_optimizers()
            names = {id(p): name for name, p in self.labels.named_parameters()}
            seen.update({names[id(g["params"][0])]: g["max_lr"] for g in made["optimizer"].param_groups})
            return made

    tuned(Watched, untrained, labelled_cells, epochs=1, min_steps=1)
    rates = FineTuning()
    first = [name for name in seen if name.startswith("encoder.layers.0")]
    assert first
    for name, rate in seen.items():
        share = 1 if name.startswith("head") else rates.encoder_rate * (0.1 if name in first else 1)
        assert rate == pytest.approx(rates.learning_rate * share)


def test_the_mean_is_over_the_steps_of_the_second_half(untrained, labelled_cells):
    steps = []

    class Watched(finetune_levers.MeanOfSteps):
        def on_train_batch_end(self, *given):
            steps.append(self.labels.head.weight.detach().clone())
            super().on_train_batch_end(*given)

    head = tuned(Watched, untrained, labelled_cells, epochs=1, min_steps=1).classifier
    late = steps[len(steps) // 2 :]
    assert len(late) > 2
    np.testing.assert_allclose(head.weight, torch.stack(late).mean(0).numpy(), rtol=1e-5, atol=1e-7)
    assert not np.allclose(head.weight, steps[-1].numpy(), rtol=1e-3)
