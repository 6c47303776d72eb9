import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scssl
from benchmarks.recipes import roles, tables
from benchmarks.recipes.levers import mmd, mutual_neighbours
from benchmarks.recipes.scoring import DRAWS, LABELS, Labelled, draws, score_embedding
from benchmarks.recipes.variants import START, VARIANTS


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
        ["adversary=0.1", "mmd=1.0", "variance=0.1"],
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
