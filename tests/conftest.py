"""Small data that many tests share. Treat what a fixture returns as read-only; copy it to change it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Workers of a parallel run that each use all cores only wait for each other. Set before torch is loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from scssl.log import logger

# How long an example takes says more about the machine than about the code.
settings.register_profile("scssl", deadline=None)
settings.load_profile("scssl")


@pytest.fixture(scope="session", autouse=True)
def _heard():
    """Ctrl-C is heard: a shell starts what runs in its background deaf to it, and so would our commands be."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


UNTOUCHED = (logger.handlers[:], logger.level, logger.propagate)


@pytest.fixture(autouse=True)
def _own_logging():
    """Let every test begin without the logging that commands set up, be it in a test before or in a shared fixture."""
    _reset_logging()
    yield
    _reset_logging()


def _reset_logging():
    handlers, level, logger.propagate = UNTOUCHED
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture(scope="session")
def atlas():
    """600 simulated cells, 300 human genes (Ensembl IDs), 12 donors in 3 studies; obs: cell_type, donor, study, ..."""
    from scssl.datasets import simulate_atlas

    return simulate_atlas(n_cells=600, n_genes=300, seed=1)


@pytest.fixture(scope="session")
def atlas_file(atlas, tmp_path_factory):
    """The atlas as an h5ad file."""
    path = tmp_path_factory.mktemp("atlas") / "atlas.h5ad"
    atlas.write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def corpus_dir(atlas_file, tmp_path_factory):
    """A corpus built from the atlas, its genes as the panel, its studies as sources."""
    from scssl.corpus import Corpus

    out = tmp_path_factory.mktemp("corpus") / "corpus"
    Corpus.build(atlas_file, out, genes="union", obs=["cell_type"], source="study")
    return out


@pytest.fixture(scope="session")
def real_data():
    """Folder with real data sets; the test is skipped where it is absent."""
    root = Path(__file__).parent.parent
    path = Path(os.environ.get("SCSSL_DATA", root / ".." / "shared" / "data")).resolve()
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set SCSSL_DATA")
    return path


@pytest.fixture(scope="module")
def brief_finetuning():
    """Let fine-tuning take a few steps where a test does not say how many: how well labels are learned is not asked.

    Gives the defaults of users, for tests of other processes, which know nothing of this.
    """
    from scssl.training.finetuning import FineTuning

    brief = {"epochs": 1, "min_steps": 10, "precision": "fp32"}
    defaults = FineTuning.__init__.__kwdefaults__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuning.__init__, "__kwdefaults__", {**defaults, **brief})
        yield defaults


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub, and a cache of its own; huggingface_hub must not speak to any other."""
    from huggingface_hub import constants

    from tests.hub_server import serving

    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server
