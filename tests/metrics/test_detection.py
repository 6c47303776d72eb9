"""Detection scores against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from scssl.errors import DataError
from scssl.metrics.detection import detection


@given(seed=st.integers(0, 10_000), n=st.integers(2, 40), ties=st.booleans())
def test_as_scikit_learn_has_it(seed, n, ties):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 4)) < [0.5, 0.1, 0.9, 0.5]
    scores = rng.integers(0, 4, (n, 4)).astype(float) if ties else rng.normal(size=(n, 4))
    found = detection(truth, scores)
    for column in range(4):
        y, s = truth[:, column], scores[:, column]
        if y.all() or not y.any():
            assert np.isnan([found.auroc[column], found.average_precision[column]]).all()
            continue
        assert found.auroc[column] == pytest.approx(roc_auc_score(y, s))
        assert found.average_precision[column] == pytest.approx(average_precision_score(y, s))


def test_mistakes():
    with pytest.raises(DataError, match="both must be"):
        detection(np.ones((2, 2), bool), np.ones((2, 3)))
    with pytest.raises(DataError, match="1 values that are missing"):
        detection(np.ones((2, 1), bool), np.array([[1.0], [np.nan]]))
