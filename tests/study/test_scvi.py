"""scVI and scANVI as baselines: with scvi-tools where it is installed, else with a stand-in that is as strict."""

from __future__ import annotations

import logging
import random
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import scssl
from scssl.study.baselines import Fit, get_baseline
from scssl.study.baselines.scvi import EPOCHS, STEPS, n_epochs
from scssl.study.target import read_target


@pytest.fixture(scope="module")
def target(tiny_corpus, two_studies):
    return read_target(two_studies[1], tiny_corpus, labels="cell_type", donor="donor")


def fit_of(target, *, every=1, seed=0):
    test = np.flatnonzero(target.donors < 2)
    unlabelled = np.flatnonzero(target.donors >= 2)
    return Fit(target=target, train=unlabelled[::every], unlabelled=unlabelled, test=test, seed=seed, device="cpu")


class StandIn:
    """A model of scvi-tools whose latent space is that of a PCA, and which asks of its cells what the real one does."""

    log: list[str] = []

    def __init__(self, adata):
        assert adata.uns["labels_key"] in adata.obs
        self.adata = adata
        self.labels = sorted(set(adata.obs[adata.uns["labels_key"]]))

    @classmethod
    def setup_anndata(cls, adata, *, batch_key, labels_key):
        assert batch_key in adata.obs
        adata.uns["labels_key"] = labels_key

    @classmethod
    def prepare_query_anndata(cls, adata, model):
        assert list(adata.var_names) == list(model.adata.var_names)

    @classmethod
    def load_query_data(cls, adata, model):
        key = model.adata.uns["labels_key"]
        if key not in adata.obs:
            message = f"{key} not found in adata.obs."
            raise KeyError(message)
        adata.uns["labels_key"] = key
        new = cls(adata)
        new.labels, new.reference = model.labels, getattr(model, "reference", model.adata)
        return new

    @classmethod
    def from_scvi_model(cls, model, *, unlabeled_category, labels_key):
        assert set(model.adata.obs[labels_key]) - {unlabeled_category}
        return cls(model.adata)

    def train(self, *, max_epochs, batch_size, accelerator, enable_progress_bar, logger, plan_kwargs=None):
        assert (accelerator, enable_progress_bar, logger) == ("cpu", False, False)
        logging.getLogger("scvi").info("Training for %d epochs.", max_epochs)
        self.log.append(f"{max_epochs}{' adapted' if plan_kwargs == {'weight_decay': 0.0} else ''}")
        np.random.standard_normal(max_epochs)  # noqa: NPY002
        torch.rand(1)

    def get_latent_representation(self):
        return np.log1p(self.adata.X.toarray())

    def predict(self):
        return np.array([next(name for name in self.labels if name != "(unknown)")] * self.adata.n_obs)


class Settings:
    @property
    def seed(self):
        return None

    @seed.setter
    def seed(self, value):
        random.seed(value)
        np.random.seed(value)  # noqa: NPY002
        torch.manual_seed(value)


@pytest.fixture
def stand_in(monkeypatch):
    StandIn.log.clear()
    package = SimpleNamespace(settings=Settings(), model=SimpleNamespace(SCVI=StandIn, SCANVI=StandIn))
    monkeypatch.setitem(sys.modules, "scvi", package)
    return package


@pytest.mark.parametrize("name", ["scvi", "scanvi"])
def test_test_donors_are_adapted_to_and_nothing_else_changes(target, stand_in, name, caplog):
    caplog.set_level(logging.INFO)
    fit = fit_of(target, every=3)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    found = get_baseline(name).predict(fit)
    assert found.shape == fit.test.shape
    assert set(found.tolist()) <= set(fit.codes.tolist())
    n = n_epochs(len(fit.unlabelled), epochs=EPOCHS, steps=STEPS)
    assert StandIn.log == [str(n), "100 adapted"] if name == "scvi" else [str(n), "100", "100 adapted"]
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert "Training for" not in caplog.text


def test_one_label_needs_no_network(target, stand_in):
    fit = fit_of(target)
    one = fit.train[fit.codes == fit.codes[0]]
    found = get_baseline("scanvi").predict(
        Fit(target=target, train=one, unlabelled=fit.unlabelled, test=fit.test, seed=0)
    )
    assert set(found.tolist()) == {int(target.codes[one[0]])}
    assert StandIn.log == []


def test_few_cells_get_more_passes():
    assert [n_epochs(n, epochs=(100, 400), steps=8000) for n in (1, 128, 129, 5_120, 10_240, 10**6)] == [
        400, 400, 400, 200, 100, 100,
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(find_spec("scvi") is None, reason="scvi-tools is not installed")
@pytest.mark.parametrize("name", ["scvi", "scanvi"])
def test_the_real_ones_name_cells_and_repeat_themselves(target, name):
    fit = fit_of(target)
    first, second = (get_baseline(name).predict(fit) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    scores = scssl.metrics.classification_scores(target.codes[fit.test].astype(str), first.astype(str))
    assert scores.macro_f1 > 0.6
