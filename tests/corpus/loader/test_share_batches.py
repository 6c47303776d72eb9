"""Ranks that share batches get, together, the batches of a single process."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus import Corpus
from scssl.corpus.loader.loader import CorpusLoader
from scssl.errors import SettingsError


@pytest.fixture(scope="module")
def corpus(corpus_dir):
    return Corpus.open(corpus_dir)


def dense(batch):
    out = np.zeros((batch.n_cells, batch.n_genes))
    out[batch.rows().numpy(), batch.indices.numpy()] = batch.values.numpy()
    return out


@settings(max_examples=40)
@given(
    n_ranks=st.integers(1, 5),
    batch_size=st.integers(5, 90),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    balanced=st.booleans(),
)
def test_the_parts_joined_are_the_batches_of_one_process(
    corpus, n_ranks, batch_size, epoch, shuffle, drop_last, balanced
):
    options = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last, "block_size": 32, "seed": 3}
    options |= {"pool_blocks": 3, "labels": ["cell_type"], "balance": "cell_type" if balanced and shuffle else None}
    single = CorpusLoader(corpus, **options)
    ranks = [CorpusLoader(corpus, rank=r, world_size=n_ranks, share_batches=True, **options) for r in range(n_ranks)]
    for loader in (single, *ranks):
        loader.set_epoch(epoch)
        assert len(loader) == len(single)
    for whole, *parts in zip(single, *ranks, strict=True):
        assert max(part.n_cells for part in parts) - min(part.n_cells for part in parts) <= 1
        assert np.concatenate([part.cell for part in parts]).tolist() == whole.cell.tolist()
        assert torch.equal(torch.cat([part.labels["cell_type"] for part in parts]), whole.labels["cell_type"])
        assert torch.equal(torch.cat([part.size_factor for part in parts]), whole.size_factor)
        assert np.array_equal(np.concatenate([dense(part) for part in parts]), dense(whole))


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
def test_an_epoch_goes_on_with_any_number_of_ranks(corpus, before, after):
    def ranks(n):
        return [corpus.loader(batch_size=50, rank=r, world_size=n, share_batches=n > 1) for r in range(n)]

    first = ranks(before)[0]
    iterator = iter(first)
    for _ in range(3):
        next(iterator)
    state = first.state_dict()
    expected = [batch.cell.tolist() for batch in ranks(1)[0]][3:]
    later = ranks(after)
    for loader in later:
        loader.load_state_dict(state)
    found = [np.concatenate([part.cell for part in parts]).tolist() for parts in zip(*later, strict=True)]
    assert found == expected


def test_ranks_with_batches_of_their_own_are_another_order(corpus):
    state = corpus.loader(batch_size=50, world_size=2).state_dict()
    with pytest.raises(SettingsError, match="world_size was 2 and is 1"):
        corpus.loader(batch_size=50, world_size=2, share_batches=True).load_state_dict(state)
