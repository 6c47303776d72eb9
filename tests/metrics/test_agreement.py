import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import explained_variance_score, root_mean_squared_error

from scssl.errors import DataError
from scssl.metrics import Agreement, agreement

SMALL = arrays.arrays(np.int64, st.tuples(st.integers(3, 8), st.integers(1, 3)), elements=st.integers(0, 4))


def reference(truth, predicted):
    """One column, by libraries."""
    constant, flat = len(set(truth)) == 1, len(set(predicted)) == 1
    return (
        np.nan if constant else 0.0 if flat else pearsonr(truth, predicted).statistic,
        np.nan if constant else 0.0 if flat else spearmanr(truth, predicted).statistic,
        root_mean_squared_error(truth, predicted),
        np.nan if constant else explained_variance_score(truth, predicted),
    )


@given(SMALL, st.integers(0, 99), st.booleans())
@settings(deadline=None)
def test_each_column_agrees_with_scipy_and_sklearn(truth, seed, flat):
    rng = np.random.default_rng(seed)
    truth = truth.astype(float) / 3
    predicted = np.full_like(truth, 0.1) if flat else np.round(truth * rng.normal() + rng.normal(size=truth.shape), 1)
    found = np.array(agreement(truth, predicted))
    expected = np.array([reference(truth[:, j], predicted[:, j]) for j in range(truth.shape[1])]).T
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_array_equal(found, np.array(agreement(truth.T, predicted.T, axis=1)))


@given(SMALL, st.integers(0, 99))
@settings(deadline=None)
def test_a_weight_of_two_is_the_value_twice_and_none_is_without_it(truth, seed):
    rng = np.random.default_rng(seed)
    truth, weights = truth.astype(float), rng.integers(0, 3, len(truth))
    predicted = rng.integers(0, 4, truth.shape).astype(float)
    found = agreement(truth, predicted, weights=weights)
    repeated = agreement(np.repeat(truth, weights, axis=0), np.repeat(predicted, weights, axis=0))
    np.testing.assert_allclose(np.array(found), np.array(repeated), atol=1e-12)
    # The same weights, given for each entry.
    entries = np.repeat(weights[:, None], truth.shape[1], axis=1)
    np.testing.assert_array_equal(np.array(agreement(truth, predicted, weights=entries)), np.array(found))
    by_row = agreement(truth.T, predicted.T, axis=1, weights=entries.T)
    np.testing.assert_array_equal(np.array(by_row), np.array(found))


def test_weights_of_entries_leave_out_other_cells_for_each_gene():
    rng = np.random.default_rng(0)
    truth, predicted, kept = rng.normal(size=(30, 4)), rng.normal(size=(30, 4)), rng.random((30, 4)) < 0.5
    found = agreement(truth, predicted, weights=kept.astype(float))
    for j in range(4):
        expected = reference(truth[kept[:, j], j], predicted[kept[:, j], j])
        np.testing.assert_allclose([values[j] for values in found], expected)


def test_a_constant_truth_leaves_nothing_to_explain_but_can_be_missed():
    truth, predicted = np.full((5, 1), 0.1, dtype=np.float32), np.arange(5.0)[:, None]
    found = agreement(truth, predicted)
    assert np.isnan([found.pearson[0], found.spearman[0], found.explained_variance[0]]).all()
    assert found.rmse[0] == pytest.approx(np.sqrt(((predicted - np.float32(0.1)) ** 2).mean()))
    nothing = agreement(truth, predicted, weights=np.zeros(5))
    assert np.isnan(np.array(nothing)).all()
    assert np.isnan(np.array(agreement(np.zeros((0, 2)), np.zeros((0, 2))))).all()


def test_a_constant_shift_is_seen_by_rmse_alone():
    truth = np.random.default_rng(0).normal(size=(20, 3))
    found = agreement(truth, truth + 2)
    np.testing.assert_allclose(found.explained_variance, 1)
    np.testing.assert_allclose(found.rmse, 2)
    assert isinstance(found, Agreement)


@pytest.mark.parametrize(
    ("truth", "predicted", "options", "words"),
    [
        (np.zeros((3, 2)), np.zeros((2, 3)), {}, r"truth is \(3, 2\), the prediction \(2, 3\)"),
        (np.zeros(3), np.zeros(3), {}, "both must be"),
        (np.array([[np.nan], [1.0]]), np.zeros((2, 1)), {}, "the truth has 1 values that are missing or infinite"),
        (np.zeros((2, 1)), np.array([[np.inf], [1.0]]), {}, "the prediction has 1 values"),
        (np.zeros((2, 1)), np.zeros((2, 1)), {"weights": np.ones(3)}, r"weights are \(3,\)"),
        (np.zeros((2, 1)), np.zeros((2, 1)), {"weights": -np.ones(2)}, "0 or more"),
        (np.zeros((2, 1)), np.zeros((2, 1)), {"axis": 2}, "axis 2 is not possible"),
    ],
)
def test_bad_input_is_named(truth, predicted, options, words):
    with pytest.raises(DataError, match=words):
        agreement(truth, predicted, **options)
