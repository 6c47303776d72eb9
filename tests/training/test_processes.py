"""Two processes that share the batches train what one does, end to end through the command line."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

import scssl
from scssl.errors import SettingsError
from scssl.ranks import Ranks
from scssl.training import Config
from scssl.training.parallel import check_sharing, trainer_options, validation_batch_size

# Dropout is drawn by each process.
EXACT = [
    "--set",
    "architecture.dropout=0",
    "--set",
    "architecture.source_dropout=0",
    "--set",
    "training.precision=fp32",
]
SETTINGS = ["--preset", "small", "--device", "cpu", "--set", "training.batch_size=65", *EXACT]
SETTINGS += ["--set", "training.min_steps=1", "--set", "training.epochs=3"]
ONE = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    scssl.datasets.simulate_atlas(1000, 300, seed=1).write_h5ad(folder / "cells.h5ad")
    options = {"genes": "union", "source": "study", "obs": ["cell_type"], "split_by": "cell"}
    scssl.Corpus.build(folder / "cells.h5ad", folder / "corpus", **options)
    return folder


def command(folder, name, *options):
    start = ["-m", "scssl.cli.app", "pretrain", str(folder / "corpus"), "--out", str(folder / name)]
    return [sys.executable, *start, *options]


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, env=ONE, timeout=200)


def history(folder, name):
    return pd.read_csv(folder / name / "history.csv").drop(columns=["seconds", "cells_per_second"])


def assert_same(folder, name, expected, *, rtol=1e-6):
    # Diagnostics beside the losses are means over the processes.
    same = ["epoch", "step", *(column for column in history(folder, expected) if "loss" in column)]
    pd.testing.assert_frame_equal(history(folder, name)[same], history(folder, expected)[same], rtol=rtol)
    # Elsewhere are weights without a gradient (a bias before a centred comparison), which rounding moves.
    found, wanted = (scssl.load(folder / which).encoder.state_dict() for which in (name, expected))
    for key, tensor in wanted.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pretext", ["masked", "vicreg", "byol"])
def test_two_processes_train_what_one_does(folder, pretext):
    for n in (1, 2):
        done = run(*command(folder, f"{pretext}-{n}", "--pretext", pretext, "--devices", str(n), "--json", *SETTINGS))
        assert done.returncode == 0, done.stderr
        # One object, one log.
        assert json.loads(done.stdout)["training"]["batch_size"] == 65
        assert done.stderr.count("epoch 3 of 3") == 1
        assert "arning" not in done.stderr
    assert_same(folder, f"{pretext}-2", f"{pretext}-1")


@pytest.mark.slow
def test_genes_may_be_unmeasured_in_the_cells_of_one_process_only(folder):
    cells = scssl.datasets.simulate_atlas(400, 300, seed=1)
    few = cells[::40, :200].copy()
    cells.write_h5ad(folder / "all.h5ad")
    few.write_h5ad(folder / "few.h5ad")
    files = [folder / "all.h5ad", folder / "few.h5ad"]
    corpus = scssl.Corpus.build(files, folder / "mixed", genes="union", split_by="cell", duplicates="keep").path
    words = ["-m", "scssl.cli.app", "pretrain", str(corpus), "--devices", "2", *SETTINGS]
    done = run(sys.executable, *words, "--set", "training.batch_size=16", "--out", str(folder / "two"))
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr
    assert scssl.load(folder / "two").encoder.states.unmeasured.abs().max() > 0


@pytest.mark.slow
def test_torchrun_and_python_do_the_same(folder):
    assert run(*command(folder, "one", *SETTINGS)).returncode == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    done = run(*torchrun, *command(folder, "torchrun", *SETTINGS))
    assert done.returncode == 0, done.stderr
    assert_same(folder, "torchrun", "one")
    overrides = [word for word in SETTINGS if "=" in word]
    options = {"preset": "small", "max_epochs": 3, "device": "cpu", "overrides": overrides, "devices": 2}
    model = scssl.pretrain(folder / "corpus", **options)
    for key, tensor in scssl.load(folder / "one").task.state_dict().items():
        torch.testing.assert_close(model.task.state_dict()[key], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_goes_on_with_any_number_of_processes(folder, kill):
    long = [*SETTINGS, "--set", "training.epochs=40", "--set", "training.checkpoint_minutes=0.001"]
    whole = f"whole-{kill}"
    assert run(*command(folder, whole, *long)).returncode == 0
    name = f"run-{kill}"
    last = folder / name / "checkpoints" / "last.ckpt"
    for devices in ("2", "1", "2"):
        options = ["--resume", "--device", "cpu"] if last.exists() else long
        before, deadline = last.stat().st_mtime_ns if last.exists() else 0, time.monotonic() + 100
        process = subprocess.Popen(
            command(folder, name, "--devices", devices, *options), stderr=subprocess.PIPE, text=True, env=ONE
        )
        while time.monotonic() < deadline and process.poll() is None:
            if last.exists() and last.stat().st_mtime_ns != before:
                break
            time.sleep(0.01)
        process.send_signal(kill)
        _, err = process.communicate(timeout=100)
        assert process.returncode == (143 if kill == signal.SIGTERM else -kill), err
        assert "Traceback" not in err
        if kill == signal.SIGTERM:
            assert err.count("go on with: scssl pretrain") == 1, err
            assert ("--devices 2" in err) == (devices == "2"), err
        time.sleep(1.0)  # the others notice
    done = run(*command(folder, name, "--resume", "--device", "cpu", "--devices", "2"))
    assert done.returncode == 0, done.stderr
    # Sums of two processes differ from those of one in the last bits, which grow over many steps.
    np.testing.assert_allclose(history(folder, name)["train_loss"], history(folder, whole)["train_loss"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "architecture.norm=batch"], "on CUDA devices only"),
        (
            ["--set", "optimiser.learning_rate=1e30", "--set", "optimiser.gradient_clip=0"],
            "lower optimiser.learning_rate",
        ),
    ],
)
def test_mistakes_are_told_once(folder, options, words):
    done = run(*command(folder, "wrong", "--devices", "2", *SETTINGS, *options))
    assert done.returncode == 2, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == [done.stderr.splitlines()[-1]]
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_what_several_processes_cannot_do_says_so(folder, tmp_path):
    adata = scssl.datasets.simulate_atlas(60, 100, seed=1)
    with pytest.raises(SettingsError, match="devices=2: several processes need a corpus on disk"):
        scssl.pretrain(adata, devices=2, genes="union")
    stored, two, cpu = (
        scssl.Corpus.open(folder / "corpus"),
        Ranks(world_size=2, local_world_size=2),
        torch.device("cpu"),
    )
    with pytest.raises(SettingsError, match="a batch of 3 cells cannot be shared by 2"):
        check_sharing(two, corpus=stored, config=Config(), batch_size=3, device=cpu)
    many = Ranks(world_size=1000, local_world_size=1000)
    with pytest.raises(SettingsError, match="validation cells cannot be shared by 1000"):
        check_sharing(many, corpus=stored, config=Config(), batch_size=4000, device=cpu)
    with pytest.raises(SettingsError, match="'mps' is one device"):
        check_sharing(two, corpus=stored, config=Config(), batch_size=64, device=torch.device("mps"))
    if torch.cuda.device_count() < 2:
        with pytest.raises(SettingsError, match=r"each sees \d CUDA device"):
            check_sharing(two, corpus=stored, config=Config(), batch_size=64, device=torch.device("cuda"))


@pytest.mark.parametrize(
    ("ranks", "environment", "strategy"),
    [
        (Ranks(), "LightningEnvironment", None),
        (Ranks(world_size=4, local_world_size=2), "LightningEnvironment", "DDPStrategy"),
        (Ranks(world_size=4, local_world_size=2, slurm=True), "SLURMEnvironment", "DDPStrategy"),
    ],
)
def test_lightning_is_told_what_started_the_processes(ranks, environment, strategy, monkeypatch):
    # As if in an allocation of SLURM, which Lightning by itself would wait in for other processes.
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    options = trainer_options(ranks, torch.device("cpu"))
    assert [type(plugin).__name__ for plugin in options["plugins"]] == [environment]
    assert (options["devices"], options["num_nodes"]) == (ranks.local_world_size, ranks.n_nodes)
    assert type(options["strategy"]).__name__ == strategy if strategy else "strategy" not in options


@pytest.mark.parametrize("batch_size", [64, 100, 512, 4096])
def test_the_last_validation_batch_can_be_shared(batch_size):
    for n in range(1, 3000):
        size = validation_batch_size(n, batch_size)
        assert batch_size / 2 < size <= batch_size
        rest = n % size
        assert rest == 0 or rest >= min(64, size // 2) or n < batch_size, (n, size)
