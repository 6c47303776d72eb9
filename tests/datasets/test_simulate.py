"""The simulated atlas: what its truth says is what its counts show."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from scssl.datasets import simulate_atlas
from scssl.errors import SettingsError
from scssl.genes import GenePanel

NOISELESS = {"state_effect": 0.0, "batch_effect": 0.0, "donor_effect": 0.0, "library_spread": 0.0}


@pytest.fixture(scope="module")
def atlas():
    return simulate_atlas()


def log_normalised(adata):
    counts = adata.X.toarray().astype(np.float64)
    return np.log1p(1e4 * counts / counts.sum(1, keepdims=True))


def test_shape_and_fields(atlas):
    assert atlas.shape == (2000, 1000)
    assert sparse.isspmatrix_csr(atlas.X)
    assert atlas.X.dtype == np.uint16
    assert atlas.X.has_canonical_format
    assert list(atlas.obs.columns) == ["cell_type", "donor", "study", "batch", "condition", "depth"]
    assert atlas.obs["cell_type"].nunique() == 8
    assert atlas.obs["donor"].nunique() == 12
    assert set(atlas.obs["condition"]) == {"healthy", "disease"}
    assert atlas.obsm["programme_activity"].shape == (2000, 20)
    assert atlas.obs_names.is_unique


def test_genes_are_human_and_drivers_are_transcription_factors(atlas):
    panel = GenePanel.builtin("human")
    assert (panel.index_of(atlas.var_names) >= 0).all()
    symbol_of = dict(zip(panel.ids, panel.symbols, strict=True))
    assert [symbol_of[i] for i in atlas.var_names] == list(atlas.var["symbol"])
    for programme in atlas.uns["simulation"]["programmes"].values():
        assert 1 <= len(programme["tfs"]) <= 3
        assert atlas.var.loc[programme["tfs"], "is_tf"].all()
        assert not set(programme["tfs"]) & set(programme["genes"])
    assert {"SPI1", "GATA1", "PAX5"} & set(atlas.var["symbol"])


def test_same_seed_same_atlas_and_another_seed_another(atlas):
    again, other = simulate_atlas(), simulate_atlas(seed=1)
    assert (again.X != atlas.X).nnz == 0
    pd.testing.assert_frame_equal(again.obs, atlas.obs)
    assert list(other.var_names) != list(atlas.var_names)


def test_other_modalities_leave_expression_as_it_is(atlas):
    both = simulate_atlas(n_proteins=12, n_peaks=40)
    assert (both.X != atlas.X).nnz == 0


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    simulate_atlas(50, 100)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_donors_are_nested_in_batches_in_studies(atlas):
    for inner, outer in (("donor", "batch"), ("batch", "study")):
        assert (atlas.obs.groupby(inner, observed=True)[outer].nunique() == 1).all()
    samples = atlas.uns["simulation"]["samples"]
    sizes = atlas.obs.groupby("donor", observed=True).size()
    assert (samples.set_index("donor")["n_cells"] == sizes).all()


@pytest.mark.parametrize("design", ["balanced", "paired", "confounded"])
def test_designs(design):
    obs = simulate_atlas(600, 100, n_programmes=5, design=design).obs
    per_donor = obs.groupby("donor", observed=True)["condition"].nunique()
    per_study = obs.groupby("study", observed=True)["condition"].nunique()
    assert (per_donor == (2 if design == "paired" else 1)).all()
    assert (per_study == (1 if design == "confounded" else 2)).all()


def test_variance_grows_with_the_mean_as_negative_binomials_do():
    adata = simulate_atlas(3000, 200, n_types=1, n_donors=1, n_studies=1, conditions=("one",), **NOISELESS)
    counts = adata.X.toarray().astype(np.float64)
    assert adata.obs["depth"].std() < 1e-2
    mean, variance = counts.mean(0), counts.var(0, ddof=1)
    expected = mean + adata.var["dispersion"].to_numpy() * mean**2
    seen = mean > 0.5
    ratio = (variance / expected)[seen]
    assert seen.sum() > 50
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    assert ratio.min() > 0.75
    assert ratio.max() < 1.3
    # Poisson counts would not do: the dispersion shows.
    assert (variance / mean)[mean > 20].min() > 2


def test_library_sizes_are_log_normal_around_what_was_asked(atlas):
    total = np.asarray(atlas.X.sum(1)).ravel()
    assert np.corrcoef(np.log(total), np.log(atlas.obs["depth"]))[0, 1] > 0.97
    quiet = {**NOISELESS, "n_types": 1, "n_donors": 1, "n_studies": 1, "conditions": ("one",)}
    one = simulate_atlas(3000, 500, **{**quiet, "library_spread": 0.5, "library_size": 5000.0})
    logs = np.log(np.asarray(one.X.sum(1)).ravel())
    assert logs.std() == pytest.approx(0.5, abs=0.03)
    assert abs(stats.skew(logs)) < 0.3
    # Study, donor and type move the median by about a third.
    assert abs(np.median(logs) - np.log(5000)) < 1.2


def test_zeros_come_from_depth():
    deep = simulate_atlas(800, 500, library_size=4000.0)
    shallow = simulate_atlas(800, 500, library_size=1000.0, seed=0)
    rng = np.random.default_rng(0)
    thinned = rng.binomial(deep.X.toarray(), 0.25)
    np.testing.assert_array_equal(deep.obs["cell_type"], shallow.obs["cell_type"])
    assert (thinned > 0).mean() == pytest.approx((shallow.X > 0).mean(), rel=0.02)
    per_gene = stats.spearmanr((thinned > 0).mean(0), (shallow.X > 0).mean(0).A1).statistic
    assert per_gene > 0.97
    assert (shallow.X > 0).mean() < 0.8 * (deep.X > 0).mean()


def test_density_and_heavy_tail_at_full_size_look_like_10x():
    adata = simulate_atlas(400, 18_000, library_size=5000.0)
    assert 0.05 < adata.X.nnz / np.prod(adata.shape) < 0.15
    share = np.sort(adata.X.sum(0).A1 / adata.X.sum())[::-1]
    assert share[:180].sum() > 0.2
    assert share[0] < 0.1


def test_batch_effects_show_and_can_be_switched_off(atlas):
    def same_study(adata):
        codes = PCA(20, random_state=0).fit_transform(log_normalised(adata))
        neighbours = NearestNeighbors(n_neighbors=6).fit(codes).kneighbors(return_distance=False)[:, :5]
        study = adata.obs["study"].cat.codes.to_numpy()
        return (study[neighbours] == study[:, None]).mean()

    quiet = simulate_atlas(batch_effect=0.0, donor_effect=0.0, composition_spread=0.0)
    assert same_study(atlas) > 0.75
    assert same_study(quiet) < 0.45
    assert np.abs(quiet.uns["simulation"]["batch_effects"].to_numpy()).max() == 0


def test_batch_effects_are_those_recorded():
    settings = {**NOISELESS, "batch_effect": 0.5, "n_types": 1, "conditions": ("one",), "library_size": 20_000.0}
    adata = simulate_atlas(4000, 200, n_studies=2, n_donors=4, batches_per_study=2, **settings)
    truth = adata.uns["simulation"]["batch_effects"]
    assert list(truth.columns) == list(adata.obs["batch"].cat.categories)
    rate = {
        name: adata.X[cells].sum(0).A1 / adata.obs["depth"].to_numpy()[cells].sum()
        for name in truth.columns
        for cells in [(adata.obs["batch"] == name).to_numpy()]
    }
    first = truth.columns[0]
    for name in truth.columns[1:]:
        seen = np.minimum(rate[first], rate[name]) > 1e-4
        difference = np.log(rate[name][seen] / rate[first][seen])
        expected = (truth[name] - truth[first]).to_numpy()[seen]
        assert np.corrcoef(difference, expected)[0, 1] > 0.97
        # Depth is the same for all genes of a cell, so a shift common to all of them cannot be seen.
        assert np.std(difference - expected) < 0.12
    # Batches of one study are more alike than batches of two.
    spread = truth.to_numpy()
    assert np.std(spread[:, 0] - spread[:, 1]) < 0.7 * np.std(spread[:, 0] - spread[:, 2])


def test_programmes_follow_their_transcription_factors(atlas):
    truth = atlas.uns["simulation"]
    values = log_normalised(atlas)
    position = {gene: i for i, gene in enumerate(atlas.var_names)}
    within = pd.DataFrame(atlas.obsm["programme_activity"]).groupby(atlas.obs["cell_type"].to_numpy())
    residual = atlas.obsm["programme_activity"] - within.transform("mean").to_numpy()
    scores = []
    for p, programme in enumerate(truth["programmes"].values()):
        tfs = [position[g] for g in programme["tfs"]]
        level = values[:, tfs] @ programme["tf_weights"]
        level = level - pd.Series(level).groupby(atlas.obs["cell_type"].to_numpy()).transform("mean").to_numpy()
        scores.append(np.corrcoef(level, residual[:, p])[0, 1])
    assert np.median(scores) > 0.2
    assert np.mean(np.array(scores) > 0) > 0.9


def test_tree_makes_siblings_most_alike(atlas):
    truth = atlas.uns["simulation"]
    assert list(truth["type_activity"].index) == list(atlas.obs["cell_type"].cat.categories)
    parent = truth["tree"].set_index("node")["parent"]
    assert set(truth["tree"].loc[truth["tree"]["is_type"], "node"]) == set(truth["type_activity"].index)
    activity = truth["type_activity"].to_numpy()
    distance = np.linalg.norm(activity[:, None] - activity[None], axis=2)
    names = list(truth["type_activity"].index)
    siblings = np.array([[a != b and parent[a] == parent[b] for b in names] for a in names])
    cousins = np.array([[parent[parent[a]] != parent[parent[b]] for b in names] for a in names])
    assert distance[siblings].mean() < 0.7 * distance[cousins].mean()


def test_held_out_donors_are_neither_trivial_nor_hopeless(atlas):
    codes = PCA(50, random_state=0).fit_transform(log_normalised(atlas))
    types = atlas.obs["cell_type"].to_numpy().astype(str)
    held_out = atlas.obs["donor"].isin(atlas.obs["donor"].cat.categories[::3]).to_numpy()
    predicted = KNeighborsClassifier(5).fit(codes[~held_out], types[~held_out]).predict(codes[held_out])
    wrong = predicted != types[held_out]
    assert 0.75 < 1 - wrong.mean() < 0.97
    parent = atlas.uns["simulation"]["tree"].set_index("node")["parent"]
    sibling = parent[predicted[wrong]].to_numpy() == parent[types[held_out][wrong]].to_numpy()
    assert sibling.mean() > 0.6


@pytest.fixture(scope="module")
def shifted():
    settings = {**NOISELESS, "n_donors": 2, "n_studies": 1, "library_size": 20_000.0, "composition_spread": 0.0}
    return simulate_atlas(6000, 300, n_programmes=8, n_types=4, condition_effect=1.5, **settings)


def test_condition_lands_only_where_stated(shifted):
    condition = shifted.uns["simulation"]["conditions"]["disease"]
    moved = set(condition["genes"]) | set(condition["tfs"])
    assert moved < set(shifted.var_names)
    sick = (shifted.obs["condition"] == "disease").to_numpy()
    # Depth includes what the condition adds, so a cell's counts are set against genes that it cannot move.
    still = ~shifted.var_names.isin(list(moved))
    base = shifted.X[:, still].sum(1).A1
    for name in shifted.obs["cell_type"].cat.categories:
        of_type = (shifted.obs["cell_type"] == name).to_numpy()
        a, b = of_type & ~sick, of_type & sick
        rate = [shifted.X[c].sum(0).A1 / base[c].sum() for c in (a, b)]
        enough = np.minimum(shifted.X[a].sum(0).A1, shifted.X[b].sum(0).A1) > 2000
        change = np.abs(np.log(rate[1][enough] / rate[0][enough]))
        inside = shifted.var_names[enough].isin(list(moved))
        assert inside.sum() >= 5
        assert np.quantile(change[~inside], 0.95) < 0.12
        if name in condition["types"]:
            assert np.median(change[inside]) > 0.4
        else:
            assert np.quantile(change[inside], 0.95) < 0.12


def test_condition_moves_tf_by_the_stated_shift(shifted):
    condition = shifted.uns["simulation"]["conditions"]["disease"]
    kept = shifted.obs["cell_type"].isin(condition["types"]).to_numpy()
    sick = (shifted.obs["condition"] == "disease").to_numpy()
    names = list(shifted.uns["simulation"]["programmes"])
    activity = shifted.obsm["programme_activity"]
    for p, name in enumerate(names):
        for name_of_type in shifted.obs["cell_type"].cat.categories:
            of_type = (shifted.obs["cell_type"] == name_of_type).to_numpy()
            difference = activity[of_type & sick, p].mean() - activity[of_type & ~sick, p].mean()
            stated = condition["shift"] if name in condition["programmes"] and kept[of_type].all() else 0
            assert difference == pytest.approx(stated, abs=1e-4)


def test_condition_changes_composition(shifted):
    condition = shifted.uns["simulation"]["conditions"]["disease"]
    factor = condition["composition"]["log_factor"]
    assert factor.max() > 0 > factor.min()
    share = pd.crosstab(shifted.obs["condition"], shifted.obs["cell_type"], normalize="index")
    change = np.log(share.loc["disease"] / share.loc["healthy"])
    assert change[factor.idxmax()] == change.max()
    assert change[factor.idxmin()] == change.min()
    proportions = shifted.uns["simulation"]["proportions"]
    np.testing.assert_allclose(proportions.sum(1), 1)
    true_change = np.log(proportions.iloc[1] / proportions.iloc[0]).to_numpy()
    np.testing.assert_allclose(true_change - true_change[0], (factor - factor.iloc[0]).to_numpy(), atol=1e-9)


def test_without_effects_conditions_do_nothing():
    null = simulate_atlas(300, 100, n_programmes=5, condition_effect=0.0, composition_effect=0.0)
    record = null.uns["simulation"]["conditions"]["disease"]
    assert record["shift"] == 0
    assert (record["composition"]["log_factor"] == 0).all()


def test_unmeasured_genes_have_no_counts_and_are_listed():
    adata = simulate_atlas(500, 200, unmeasured=0.3)
    measured = adata.uns["measured"]
    assert measured.shape == (200, 3)
    assert 0.6 < measured.to_numpy().mean() < 0.8
    for study in measured.columns:
        cells = (adata.obs["study"] == study).to_numpy()
        assert adata.X[cells][:, ~measured[study].to_numpy()].nnz == 0
    assert "measured" not in simulate_atlas(50, 100).uns


def test_proteins_and_peaks_follow_their_genes():
    adata = simulate_atlas(1500, 400, n_proteins=20, n_peaks=60)
    truth = adata.uns["simulation"]
    assert adata.obsm["protein"].shape == (1500, 20)
    assert adata.obsm["atac"].shape == (1500, 60)
    assert len(set(adata.uns["protein_names"])) == 20
    assert len(set(adata.uns["peak_names"])) == 60
    assert list(adata.var.loc[truth["protein_genes"], "symbol"] + "_protein") == list(adata.uns["protein_names"])
    rna = pd.DataFrame(log_normalised(adata), columns=adata.var_names)
    protein = np.log1p(adata.obsm["protein"])
    own = [np.corrcoef(rna[g], protein[:, i])[0, 1] for i, g in enumerate(truth["protein_genes"])]
    assert np.median(own) > 0.2
    assert (adata.obsm["atac"] > 0).mean() < 0.3


def test_round_trip_to_h5ad(tmp_path):
    adata = simulate_atlas(200, 150, n_programmes=6, n_proteins=5, n_peaks=8, unmeasured=0.1)
    adata.write_h5ad(tmp_path / "atlas.h5ad")
    again = anndata.read_h5ad(tmp_path / "atlas.h5ad")
    assert (again.X != adata.X).nnz == 0
    assert again.X.dtype == np.uint16
    pd.testing.assert_frame_equal(again.obs, adata.obs)
    pd.testing.assert_frame_equal(again.uns["measured"], adata.uns["measured"])
    before, after = adata.uns["simulation"], again.uns["simulation"]
    assert before.keys() == after.keys()
    pd.testing.assert_frame_equal(before["type_activity"], after["type_activity"])
    pd.testing.assert_frame_equal(before["tree"], after["tree"])
    for name, programme in before["programmes"].items():
        for key, value in programme.items():
            np.testing.assert_array_equal(value, after["programmes"][name][key])
    np.testing.assert_array_equal(before["conditions"]["disease"]["types"], after["conditions"]["disease"]["types"])
    again.write_h5ad(tmp_path / "twice.h5ad")


def test_several_conditions_and_more_programmes_than_known_factors():
    adata = simulate_atlas(400, 900, n_programmes=200, programme_size=5, conditions=("ctrl", "a", "b"))
    assert set(adata.uns["simulation"]["conditions"]) == {"a", "b"}
    assert adata.var["is_tf"].sum() == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_cells": 0}, "n_cells"),
        ({"n_cells": 5}, "every sample a cell"),
        ({"n_studies": 13}, "every study needs a donor"),
        ({"n_genes": 20}, "60 genes"),
        ({"dispersion": 0.0}, "above 0"),
        ({"batch_effect": -1.0}, "batch_effect"),
        ({"unmeasured": 1.0}, "below 1"),
        ({"design": "crossed"}, "balanced, paired, confounded"),
        ({"conditions": ("a", "a")}, "different names"),
        ({"conditions": ()}, "control first"),
    ],
)
def test_impossible_settings_are_refused(arguments, words):
    with pytest.raises(SettingsError, match=words):
        simulate_atlas(**arguments)


@pytest.mark.slow
def test_large_atlas_is_fast_and_small_in_memory():
    import time
    import tracemalloc

    tracemalloc.start()
    started = time.monotonic()
    adata = simulate_atlas(20_000, 5_000)
    seconds = time.monotonic() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    held = adata.X.data.nbytes + adata.X.indices.nbytes + adata.X.indptr.nbytes
    assert seconds < 15
    assert peak < 3 * held + 300e6
