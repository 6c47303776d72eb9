"""The four ways of masking: what is shown, hidden and asked for, against plain loops."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scssl.corpus.batch import CellBatch
from scssl.errors import SettingsError
from scssl.genes.programmes import Programmes
from scssl.pretext import Draw
from scssl.pretext.masking import Masker

N_GENES = 40


class Hidden(NamedTuple):
    hidden: torch.Tensor
    target: torch.Tensor


def programmes_of(members, regulators=None):
    members = np.asarray(members, dtype=bool)
    regulators = np.zeros_like(members) if regulators is None else np.asarray(regulators, dtype=bool)
    n = len(members)
    return Programmes(names=[f"p{i}" for i in range(n)], members=members, regulators=regulators, descriptions=[""] * n)


def cells(n, measured=None, first=0):
    import scipy.sparse as sp

    n_genes = N_GENES if measured is None else len(measured)
    return CellBatch.from_csr(
        sp.csr_matrix(np.ones((n, n_genes), dtype=np.int32)), measured=measured, cell=np.arange(first, first + n)
    )


def hide(masker, batch, epoch=0):
    return Hidden(*masker(batch, draw=Draw(0, epoch)).cells(batch))


def random_programmes(seed, n=30):
    return programmes_of(np.random.default_rng(seed).random((n, N_GENES)) < 0.12)


@given(
    members=hnp.arrays(bool, (6, 12), elements=st.booleans()),
    measured=hnp.arrays(bool, 12, elements=st.booleans()),
    rate=st.floats(0.01, 0.99),
    epoch=st.integers(0, 5),
)
def test_whole_programmes_are_hidden_until_the_rate_is_reached(members, measured, rate, epoch):
    covered = members.any(axis=0).mean()
    if rate > covered or not measured.any():
        return
    masker = Masker("programme", rate=rate, programmes=programmes_of(members))
    batch = cells(20, measured)
    hidden = hide(masker, batch, epoch).hidden.numpy()
    for row in hidden:
        inside = [p for p in members if p.any() and not (p & ~row).any()]
        # What is hidden is a union of whole programmes, ...
        np.testing.assert_array_equal(row, np.any(inside, axis=0) if inside else np.zeros(12, dtype=bool))
        share = (row & measured).sum() / measured.sum()
        largest = max(((p & measured).sum() / measured.sum() for p in members), default=0)
        reachable = (members.any(axis=0) & measured).sum() / measured.sum()
        # ... whose share of the measured genes is the rate but for one programme, or all there is.
        assert abs(share - rate) <= largest + 1e-6 or share == pytest.approx(reachable)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.6])
def test_the_real_share_hidden_is_the_one_asked_for(rate):
    """Error 9 of the public code: one mask for the whole batch, and a nominal rate that is not the real one."""
    hidden = hide(Masker("programme", rate=rate, programmes=random_programmes(1)), cells(4000)).hidden.float()
    assert hidden.mean().item() == pytest.approx(rate, abs=0.006)
    assert len(torch.unique(hidden, dim=0)) > 200


def test_programmes_shown_alone_really_mask():
    """Error 1 of the public code: programme to programme and programme to TF never masked anything."""
    rng = np.random.default_rng(0)
    programmes = programmes_of(rng.random((8, N_GENES)) < 0.2, rng.random((8, N_GENES)) < 0.05)
    for masking in ("programme_to_programme", "programme_to_tf"):
        hidden, target = hide(Masker(masking, rate=0.5, programmes=programmes), cells(300))
        assert hidden.float().mean() > 0.6
        assert target.any(dim=1).all()
        assert (target & hidden == target).all()
        assert target.float().mean() < 0.3


@given(members=hnp.arrays(bool, (5, 10)), measured=hnp.arrays(bool, 10), epoch=st.integers(0, 3))
def test_one_programme_is_shown_and_another_asked_for(members, measured, epoch):
    hidden, target = hide(
        Masker("programme_to_programme", rate=0.5, programmes=programmes_of(members)), cells(12, measured), epoch
    )
    for row, asked in zip(hidden.numpy(), target.numpy(), strict=True):
        if not asked.any():
            continue
        pairs = [
            (a, b)
            for i, a in enumerate(members)
            for j, b in enumerate(members)
            if i != j and np.array_equal(row, ~a) and np.array_equal(asked, b & ~a & measured)
        ]
        assert pairs
    possible = any(
        i != j and (a & measured).any() and (b & ~a & measured).any() and (b & ~a).any()
        for i, a in enumerate(members)
        for j, b in enumerate(members)
    )
    if not possible:
        assert not target.any()
        assert not hidden.any()


@given(members=hnp.arrays(bool, (5, 10)), regulators=hnp.arrays(bool, (5, 10)), measured=hnp.arrays(bool, 10))
def test_a_programmes_regulators_are_asked_for_and_never_shown(members, regulators, measured):
    if not regulators.any():
        return
    masker = Masker("programme_to_tf", rate=0.5, programmes=programmes_of(members, regulators))
    hidden, target = hide(masker, cells(12, measured))
    possible = [
        (~(m & ~r), r & measured)
        for m, r in zip(members, regulators, strict=True)
        if r.any() and (m & ~r & measured).any() and (r & measured).any()
    ]
    for row, asked in zip(hidden.numpy(), target.numpy(), strict=True):
        if possible:
            assert any(np.array_equal(row, h) and np.array_equal(asked, t) for h, t in possible)
        else:
            assert not row.any()
            assert not asked.any()


@pytest.mark.parametrize("masking", ["random", "programme", "programme_to_programme", "programme_to_tf"])
def test_masks_belong_to_cells_and_epochs(masking):
    rng = np.random.default_rng(3)
    programmes = programmes_of(rng.random((20, N_GENES)) < 0.15, rng.random((20, N_GENES)) < 0.1)
    masker = Masker(masking, rate=0.3, programmes=programmes)
    together = hide(masker, cells(50)).hidden
    assert torch.equal(hide(masker, cells(20, first=30)).hidden, together[30:])
    assert not torch.equal(hide(masker, cells(50), epoch=1).hidden, together)
    # Every programme gets its turn.
    if masking != "random":
        many = torch.unique(torch.cat([hide(masker, cells(50), epoch=e).hidden for e in range(10)]), dim=0)
        assert len(many) >= 19


def test_groups_share_a_mask():
    programmes = random_programmes(2)
    for masking in ("random", "programme", "programme_to_programme"):
        hidden = hide(Masker(masking, rate=0.3, programmes=programmes, group_size=4), cells(10)).hidden
        for start in (0, 4, 8):
            assert (hidden[start : start + 4] == hidden[start]).all()
        assert not torch.equal(hidden[0], hidden[4])
        assert hidden.shape == (10, N_GENES)


def test_what_cannot_be_masked():
    few = programmes_of(np.eye(10, N_GENES, dtype=bool))
    with pytest.raises(SettingsError, match=r"task.rate is 0.5.*cover only 25%.*at most 0.25"):
        Masker("programme", rate=0.5, programmes=few)
    Masker("programme", rate=0.25, programmes=few)
    with pytest.raises(SettingsError, match=r"needs gene programmes.*modules:50"):
        Masker("programme", rate=0.5)
    with pytest.raises(SettingsError, match="transcription factors"):
        Masker("programme_to_tf", rate=0.5, programmes=few)
    with pytest.raises(SettingsError, match="at least 2"):
        Masker("programme_to_programme", rate=0.5, programmes=programmes_of(np.ones((1, N_GENES))))
