"""Processes that work together: arguments reach them, and they end together, with one error."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scssl.errors import DataError, ScsslError
from scssl.interruption import Interrupted
from scssl.launch import launch
from scssl.ranks import Ranks, check_devices

HELPERS = """
import os, signal, sys, time
from pathlib import Path
from scssl.errors import DataError
from scssl.interruption import Interrupted, Signals
from scssl.ranks import Ranks

def note(folder, what):
    ranks = Ranks.current()
    print("on stdout")
    Path(folder, f"{ranks.rank}-of-{ranks.world_size}").write_text(f"{what} {os.environ.get('OWN')}")

def fail(folder, how):
    Path(folder, os.environ["RANK"]).write_text(str(os.getpid()))
    if os.environ["RANK"] == "1":
        if how == "mistake":
            raise DataError("cells.h5ad: no counts")
        if how == "bug":
            raise ZeroDivisionError("oh")
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)

def wait(folder):
    with Signals() as signals:
        signals.deferring = True
        Path(folder, os.environ["RANK"]).write_text(str(os.getpid()))
        while not signals.received:
            time.sleep(0.01)
        stop = Interrupted(signals.received[0])
        stop.advice = "go on"
        raise stop
"""


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    (tmp_path / "launch_helpers.py").write_text(HELPERS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that nobody has asked about is still listed.
    listed = Path(f"/proc/{pid}/stat")
    return not listed.exists() or listed.read_text().rpartition(")")[2].split()[0] != "Z"


def test_each_process_gets_its_arguments_and_variables(helpers, capfd):
    arguments = [{"folder": str(helpers), "what": what} for what in "ab"]
    launch("launch_helpers:note", arguments, environments=[{"OWN": "x"}, {"OWN": "y"}])
    assert {path.name: path.read_text() for path in helpers.iterdir()} == {"0-of-2": "a x", "1-of-2": "b y"}
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("mistake", DataError, "^cells.h5ad: no counts$"),
        ("bug", RuntimeError, "one of 2 processes failed: ZeroDivisionError: oh"),
        ("killed", ScsslError, "process 1 of 2 was ended by SIGKILL"),
    ],
)
def test_one_that_fails_ends_all_with_its_error(helpers, how, kind, words):
    started = time.monotonic()
    with pytest.raises(kind, match=words):
        launch("launch_helpers:fail", [{"folder": str(helpers), "how": how}] * 2)
    assert time.monotonic() - started < 40
    assert not any(alive(int(path.read_text())) for path in helpers.iterdir())


START = """
from scssl.interruption import Interrupted
from scssl.launch import launch
import sys
try:
    launch("launch_helpers:wait", [{"folder": sys.argv[1]}] * 2)
except Interrupted as stop:
    print(stop)
    sys.exit(stop.exit_code)
"""


def start_waiting(helpers):
    process = subprocess.Popen([sys.executable, "-c", START, str(helpers)], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(files := list(helpers.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    return process, [int(path.read_text()) for path in files]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_reach_all(helpers, signum):
    process, children = start_waiting(helpers)
    process.send_signal(signum)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert out.strip() == str(Interrupted(signum)) + "; all is saved, go on"
    assert not any(alive(pid) for pid in children)


def test_they_end_with_the_one_that_started_them(helpers):
    process, children = start_waiting(helpers)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)


SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "8"}
SRUN |= {"SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS": "8"}


def test_ranks_are_those_of_torchrun_or_of_a_step_of_slurm():
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    expected = Ranks(rank=3, world_size=4, local_rank=1, local_world_size=2)
    assert Ranks.current(torchrun) == Ranks.current(torchrun | SRUN) == expected
    assert expected.n_nodes == 2
    assert Ranks.current(SRUN) == Ranks(rank=5, world_size=8, local_rank=1, local_world_size=4, slurm=True)
    # A batch script, before srun: one process, however many tasks were asked for.
    batch = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_ID": "1"}
    assert Ranks.current(batch) == Ranks.current({}) == Ranks()


@pytest.mark.parametrize(
    "wrong",
    [
        {"RANK": "4", "WORLD_SIZE": "4", "LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "x", "WORLD_SIZE": "2"},
    ],
)
def test_an_environment_that_contradicts_itself_is_refused(wrong):
    with pytest.raises(ScsslError, match=r"cannot be|environment variable"):
        Ranks.current(wrong)


def test_devices_are_started_or_checked():
    assert check_devices(Ranks(), devices=None, num_nodes=None) == 1
    assert check_devices(Ranks(), devices=3, num_nodes=1) == 3
    running = Ranks.current(SRUN)
    assert check_devices(running, devices=None, num_nodes=None) == check_devices(running, devices=4, num_nodes=2) == 1
    with pytest.raises(ScsslError, match="devices=2, but srun started 4"):
        check_devices(running, devices=2, num_nodes=None)
    with pytest.raises(ScsslError, match="torchrun --nnodes 2 --nproc-per-node 4"):
        check_devices(Ranks(), devices=4, num_nodes=2)
    with pytest.raises(ScsslError, match="devices=0 is not possible"):
        check_devices(Ranks(), devices=0, num_nodes=None)
