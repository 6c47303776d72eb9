"""A run that is interrupted anywhere and resumed ends with the weights of one that never was."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch

import scssl
from scssl.errors import ScsslError, SettingsError
from scssl.training import Optimiser, Training, build_task, fit, get_preset
from scssl.training.module import PretrainModule

TRAINING = Training(epochs=3, batch_size=64, precision="fp32", checkpoint_minutes=1e-9)
CONFIG = replace(get_preset("small"), training=TRAINING)
EACH_STEP, EACH_EPOCH = 1e-9, math.inf


class Stop(Exception):
    """Stands for whatever ends a process."""


def corpus_with(val):
    adata = scssl.datasets.simulate_atlas(300, 200, seed=1)
    return scssl.Corpus.from_anndata(adata, genes="union", source="study", val=val, test=0.0)


@pytest.fixture(scope="module")
def corpus():
    return corpus_with(0.2)


def train(corpus, directory, *, config=CONFIG, resume=False):
    task = build_task(config, n_genes=len(corpus.panel), n_sources=len(corpus.sources))
    directory.mkdir(exist_ok=True)
    result = fit(task, corpus, config, directory=directory, device="cpu", resume=resume)
    # What went on when is not part of the result.
    table = pd.read_csv(directory / "history.csv").drop(columns=["seconds", "cells_per_second"])
    return task.state_dict(), table, result.best_epoch


def interrupt(corpus, directory, monkeypatch, *, step, config=CONFIG, stage="training_step"):
    """Train until a step, counted from 0, has begun."""
    with monkeypatch.context() as patch:
        original = getattr(PretrainModule, stage)

        def failing(self, batch, batch_idx):
            if self.global_step == step:
                raise Stop
            return original(self, batch, batch_idx)

        patch.setattr(PretrainModule, stage, failing)
        with pytest.raises(Stop):
            train(corpus, directory, config=config)


def assert_same(found, expected):
    assert found[0].keys() == expected[0].keys()
    for name, tensor in expected[0].items():
        assert torch.equal(found[0][name], tensor), name
    pd.testing.assert_frame_equal(found[1], expected[1], check_exact=True)
    assert found[2] == expected[2]


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    return train(corpus, tmp_path_factory.mktemp("resume") / "whole")


@pytest.mark.parametrize("step", range(1, 9))
def test_after_any_step(corpus, whole, tmp_path, monkeypatch, step):
    assert whole[1]["step"].tolist() == [3, 6, 9]
    interrupt(corpus, tmp_path / "run", monkeypatch, step=step)
    assert_same(train(corpus, tmp_path / "run", resume=True), whole)


def test_again_and_again(corpus, whole, tmp_path, monkeypatch):
    interrupt(corpus, tmp_path / "run", monkeypatch, step=2)
    original = PretrainModule.training_step
    for step in (4, 5, 8):

        def failing(self, batch, batch_idx, step=step):
            if self.global_step == step:
                raise Stop
            return original(self, batch, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(PretrainModule, "training_step", failing)
            with pytest.raises(Stop):
                train(corpus, tmp_path / "run", resume=True)
    assert_same(train(corpus, tmp_path / "run", resume=True), whole)


def test_in_validation(corpus, whole, tmp_path, monkeypatch):
    interrupt(corpus, tmp_path / "run", monkeypatch, step=6, stage="validation_step")
    assert_same(train(corpus, tmp_path / "run", resume=True), whole)


@pytest.mark.parametrize("minutes", [EACH_STEP, EACH_EPOCH])
@pytest.mark.parametrize("schedule", ["one_cycle", "step"])
@pytest.mark.parametrize("val", [0.2, 0.0])
def test_with_other_settings(tmp_path, monkeypatch, minutes, schedule, val):
    corpus = corpus_with(val)
    training = replace(TRAINING, checkpoint_minutes=minutes, patience=5, seed=7)
    config = replace(CONFIG, optimiser=Optimiser(schedule=schedule), training=training)
    expected = train(corpus, tmp_path / "whole", config=config)
    interrupt(corpus, tmp_path / "run", monkeypatch, step=5, config=config)
    assert_same(train(corpus, tmp_path / "run", config=config, resume=True), expected)


def test_checkpoints_come_as_often_as_asked(corpus, tmp_path, monkeypatch):
    from scssl.training.checkpoints import Checkpoints

    saved = []
    save = Checkpoints.save_checkpoint

    def recording(self, checkpoint, path, **options):
        saved.append((path.name if hasattr(path, "name") else path.rpartition("/")[2], checkpoint["global_step"]))
        save(self, checkpoint, path, **options)

    monkeypatch.setattr(Checkpoints, "save_checkpoint", recording)
    train(corpus, tmp_path / "often")
    assert [step for name, step in saved if name == "last.ckpt"] == list(range(1, 10))
    saved.clear()
    train(corpus, tmp_path / "seldom", config=replace(CONFIG, training=replace(TRAINING, checkpoint_minutes=60.0)))
    assert [step for name, step in saved if name == "last.ckpt"] == [3, 6, 9]
    assert not list((tmp_path / "often" / "checkpoints").glob("*.part"))


@pytest.mark.parametrize("free", [0, 2**40])
def test_a_full_disk_is_named(tmp_path, monkeypatch, free):
    """torch itself raises a RuntimeError of positions in a file."""
    from collections import namedtuple

    from scssl.training import checkpoints

    def failing(_, file):
        file.write_bytes(b"half")
        message = "unexpected pos 124558464 vs 124558352"
        raise RuntimeError(message)

    monkeypatch.setattr(checkpoints.torch, "save", failing)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage(1, 1, free))
    with pytest.raises(RuntimeError if free else OSError, match="unexpected pos" if free else "No space left"):
        checkpoints.Checkpoints().save_checkpoint({}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


def test_no_two_steps_have_the_same_dropout(corpus, tmp_path, monkeypatch):
    """Nor have two seeds, or runs whose steps were numbered alike."""
    drawn = []
    original = PretrainModule.training_step

    def drawing(self, batch, batch_idx):
        drawn.append(float(torch.rand(1)))
        torch.manual_seed(int(drawn[-1] * 1e9))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(PretrainModule, "training_step", drawing)
    train(corpus, tmp_path / "a")
    train(corpus, tmp_path / "b", config=replace(CONFIG, training=replace(TRAINING, seed=1)))
    assert len(set(drawn)) == len(drawn) == 18


def test_nothing_to_resume_says_so(corpus, tmp_path):
    with pytest.raises(SettingsError, match="no checkpoint"):
        train(corpus, tmp_path, resume=True)


def command(tmp_path, name, *options):
    start = [sys.executable, "-m", "scssl.cli.app", "pretrain", str(tmp_path / "cells.h5ad"), "--genes", "union"]
    return [*start, "--out", str(tmp_path / name), *options]


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    scssl.datasets.simulate_atlas(600, 300, seed=1).write_h5ad(tmp_path / "cells.h5ad")
    settings = ["--preset", "small", "--epochs", "40", "--device", "cpu", "--set", "training.precision=fp32"]
    settings += ["--set", "training.checkpoint_minutes=1e-9"]
    # As many threads in all of them: their number can change the last bits.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(tmp_path, "whole", *settings), capture_output=True, check=True, env=environment)
    last = tmp_path / "model" / "checkpoints" / "last.ckpt"

    def written():
        return last.stat().st_mtime_ns if last.is_file() else 0

    for options in (settings, ["--resume", "--device", "cpu"], ["--resume", "--device", "cpu"]):
        before, deadline = written(), time.monotonic() + 60
        with (tmp_path / "said").open("w") as said:
            process = subprocess.Popen(command(tmp_path, "model", *options), stderr=said, env=environment)
        while written() == before and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.1)
        process.kill()
        assert process.wait() == -signal.SIGKILL, (tmp_path / "said").read_text()
    done = subprocess.run(
        command(tmp_path, "model", "--resume", "--device", "cpu"), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    whole, model = scssl.load(tmp_path / "whole"), scssl.load(tmp_path / "model")
    for name, tensor in whole.task.state_dict().items():
        assert torch.equal(model.task.state_dict()[name], tensor), name
    assert model.card["metrics"] == whole.card["metrics"]


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_can_be_resumed(tmp_path):
    adata = scssl.datasets.simulate_atlas(600, 300, seed=1)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    started = command(tmp_path, "model", "--preset", "small", "--epochs", "400", "--device", "cpu")
    process = subprocess.Popen(started, stderr=subprocess.PIPE, text=True)
    history = tmp_path / "model" / "history.csv"
    deadline = time.monotonic() + 120
    while not (tmp_path / "model" / "checkpoints" / "last.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in err
    assert "Traceback" not in err
    with pytest.raises(ScsslError, match="go on with --resume"):
        scssl.load(tmp_path / "model")
    # Shorten the run, so that the rest of it is quick.
    settings = json.loads((tmp_path / "model" / "settings.json").read_text())
    done = len(pd.read_csv(history))
    settings["config"]["training"]["epochs"] = done + 1
    settings["config"]["optimiser"]["schedule"] = "constant"
    (tmp_path / "model" / "settings.json").write_text(json.dumps(settings))
    resumed = subprocess.run(command(tmp_path, "model", "--resume", "--json"), capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert scssl.load(tmp_path / "model").card["training"]["epochs"] == done + 1
