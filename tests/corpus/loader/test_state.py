"""Going on in the middle of an epoch: the very batches that were still to come."""

from __future__ import annotations

import json
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus import CorpusLoader
from scssl.corpus.loader.pool import PoolReader
from scssl.errors import SettingsError


def cells(batches):
    return [batch.cell.tolist() for batch in batches]


@settings(max_examples=80, deadline=None)
@given(
    shuffle=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "batch_size": st.integers(1, 30),
            "block_size": st.integers(1, 30),
            "pool_blocks": st.integers(1, 4),
            "seed": st.integers(0, 2),
            "where": st.sampled_from([None, 'donor != "p"']),
            "world_size": st.integers(1, 3),
        }
    ),
    balance=st.sampled_from([None, "cell_type"]),
    epochs=st.integers(0, 2),
    share=st.floats(0, 1),
    workers=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_stop_anywhere_and_go_on(small_corpus, shuffle, options, balance, epochs, share, workers):
    options = {**options, "shuffle": shuffle, "balance": balance if shuffle else None}
    loader = CorpusLoader(small_corpus, **options, workers=workers[0])
    for _ in range(epochs):
        list(loader)
    stop = int(share * len(loader))
    iterator = iter(loader)
    before = cells(islice(iterator, stop))
    state = json.loads(json.dumps(loader.state_dict()))  # plain values
    rest, following = cells(iterator), cells(loader)
    assert len(before + rest) == len(loader)

    other = CorpusLoader(small_corpus, **options, workers=workers[1])
    other.load_state_dict(state)
    assert other.state_dict() == state
    if stop == len(loader):  # the epoch is over: the next one comes
        assert state["epoch"] == epochs + 1
        assert state["batch"] == 0
        assert cells(other) == following
    else:
        assert (state["epoch"], state["batch"]) == (epochs, stop)
        assert cells(other) == rest
        assert cells(other) == following


def test_batches_prepared_ahead_do_not_count(small_corpus):
    loader = small_corpus.loader(batch_size=5)
    assert loader.state_dict()["batch"] == 0
    iterator = iter(loader)
    assert loader.state_dict()["batch"] == 0
    for expected in (1, 2, 3):
        next(iterator)
        assert loader.state_dict()["batch"] == expected
    iterator.close()
    assert loader.state_dict()["batch"] == 3  # where it was left


def test_a_new_iteration_and_another_epoch_start_anew(small_corpus):
    loader = small_corpus.loader(batch_size=5)
    next(iter(loader))
    state = loader.state_dict()
    loader.set_epoch(4)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (4, 0)
    loader.load_state_dict(state)
    loader.set_epoch(0)  # the epoch of the state: it goes on
    assert loader.state_dict() == state
    assert len(list(loader)) == len(loader) - 1
    loader.load_state_dict(state)
    loader.set_epoch(1)
    assert len(list(loader)) == len(loader)
    loader.set_epoch(0)  # the state was used up, or given up
    assert len(list(loader)) == len(loader)


def test_setting_the_epoch_while_iterating_does_not_lose_the_place(small_corpus):
    loader = small_corpus.loader(batch_size=5)
    iterator = iter(loader)
    next(iterator)
    loader.set_epoch(0)
    next(iterator)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (0, 2)


def test_only_what_is_needed_is_read(small_corpus, monkeypatch):
    read, reads = PoolReader.read, []

    def noted(self, batches, **options):
        reads.append([len(batch) for batch in batches])
        return read(self, batches, **options)

    monkeypatch.setattr(PoolReader, "read", noted)
    loader = CorpusLoader(small_corpus, batch_size=5, block_size=5, pool_blocks=2)
    state = {**loader.state_dict(), "batch": 13}
    loader.load_state_dict(state)
    assert len(list(loader)) == len(loader) - 13 == 4
    # Threads may take turns.
    assert sorted(reads) == [[3], [5], [5, 5]]


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("batch_size was 8 and is 9", {"batch_size": 9}),
        ("split was 'train' and is 'val'", {"split": "val"}),
        ("seed was 0 and is 1", {"seed": 1}),
        ("where was None and is", {"where": 'donor == "p"'}),
        ("balance was None and is 'donor'", {"balance": "donor"}),
        ("world_size was 1 and is 2", {"world_size": 2}),
        ("shuffle was True and is False", {"shuffle": False}),
        ("drop_last was False and is True", {"drop_last": True}),
    ],
)
def test_other_settings(small_corpus, key, options):
    state = small_corpus.loader(batch_size=8).state_dict()
    with pytest.raises(SettingsError, match=f"cannot go on in the middle of an epoch.*{key}"):
        small_corpus.loader(**{"batch_size": 8, **options}).load_state_dict(state)


def test_another_corpus(small_corpus, many_shards):
    state = small_corpus.loader(batch_size=8).state_dict()
    with pytest.raises(SettingsError, match="corpus was"):
        many_shards([80, 3]).loader(batch_size=8).load_state_dict(state)


def test_what_does_not_change_the_order_may_change(small_corpus):
    state = small_corpus.loader(batch_size=8, workers=1).state_dict()
    small_corpus.loader(batch_size=8, workers=3, pin_memory=True, labels=["donor"]).load_state_dict(state)
    first = small_corpus.loader(batch_size=8, rank=0, world_size=2)
    small_corpus.loader(batch_size=8, rank=1, world_size=2).load_state_dict(first.state_dict())


@pytest.mark.parametrize(
    "state", [{}, {"epoch": 0, "batch": 0, "settings": {}}, {"epoch": 0, "batch": 0, "settings": None}]
)
def test_states_that_are_none(small_corpus, state):
    with pytest.raises(SettingsError, match="cannot be understood"):
        small_corpus.loader().load_state_dict(state)


@pytest.mark.filterwarnings("ignore")
def test_lightning_saves_and_restores_it(small_corpus, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")

    class Recorder(lightning.LightningModule):
        def __init__(self, *, stop_at=None):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.seen, self.stop_at = [], stop_at

        def training_step(self, batch, _):
            self.seen.append(batch.cell.tolist())
            return self.weight * batch.values.sum()

        def on_train_batch_end(self, *_):
            if len(self.seen) == self.stop_at:
                self.trainer.save_checkpoint(tmp_path / "now.ckpt")
                self.trainer.should_stop = True

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    def run(module, checkpoint=None):
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=3,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, small_corpus.loader(batch_size=20), ckpt_path=checkpoint)
        return module.seen

    whole = run(Recorder())
    assert len(whole) == 15
    for stop_at in (3, 5, 8):
        assert run(Recorder(stop_at=stop_at))[:stop_at] == whole[:stop_at]
        assert run(Recorder(), tmp_path / "now.ckpt") == whole[stop_at:]


@pytest.mark.parametrize("change", [{"batch": 10**9}, {"batch": -3}, {"epoch": -1}])
def test_impossible_places_are_refused(small_corpus, change):
    loader = small_corpus.loader(batch_size=50)
    with pytest.raises(SettingsError, match="is not possible"):
        loader.load_state_dict({**loader.state_dict(), **change})


def test_arguments_of_other_types(small_corpus):
    with pytest.raises(SettingsError, match=r"batch_size=2\.5 is not possible"):
        small_corpus.loader(batch_size=2.5)
    assert small_corpus.loader(labels="cell_type").labels == ("cell_type",)
