"""CellTypist as a baseline, by a stand-in that speaks as loudly: it is not heard, and nobody else is by its doing."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from scssl.study.baselines import Fit, get_baseline
from scssl.study.target import read_target

PACKAGE = """
import logging
from types import SimpleNamespace

import pandas as pd

logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
said = logging.getLogger("celltypist.logger")


def train(adata, *, labels, n_jobs, check_expression):
    said.info("Training")
    return adata.obs[labels].iloc[0]


def annotate(adata, *, model, majority_voting):
    said.info("Predicting")
    return SimpleNamespace(predicted_labels=pd.DataFrame({"predicted_labels": [model] * adata.n_obs}))
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """The package, and the root logger as it was afterwards."""
    (tmp_path / "celltypist.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "celltypist", raising=False)
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    sys.modules.pop("celltypist", None)


def test_it_is_not_heard(stand_in, two_studies, tiny_corpus, capsys):
    target = read_target(two_studies[1], tiny_corpus, labels="cell_type", donor="donor")
    test, train = np.flatnonzero(target.donors < 2), np.flatnonzero(target.donors >= 2)
    fit = Fit(target=target, train=train, unlabelled=train, test=test, seed=0, device="cpu")
    root = logging.getLogger()
    before = root.handlers[:], root.level
    for _ in range(2):
        named = get_baseline("celltypist").predict(fit)
        assert (named == fit.codes[0]).all()
        assert len(named) == len(test)
    assert (root.handlers, root.level) == before
    logging.getLogger("somebody.else").info("a detail")
    said = capsys.readouterr()
    assert said.out + said.err == ""
