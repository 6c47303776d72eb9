"""Summed counts against sums cell by cell."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import DataError
from scssl.tasks.pseudobulk import pseudobulk, samples, sum_counts


def slow_sums(counts, group, n_groups):
    found = np.zeros((n_groups, counts.shape[1]), dtype=np.int64)
    for row, number in enumerate(group):
        if number >= 0:
            found[number] += counts[row].astype(np.int64)
    return found


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 5))
def test_sums_are_those_of_adding_cell_by_cell(seed, n_cells, n_groups):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.5, (n_cells, 7)).astype(np.uint16)
    group = rng.integers(-1, n_groups, n_cells)
    for given_as in (counts, sp.csr_matrix(counts), sp.csc_matrix(counts)):
        found = sum_counts(given_as, group=group, n_groups=n_groups)
        np.testing.assert_array_equal(found.toarray(), slow_sums(counts, group, n_groups))


def test_small_integers_do_not_overflow():
    counts = np.full((3, 1), 65_535, dtype=np.uint16)
    assert sum_counts(counts, group=np.zeros(3, dtype=int), n_groups=1).toarray() == 3 * 65_535


def test_every_sample_of_an_atlas(atlas, atlas_file):
    found = pseudobulk(atlas, by=["donor", "cell_type", "condition"])
    assert found.X.sum() == atlas.X.sum(dtype=np.int64)
    assert found.obs["n_cells"].sum() == atlas.n_obs
    assert list(found.var_names) == list(atlas.var_names)
    dense = atlas.X.toarray().astype(np.int64)
    for row, sample in enumerate(found.obs.itertuples()):
        cells = (
            (atlas.obs["donor"] == sample.donor)
            & (atlas.obs["cell_type"] == sample.cell_type)
            & (atlas.obs["condition"] == sample.condition)
        ).to_numpy()
        assert cells.sum() == sample.n_cells
        np.testing.assert_array_equal(found.X[row].toarray().ravel(), dense[cells].sum(axis=0))
    from_file = pseudobulk(atlas_file, by=["donor", "cell_type", "condition"])
    assert (from_file.X != found.X).nnz == 0
    pd.testing.assert_frame_equal(from_file.obs, found.obs)


def test_cells_without_a_value_and_cells_not_asked_for_are_left_out():
    obs = pd.DataFrame({"donor": ["a", "a", None, "b"], "state": ["x", "y", "x", "x"]})
    group, table = samples(obs, rows=np.array([True, True, True, False]))
    assert list(group) == [0, 1, -1, -1]
    assert list(table.index) == ["a|x", "a|y"]
    assert list(table["n_cells"]) == [1, 1]


def test_what_is_missing_is_named(atlas):
    with pytest.raises(DataError, match=r"no column 'sex'.*there are: .*donor"):
        pseudobulk(atlas, by=["donor", "sex"])
    with pytest.raises(DataError, match="nothing to sum"):
        pseudobulk(atlas, by=["donor"], rows=np.zeros(atlas.n_obs, dtype=bool))
