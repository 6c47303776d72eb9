"""Training on labels: the loss, cells seen through fewer genes, balanced weights, the best epoch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import scssl
from scssl.corpus.batch import CellBatch
from scssl.errors import SettingsError
from scssl.nn import Architecture, Encoder
from scssl.pretext import Draw
from scssl.training.finetuning import FineTuning
from scssl.training.supervised import LABEL, LabelTask, balanced_weights, fit_labels, narrowed

N_GENES, N_CLASSES = 40, 3


def make_batch(n_cells=12, seed=0):
    import scipy.sparse as sp

    rng = np.random.default_rng(seed)
    counts = sp.csr_matrix(rng.poisson(0.7, (n_cells, N_GENES)).astype(np.int32))
    batch = CellBatch.from_csr(counts, measured=np.arange(N_GENES) < 35 if seed else None)
    return replace(batch, labels={LABEL: torch.from_numpy(rng.integers(0, N_CLASSES, n_cells))}), counts.toarray()


def make_task(**settings):
    torch.manual_seed(0)
    encoder = Encoder(N_GENES, Architecture(hidden=(8,), n_latent=4, dropout=0.0))
    weights = torch.tensor([1.0, 2.0, 0.5])
    task = LabelTask(encoder, n_classes=N_CLASSES, settings=FineTuning(**settings), class_weight=weights)
    torch.nn.init.normal_(task.head.weight)
    return task


def test_the_loss_is_the_weighted_cross_entropy():
    batch, _ = make_batch()
    task = make_task().eval()
    with torch.no_grad():
        losses, found = task.judge(batch, draw=Draw(0, 0))
        scores = task.head(task.encoder.embed(batch)).double().numpy()
    codes = batch.labels[LABEL].numpy()
    total = 0.0
    for row, code in zip(scores, codes, strict=True):
        total += [1.0, 2.0, 0.5][code] * (np.log(np.exp(row).sum()) - row[code])
    assert float(losses["loss"]) == pytest.approx(total / len(codes), rel=1e-4)
    assert found.tolist() == scores.argmax(1).tolist()
    assert float(losses["accuracy"]) == pytest.approx((scores.argmax(1) == codes).mean())


def test_narrowed_cells_are_those_of_a_query_that_measured_fewer_genes():
    batch, counts = make_batch()
    genes = np.random.default_rng(3).random(N_GENES) < 0.4
    share = np.random.default_rng(4).dirichlet(np.ones(N_GENES)).astype(np.float32)
    found = narrowed(batch, genes=torch.from_numpy(genes), gene_share=torch.from_numpy(share))
    import scipy.sparse as sp

    wanted = CellBatch.from_csr(
        sp.csr_matrix(np.where(genes, counts, 0)), measured=genes, measured_share=float(share[genes].sum())
    )
    for name in ("values", "indices", "indptr", "size_factor", "measured", "measured_row"):
        assert getattr(found, name).tolist() == getattr(wanted, name).tolist(), name
    torch.testing.assert_close(found.measured_share, wanted.measured_share)
    assert found.labels[LABEL] is batch.labels[LABEL]


def test_nothing_measured_is_nothing_seen():
    batch, _ = make_batch(seed=1)
    found = narrowed(
        batch, genes=torch.zeros(N_GENES, dtype=torch.bool), gene_share=torch.full((N_GENES,), 1 / N_GENES)
    )
    assert found.values.numel() == 0
    assert found.measured_share.tolist() == [1.0]
    assert torch.isfinite(make_task().encoder.embed(found)).all()


def test_genes_are_left_out_in_training_only_and_by_the_key():
    batch, _ = make_batch()
    task = make_task(gene_dropout=1.0, dropout=0.0)
    losses = [float(task.train().losses(batch, draw=Draw(0, epoch))["loss"].detach()) for epoch in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    always = make_task(gene_dropout=0.0, dropout=0.0)
    with torch.no_grad():
        losses = [float(task.losses(batch, draw=Draw(0, 1))["loss"]) for task in (always.train(), always.eval())]
    assert losses[0] == losses[1]


def test_balanced_weights():
    counts = torch.tensor([900, 90, 10])
    weights = balanced_weights(counts, max_weight=100.0)
    assert (weights * counts).tolist() == pytest.approx([1000 / 3] * 3)
    capped = balanced_weights(torch.tensor([900, 90, 10, 0]), max_weight=5.0)
    assert float((capped[:3] * counts).sum()) == pytest.approx(1000)
    # 0.37 against 5.
    assert float(capped[2] / capped[0]) == pytest.approx(5 / (1000 / 3 / 900))


@pytest.mark.parametrize("name", ["epochs", "learning_rate", "gene_dropout", "val", "max_weight", "label_smoothing"])
def test_settings_are_checked(name):
    with pytest.raises(SettingsError, match=f"finetuning.{name}"):
        FineTuning(**{name: -1})


@pytest.fixture(scope="module")
def corpus():
    cells = scssl.datasets.simulate_atlas(300, 120, n_types=3, type_effect=3.0)
    cells.obs[LABEL] = cells.obs["cell_type"].astype(str)
    return scssl.Corpus.from_anndata(cells, genes="union", obs=[LABEL], val=0.3, test=0.0)


def train(corpus, **settings):
    torch.manual_seed(0)
    encoder = Encoder(len(corpus.panel), Architecture(hidden=(16,), n_latent=8))
    chosen = FineTuning(**{"epochs": 6, "min_steps": 200, "learning_rate": 5e-3, "precision": "fp32", **settings})
    task = LabelTask(encoder, n_classes=3, settings=chosen, class_weight=torch.ones(3))
    state = torch.random.get_rng_state()
    result = fit_labels(task, corpus, chosen, encoder_rate=0.5, seed=0, device="cpu")
    assert torch.equal(state, torch.random.get_rng_state())
    return task, result


def test_labels_are_learned_and_with_patience_the_best_epoch_is_kept(corpus):
    task, result = train(corpus, patience=6)
    losses = [row["val_loss"] for row in result.history]
    assert result.best_epoch == int(np.argmin(losses)) + 1
    assert result.history[result.best_epoch - 1]["val_macro_f1"] > 0.6
    again, _ = train(corpus, patience=6)
    for one, other in zip(task.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    batches = list(corpus.loader(split="val", batch_size=1000, shuffle=False, labels=[LABEL]))
    with torch.no_grad():
        loss = float(task.losses(batches[0], draw=Draw(0, 0))["loss"])
    assert loss == pytest.approx(min(losses), rel=1e-4)


def test_a_signal_ends_it_in_good_order(corpus, monkeypatch):
    import os
    import signal

    from scssl.interruption import Interrupted
    from scssl.training.supervised import SupervisedModule

    original, seen = SupervisedModule.training_step, []

    def signalled(self, batch, batch_idx):
        seen.append(batch_idx)
        if len(seen) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(SupervisedModule, "training_step", signalled)
    with pytest.raises(Interrupted, match="SIGTERM"):
        train(corpus)
    assert len(seen) == 2
    assert signal.getsignal(signal.SIGTERM) == handler


def test_it_stops_when_validation_gets_no_better(corpus):
    _, result = train(corpus, epochs=60, patience=2, learning_rate=0.05)
    assert len(result.history) < 60
    assert len(result.history) - result.best_epoch == 2


def test_without_validation_or_patience_the_last_epoch_is_kept(corpus):
    shards = [shard for shard in corpus.shards if shard.split == "train"]
    _, result = train(replace(corpus, shards=shards), patience=3)
    assert result.best_epoch == len(result.history) >= 6
    task, result = train(corpus, patience=0)
    assert result.best_epoch == len(result.history) >= 6
    # Cells held out are not even looked at.
    assert "val_loss" not in result.history[0]
    again, _ = train(replace(corpus, shards=shards), patience=0)
    for one, other in zip(task.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_head_that_is_known_is_where_training_starts():
    batch, _ = make_batch()
    task = make_task().eval()
    weight, bias = torch.randn(N_CLASSES, 4), torch.randn(N_CLASSES)
    task.start_from(weight=weight, bias=bias)
    with torch.no_grad():
        found = task.judge(batch, draw=Draw(0, 0))[1]
        scores = task.encoder.embed(batch) @ weight.T + bias
    assert found.tolist() == scores.argmax(1).tolist()
    assert task.head.weight.requires_grad
    assert task.head.weight is not weight
