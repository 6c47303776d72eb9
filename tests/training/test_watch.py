"""What is logged of the embedding while training, and the alarm when it collapses."""

import numpy as np
import pandas as pd
import pytest
import torch

from scssl.corpus import Corpus
from scssl.errors import SettingsError
from scssl.pretraining import pretrain
from scssl.training.watch import label_column

SHORT = ["training.batch_size=64", "training.min_steps=1", "architecture.hidden=[16]", "architecture.n_latent=8"]


@pytest.fixture(scope="module")
def corpus(atlas):
    return Corpus.from_anndata(atlas, genes="union", obs=["cell_type", "batch"])


def test_spread_rank_and_neighbours_are_logged(corpus, tmp_path):
    overrides = [*SHORT, "training.probe_every=2"]
    pretrain(corpus, max_epochs=5, overrides=overrides, out=tmp_path / "m")
    history = pd.read_csv(tmp_path / "m" / "history.csv")
    assert (history["code_std"] > 0).all()
    assert history["code_rank"].between(1, 8).all()
    assert history["probe_macro_f1"].notna().tolist() == [False, True, False, True, True]
    assert history["probe_macro_f1"].max() > 0.2


def test_cells_of_one_type_are_not_scored(atlas, tmp_path):
    adata = atlas.copy()
    adata.obs["kind"] = np.where(adata.obs_names == adata.obs_names[0], "rare", "all others")
    corpus = Corpus.from_anndata(adata, genes="union", obs=["kind"])
    overrides = [*SHORT, "training.probe_every=1", "training.probe=kind"]
    pretrain(corpus, max_epochs=2, overrides=overrides, out=tmp_path / "m")
    history = pd.read_csv(tmp_path / "m" / "history.csv")
    assert history["probe_macro_f1"].isna().all()


def test_the_labels_guide_nothing(corpus):
    models = [
        pretrain(corpus, max_epochs=2, overrides=[*SHORT, "training.precision=fp32", f"training.probe={probe}"])
        for probe in ("cell_type", "batch")
    ]
    for a, b in zip(*(model.task.state_dict().values() for model in models), strict=True):
        assert torch.equal(a, b)


def test_which_column(corpus):
    assert label_column(corpus, "") == "cell_type"
    assert label_column(corpus, "batch") == "batch"
    with pytest.raises(SettingsError, match=r"training.probe is 'tissue'.*it keeps: cell_type, batch"):
        pretrain(corpus, max_epochs=1, overrides=[*SHORT, "training.probe=tissue"])


def test_a_collapse_is_told_once(corpus, caplog, monkeypatch):
    from scssl.nn import Encoder

    embed = Encoder.embed
    monkeypatch.setattr(Encoder, "embed", lambda self, batch: embed(self, batch)[:, :1].expand(-1, 8))
    pretrain(corpus, max_epochs=3, overrides=SHORT)
    assert caplog.text.count("it is collapsing") == 1


@pytest.mark.parametrize("n_cells", [2, 6, 30])
def test_few_validation_cells_are_no_collapse(corpus, caplog, monkeypatch, n_cells):
    """A few cells span few dimensions, however good the embedding: with a code of 256, less than a twentieth of it."""
    from scssl.training.watch import Watch

    codes = np.random.default_rng(0).normal(size=(n_cells, 256))
    monkeypatch.setattr(Watch, "_embed", lambda *_: (codes, np.zeros(n_cells, dtype=int)))
    pretrain(corpus, max_epochs=1, overrides=SHORT)
    assert "collapsing" not in caplog.text


def test_nothing_is_trained_by_none(corpus, tmp_path):
    model = pretrain(corpus, pretext="none", overrides=SHORT, out=tmp_path / "m")
    from scssl.model.cell_model import load
    from scssl.training import build_task

    fresh = build_task(model.config, n_genes=len(model.panel), n_sources=len(model.sources))
    for name, value in fresh.encoder.layers.state_dict().items():
        assert torch.equal(value, model.task.encoder.layers.state_dict()[name])
    assert model.task.encoder.states.mean.abs().sum() > 0
    again = load(tmp_path / "m")
    assert again.card["training"]["epochs"] == 0
    assert np.isfinite(again.embed(three_cells(corpus))).all()


def three_cells(corpus):
    from anndata import AnnData

    return AnnData(np.ones((3, len(corpus.panel)), dtype=np.float32), var=pd.DataFrame(index=corpus.panel.ids))
