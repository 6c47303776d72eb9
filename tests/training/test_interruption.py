"""A run that a signal ends saves at once, and goes on to the result of one that never was."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import scssl
from scssl.interruption import Interrupted, Signals
from scssl.training import Training, build_task, fit, get_preset
from scssl.training.module import PretrainModule

NEVER = 1e9
"""Minutes between checkpoints: what is saved within an epoch was saved because of a signal."""
TRAINING = Training(epochs=3, batch_size=64, precision="fp32", checkpoint_minutes=NEVER)
CONFIG = replace(get_preset("small"), training=TRAINING)


@pytest.fixture(scope="module")
def corpus():
    adata = scssl.datasets.simulate_atlas(500, 200, seed=1)
    return scssl.Corpus.from_anndata(adata, genes="union", source="study", val=0.3, test=0.0)


def train(corpus, directory, *, resume=False):
    task = build_task(CONFIG, n_genes=len(corpus.panel), n_sources=len(corpus.sources))
    directory.mkdir(exist_ok=True)
    fit(task, corpus, CONFIG, directory=directory, device="cpu", resume=resume)
    return task.state_dict(), pd.read_csv(directory / "history.csv").drop(columns=["seconds", "cells_per_second"])


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    return train(corpus, tmp_path_factory.mktemp("interruption") / "whole")


def interrupt(corpus, directory, monkeypatch, *, number, signum, stage):
    """Send this process a signal in the middle of a step, counted from 0 over the run."""
    seen = []
    original = getattr(PretrainModule, stage)

    def signalled(self, batch, batch_idx):
        if len(seen) == number:
            os.kill(os.getpid(), signum)
        seen.append(batch_idx)
        return original(self, batch, batch_idx)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with monkeypatch.context() as patch:
        patch.setattr(PretrainModule, stage, signalled)
        with pytest.raises(Interrupted) as caught:
            train(corpus, directory)
    assert caught.value.exit_code == 128 + signum
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == handlers
    return len(seen)


STEPS, WATCHED = 5, 3
"""Batches per epoch, of training and validation."""
CASES = [("training_step", number) for number in range(3 * STEPS - 1)]
CASES += [("validation_step", number) for number in range(2 * WATCHED)]


@pytest.mark.parametrize(("stage", "number"), CASES)
def test_a_signal_loses_nothing(corpus, whole, tmp_path, monkeypatch, stage, number):
    signum = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)[number % 3]
    seen = interrupt(corpus, tmp_path / "run", monkeypatch, number=number, signum=signum, stage=stage)
    # In the step in which the signal came; in validation, at its end.
    assert seen == (number + 1 if stage == "training_step" else (number // WATCHED + 1) * WATCHED)
    found = train(corpus, tmp_path / "run", resume=True)
    for name, tensor in whole[0].items():
        assert torch.equal(found[0][name], tensor), name
    pd.testing.assert_frame_equal(found[1], whole[1], check_exact=True)


@pytest.mark.parametrize("number", range(2))
def test_a_signal_at_the_very_end_changes_nothing(corpus, whole, tmp_path, monkeypatch, number):
    original = PretrainModule.validation_step
    seen = []

    def signalled(self, batch, batch_idx):
        if len(seen) == 2 * WATCHED + number:
            os.kill(os.getpid(), signal.SIGTERM)
        seen.append(batch_idx)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(PretrainModule, "validation_step", signalled)
    found = train(corpus, tmp_path / "run")
    pd.testing.assert_frame_equal(found[1], whole[1], check_exact=True)


def test_a_second_signal_is_not_waited_for(corpus, tmp_path, monkeypatch):
    original = PretrainModule.training_step
    seen = []

    def signalled(self, batch, batch_idx):
        seen.append(batch_idx)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("not ended")
        return original(self, batch, batch_idx)

    monkeypatch.setattr(PretrainModule, "training_step", signalled)
    with pytest.raises(Interrupted, match="SIGTERM"):
        train(corpus, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_without_a_folder_a_signal_ends_the_step_too(corpus, monkeypatch):
    original, seen = PretrainModule.training_step, []

    def signalled(self, batch, batch_idx):
        seen.append(batch_idx)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(PretrainModule, "training_step", signalled)
    task = build_task(CONFIG, n_genes=len(corpus.panel), n_sources=len(corpus.sources))
    with pytest.raises(Interrupted, match="SIGTERM"):
        fit(task, corpus, CONFIG, device="cpu")
    assert len(seen) == 3


def test_signals_are_raised_at_once_or_noted():
    with Signals() as signals:
        with pytest.raises(Interrupted) as caught:
            signal.raise_signal(signal.SIGTERM)
        assert (caught.value.exit_code, signals.received, signals.last) == (143, [], signal.SIGTERM)
        signals.deferring = True
        signal.raise_signal(signal.SIGUSR1)
        assert signals.received == [signal.SIGUSR1]
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
    assert str(Interrupted(signal.SIGINT)) == "interrupted"


def test_in_other_threads_signals_are_left_alone():
    before, found = signal.getsignal(signal.SIGTERM), []

    def look():
        with Signals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]


SETTINGS = ["--preset", "small", "--epochs", "60", "--device", "cpu", "--set", "training.precision=fp32"]
SETTINGS += ["--set", "training.batch_size=64", "--set", "training.checkpoint_minutes=0.0005"]


def command(folder, name, *options):
    start = [sys.executable, "-m", "scssl.cli.app", "pretrain", str(folder / "corpus"), "--out", str(folder / name)]
    return [*start, *options]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    scssl.datasets.simulate_atlas(1500, 300, seed=1).write_h5ad(folder / "cells.h5ad")
    scssl.Corpus.build(folder / "cells.h5ad", folder / "corpus", genes="union", source="study", split_by="cell")
    subprocess.run(command(folder, "whole", *SETTINGS), capture_output=True, check=True, env=single())
    return folder


def single():
    # As many threads in all of them: their number can change the last bits.
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def assert_same_models(first, second):
    found, expected = scssl.load(first), scssl.load(second)
    for name, tensor in expected.task.state_dict().items():
        assert torch.equal(found.task.state_dict()[name], tensor), name
    tables = [pd.read_csv(path / "history.csv") for path in (first, second)]
    tables = [table.drop(columns=["seconds", "cells_per_second"]) for table in tables]
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments(folder, seed):
    """SIGKILL and SIGTERM in turn, while it starts, trains or saves: it always goes on, to the same end."""
    rng = np.random.default_rng(seed)
    name, killed = f"killed-{seed}", 0
    checkpoint = folder / name / "checkpoints" / "last.ckpt"
    for attempt in range(40):
        options = ["--resume", "--device", "cpu"] if checkpoint.exists() else [*SETTINGS, "--overwrite"]
        process = subprocess.Popen(command(folder, name, *options), stderr=subprocess.PIPE, text=True, env=single())
        if killed < 4:
            before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                    break
                time.sleep(0.002)
            time.sleep(rng.uniform(0.0, 0.4))
            process.send_signal(signal.SIGTERM if attempt % 2 else signal.SIGKILL)
        _, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        if process.returncode == 0:
            break
        killed += 1
        assert process.returncode == (143 if attempt % 2 else -signal.SIGKILL), err
        if process.returncode == 143:
            assert f"go on with: scssl pretrain {folder / 'corpus'} --out {folder / name} --resume" in err, err
    assert killed >= 3
    assert_same_models(folder / name, folder / "whole")
