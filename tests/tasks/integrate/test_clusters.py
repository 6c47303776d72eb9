"""Batches moved together cluster by cluster, against slow references and the package that the method comes from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.errors import FormatError
from scssl.tasks.integrate.clusters import RIDGE, Clusters, apply, belonging, shifts, sums, unit
from scssl.tasks.integrate.correct import Centred, arrays_of, fit_correction, from_arrays


def batches_of_types(shift=3.0, n=80, seed=0):
    """Three types in two batches, the second moved: codes, batch, type."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, 2 * n)
    batch = np.repeat([0, 1], n)
    codes = 8.0 * np.eye(3, 6)[kind] + rng.normal(size=(2 * n, 6))
    codes[:, 5] += shift * batch
    return codes.astype(np.float32), batch, kind


def slow_shifts(member, z, batch, weight=None, fixed=None):
    """A ridge regression per cluster, with a row per cell; cells that are not moved are one row without a batch."""
    n_batches = batch.max() + 1
    found = []
    for k in range(member.shape[1]):
        design = np.hstack([np.ones((len(z), 1)), np.eye(n_batches)[batch]])
        left = (design * member[:, [k]]).T @ design + np.diag([1e-9] + [RIDGE] * n_batches)
        right = (design * member[:, [k]]).T @ z
        if weight is not None:
            left[0, 0] += weight[k]
            right[0] += fixed[k]
        found.append(np.linalg.solve(left, right)[1:])
    return np.array(found)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), n_batches=st.integers(1, 4), n_clusters=st.integers(1, 5), mapped=st.booleans())
def test_shifts_are_the_ridge_regressions(seed, n_batches, n_clusters, mapped):
    rng = np.random.default_rng(seed)
    batch = rng.permutation(np.arange(40) % n_batches)
    member = rng.dirichlet(np.ones(n_clusters), 40)
    z = rng.normal(size=(40, 3))
    more = {"weight": rng.uniform(1, 9, n_clusters), "fixed": rng.normal(size=(n_clusters, 3))} if mapped else {}
    fast = shifts(member.T @ np.eye(n_batches)[batch], sums(member, z, batch), **more)
    np.testing.assert_allclose(fast, slow_shifts(member, z, batch, **more), atol=1e-6)
    taken = np.array([sum(member[i, k] * fast[k, batch[i]] for k in range(n_clusters)) for i in range(40)])
    np.testing.assert_allclose(apply(member, fast, batch), taken, atol=1e-9)


def test_belonging_sums_to_one_and_is_highest_where_near():
    directions = unit(np.random.default_rng(0).normal(size=(9, 4)))
    member = belonging(directions, directions[:3])
    np.testing.assert_allclose(member.sum(axis=1), 1.0)
    assert member[:3].argmax(axis=1).tolist() == [0, 1, 2]


def test_the_batch_goes_and_the_types_stay():
    codes, batch, kind = batches_of_types()
    _, moved = Clusters.fit(codes, batch=batch)
    assert moved.dtype == np.float32
    for k in range(3):
        means = [moved[(kind == k) & (batch == b)].mean(axis=0) for b in (0, 1)]
        assert np.abs(means[0] - means[1]).max() < 0.7
        assert np.linalg.norm(moved[kind == k].mean(axis=0) - codes[kind == k].mean(axis=0)) < 1.0


def test_it_is_the_method_of_harmonypy():
    harmonypy = pytest.importorskip("harmonypy")
    import logging

    import pandas as pd

    logging.getLogger("harmonypy").setLevel(logging.ERROR)
    codes, batch, _ = batches_of_types(shift=4.0, n=150)
    centred = codes - codes.mean(axis=0)
    theirs = np.asarray(
        harmonypy.run_harmony(centred, pd.DataFrame({"b": batch.astype(str)}), "b", theta=1, nclust=10).Z_corr
    )
    theirs = theirs if theirs.shape == codes.shape else theirs.T
    _, ours = Clusters.fit(codes, batch=batch)
    ours = ours - codes.mean(axis=0)
    # Clusters start elsewhere: what is moved is the same, not every cell to the last digit.
    assert np.linalg.norm(ours - theirs) < 0.25 * np.linalg.norm(centred - theirs)


def test_a_new_batch_is_mapped_to_its_types_though_it_lacks_one():
    codes, batch, kind = batches_of_types(n=150)
    found, moved = Clusters.fit(codes, batch=batch)
    new, _, theirs = batches_of_types(n=60, seed=9)
    new[:, 4] += 2.0
    new, theirs = new[theirs != 2], theirs[theirs != 2]
    mapped = found.map(new, batch=np.zeros(len(new), dtype=int))
    for k in (0, 1):
        there = moved[kind == k].mean(axis=0)
        assert np.linalg.norm(mapped[theirs == k].mean(axis=0) - there) < 1.0
        assert np.linalg.norm(new[theirs == k].mean(axis=0) - there) > 1.2


def test_centring_leaves_all_batches_with_one_mean():
    codes, batch, _ = batches_of_types()
    correction, moved = fit_correction(codes, batch=batch, correct="centre", seed=0)
    for b in (0, 1):
        np.testing.assert_allclose(moved[batch == b].mean(axis=0), codes.mean(axis=0), atol=1e-5)
    assert isinstance(correction, Centred)
    other = correction.map(codes + 7, batch=np.zeros(len(codes), dtype=int))
    np.testing.assert_allclose(other.mean(axis=0), codes.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("correct", ["none", "centre", "clusters"])
def test_arrays_make_the_same_correction(correct):
    codes, batch, _ = batches_of_types()
    correction, _ = fit_correction(codes, batch=batch, correct=correct, seed=0)
    again = from_arrays(arrays_of(correction), correct=correct, n_latent=6)
    np.testing.assert_array_equal(again.map(codes, batch=batch), correction.map(codes, batch=batch))
    if correct != "none":
        with pytest.raises(FormatError, match=rf"what moves batches \({correct}\) does not fit codes of width 5"):
            from_arrays(arrays_of(correction), correct=correct, n_latent=5)
