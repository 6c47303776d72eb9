"""What one run of the comparison of pretext tasks leaves behind."""

from pathlib import Path

import pytest

import scssl
from benchmarks import pretexts


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A run of a tiny simulated corpus."""
    monkeypatch.setitem(pretexts.ARMS, "tiny", ("", []))
    monkeypatch.setattr("scssl.study.PCAEncoder", _Untrained)
    monkeypatch.setattr(pretexts, "few_labels", lambda *_: {"knn": 0.5})
    monkeypatch.setattr(pretexts, "scores", lambda *_: {"knn": 0.5})
    cells = scssl.datasets.simulate_atlas(300, 100, n_types=3, seed=3)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    scssl.Corpus.build(tmp_path / "cells.h5ad", tmp_path / "atlas", genes="union", obs=["cell_type"], test=0.5)
    (tmp_path / "kept").mkdir()
    return "atlas", "tiny", 0, 1, str(tmp_path)


class _Untrained:
    def __init__(self, panel, **_):
        self.panel = panel

    def fit(self, _):
        return self

    def embed(self, cells):
        return cells.X[:, :2].toarray()


def test_a_run_is_kept_whole_or_not_at_all(job, tmp_path, monkeypatch):
    write = Path.write_text

    def stop(path, text):
        write(path, text[: len(text) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", stop)
        with pytest.raises(KeyboardInterrupt):
            pretexts.run(job)
    assert not list((tmp_path / "kept").glob("*"))
    rows = pretexts.run(job)
    (kept,) = (tmp_path / "kept").iterdir()
    before = kept.read_bytes()
    assert pretexts.run(job) == rows
    assert kept.read_bytes() == before
