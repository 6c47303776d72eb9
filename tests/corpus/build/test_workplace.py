"""One process works in a folder at a time, and what it leaves is taken up by the same work only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from scssl.corpus.build import workplace as module
from scssl.corpus.build.workplace import keep_alive, workplace
from scssl.errors import DataError, SettingsError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def stopped_by(error, folder):
    with workplace(folder / "c", fingerprint="x") as work:
        (work / "piece").write_text("1")
        raise error


def test_nothing_stays_of_work_that_is_done_or_wrong(tmp_path):
    with workplace(tmp_path / "c", fingerprint="x") as work:
        assert work.parent == tmp_path
        (work / "piece").write_text("1")
    assert names(tmp_path) == []
    with pytest.raises(DataError):
        stopped_by(DataError("wrong"), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_what_is_done_stays_after_anything_else(tmp_path, error, caplog):
    with pytest.raises(error) as raised:
        stopped_by(error(), tmp_path)
    # After Ctrl-C, one line is all that is said.
    assert "run the same command again" in (str(raised.value) if error is KeyboardInterrupt else caplog.text)
    with workplace(tmp_path / "c", fingerprint="x") as work:
        assert (work / "piece").read_text() == "1"
    assert names(tmp_path) == []


def test_other_work_starts_clean(tmp_path):
    with pytest.raises(OSError, match="full"):
        stopped_by(OSError("full"), tmp_path)
    with workplace(tmp_path / "c", fingerprint="y") as work:
        assert not (work / "piece").exists()
    assert names(tmp_path) == []


def test_two_at_a_time(tmp_path):
    script = f"""
import sys
from pathlib import Path
from scssl.corpus.build.workplace import workplace
with workplace(Path({str(tmp_path / "c")!r}), fingerprint="x"):
    print("in", flush=True)
    input()
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "in\n"
    with (
        pytest.raises(SettingsError, match=f"process {other.pid} is building"),
        workplace(tmp_path / "c", fingerprint="x"),
    ):
        pass
    assert other.communicate("\n")[0] == ""
    assert names(tmp_path) == []


def test_a_process_on_another_machine_is_believed_while_it_shows_life(tmp_path, monkeypatch):
    work = tmp_path / ".c.building"
    work.mkdir()
    (work / "owner").write_text(f"elsewhere {os.getpid()}")
    with pytest.raises(SettingsError, match="is building"), workplace(tmp_path / "c", fingerprint="x"):
        pass
    os.utime(work / "owner", (0, time.time() - module.SILENCE - 10))
    with workplace(tmp_path / "c", fingerprint="x") as mine:
        os.utime(mine / "owner", (0, 0))
        keep_alive(mine)
        assert time.time() - (mine / "owner").stat().st_mtime < 60
    assert names(tmp_path) == []


def test_claims_of_killed_processes_are_removed(tmp_path):
    for name, owner in (
        ("dead", f"{socket.gethostname()} 999999999"),
        ("alive", f"{socket.gethostname()} {os.getppid()}"),
    ):
        folder = tmp_path / f".c.building-{name}"
        folder.mkdir()
        (folder / "owner").write_text(owner)
    with workplace(tmp_path / "c", fingerprint="x"):
        pass
    assert names(tmp_path) == [".c.building-alive"]


def test_a_process_of_somebody_else_is_alive(tmp_path, monkeypatch):
    def not_allowed(_pid, _signal):
        raise PermissionError

    (tmp_path / "owner").write_text(f"{socket.gethostname()} 12345")
    monkeypatch.setattr(module.os, "kill", not_allowed)
    assert module._read_owner(tmp_path) == 12345


def test_a_full_disk_leaves_no_claim(tmp_path, monkeypatch):
    def full(self, *_args):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(type(tmp_path), "write_text", full)
    with pytest.raises(OSError, match="No space left"), workplace(tmp_path / "c", fingerprint="x"):
        pass
    assert names(tmp_path) == []
