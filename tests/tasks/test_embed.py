import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scssl
from scssl.errors import DataError, SettingsError
from scssl.tasks.embed import beside, embed
from scssl.tasks.pca import PCAEncoder


@pytest.fixture(scope="module")
def atlas():
    return scssl.datasets.simulate_atlas(300, 200, seed=3)


@pytest.fixture(scope="module")
def model(atlas):
    return scssl.pretrain(atlas, preset="small", genes="union", max_epochs=1, split_by="cell", device="cpu")


@given(widths=st.lists(st.integers(1, 4), min_size=1, max_size=3), n_cells=st.integers(2, 9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_every_part_weighs_the_same(widths, n_cells, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(5, 10.0**k, size=(n_cells, w)) for k, w in enumerate(widths)]
    out = beside(*parts)
    start = 0
    for part, width in zip(parts, widths, strict=True):
        mine = out[:, start : start + width].astype(float)
        start += width
        distances = [((mine[a] - mine[b]) ** 2).sum() for a in range(n_cells) for b in range(n_cells)]
        # The mean squared distance of two cells drawn with replacement is twice the total variance.
        assert np.mean(distances) == pytest.approx(2, rel=1e-4)
        own = [((part[a] - part[b]) ** 2).sum() for a in range(n_cells) for b in range(n_cells)]
        np.testing.assert_allclose(np.array(distances) / np.mean(distances), np.array(own) / np.mean(own), atol=1e-3)


def test_a_part_that_tells_nothing_is_zeros():
    out = beside(np.ones((3, 2)), np.arange(3.0)[:, None])
    assert (out[:, :2] == 0).all()
    assert np.isfinite(out).all()


def test_parts_of_different_cells_are_refused():
    with pytest.raises(SettingsError, match="2 and 3 cells"):
        beside(np.ones((3, 2)), np.ones((2, 2)))


def test_without_additions_it_is_the_code(model, atlas):
    np.testing.assert_array_equal(embed(model, atlas), model.embed(atlas))


def test_the_parts_are_code_adapted_code_and_components(model, atlas, monkeypatch):
    monkeypatch.setattr("scssl.model.init.STEPS", 5)
    found = embed(model, atlas, adapt=True, pca=6, seed=2)
    adapted = scssl.pretrain(atlas, init=model, split_by="cell", seed=2)
    own = PCAEncoder("human", n_components=6, n_top_genes=3000, seed=2).fit(atlas)
    expected = beside(model.embed(atlas), adapted.embed(atlas), own.embed(atlas))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.shape == (300, 32 + 32 + 6)


def test_a_negative_number_of_components_is_refused(model, atlas):
    with pytest.raises(SettingsError, match="pca is -1"):
        embed(model, atlas, pca=-1)


def test_a_handful_of_cells_adapts_no_model(model, atlas):
    with pytest.raises(DataError, match="19 cells are too few to adapt a model to"):
        embed(model, atlas[:19].copy(), adapt=True)
