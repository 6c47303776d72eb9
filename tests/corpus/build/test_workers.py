"""Several processes do the same as one, and mistakes come back from them as they are."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

from scssl.corpus import Corpus
from scssl.corpus.build.workers import start_workers
from scssl.errors import DataError, MissingExtraError, SettingsError

pytest.importorskip("distributed")
OPTIONS = {"genes": "union", "obs": ["cell_type"], "source": "study"}


@pytest.fixture(autouse=True)
def _quiet():
    # What distributed leaves to the garbage collector when its processes end.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def assert_same_files(one, other):
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    assert [f for f in files if (one / f).read_bytes() != (other / f).read_bytes()] == []


def double(shared, job):
    if job == 13:
        message = "thirteen"
        raise DataError(message)
    return shared * job


def test_jobs_are_done_once_each_and_mistakes_come_back():
    for workers in (1, 2):
        with start_workers(workers=workers, dask=None) as run:
            assert sorted(run(double, 2, range(10))) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
            with pytest.raises(DataError, match="thirteen"):
                list(run(double, 2, range(20)))


@pytest.mark.slow
def test_several_processes_write_the_same_bytes(atlas, atlas_file, corpus_dir, tmp_path):
    assert Corpus.build(atlas_file, tmp_path / "c", **OPTIONS, workers=2).verify() == []
    assert_same_files(corpus_dir, tmp_path / "c")
    broken = atlas.copy()
    broken.X = broken.X.astype(np.float32)
    broken.X.data[-1] = 0.5
    broken.write_h5ad(tmp_path / "broken.h5ad")
    with pytest.raises(DataError, match=r"broken\.h5ad.*no raw counts"):
        Corpus.build([atlas_file, tmp_path / "broken.h5ad"], tmp_path / "d", **OPTIONS, workers=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.h5ad", "c"]


@pytest.mark.slow
def test_a_scheduler_that_runs_elsewhere(atlas_file, corpus_dir, tmp_path):
    script = (
        "import distributed\nc = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)"
    )
    script += "\nprint(c.scheduler_address, flush=True)\ninput()"
    path = tmp_path / "cluster.py"
    path.write_text("if __name__ == '__main__':\n    " + script.replace("\n", "\n    "))
    cluster = subprocess.Popen(
        [sys.executable, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        address = cluster.stdout.readline().strip()
        Corpus.build(atlas_file, tmp_path / "c", **OPTIONS, dask=address)
    finally:
        cluster.communicate("\n")
    assert_same_files(corpus_dir, tmp_path / "c")


def test_what_cannot_be_started(monkeypatch):
    with pytest.raises(SettingsError, match="workers is 0"), start_workers(workers=0, dask=None):
        pass
    with pytest.raises(SettingsError, match="not both"), start_workers(workers=2, dask="tcp://x:1"):
        pass
    with pytest.raises(SettingsError, match="no Dask scheduler answers"), start_workers(workers=1, dask="nonsense://x"):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"scssl\[dask\]"), start_workers(workers=2, dask=None):
        pass
