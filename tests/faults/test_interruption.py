"""Ctrl-C at random moments: code 130, one line that says so, nothing half-written, and nothing changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.faults.commands import content, that_read_cells

pytestmark = pytest.mark.slow

FINISHED = {"build": ["c"], "pretrain": ["m"], "annotate": ["o.h5ad"]}
KEPT = {"build": [".c.building"], "pretrain": ["m"]}
"""What may stay to be gone on with."""


def interrupted(argv, *, after):
    """Run a command in a process of its own and interrupt it after some seconds: its code and its last words."""
    start = [sys.executable, "-m", "scssl.cli.app", *map(str, argv)]
    process = subprocess.Popen(start, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=os.environ)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.mark.parametrize("command", FINISHED)
def test_ctrl_c_at_any_moment(base, out, command):
    rng = np.random.default_rng(len(command))
    argv = that_read_cells(base, base.file, out)[command]
    before = content(base.file, base.corpus, base.model)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "scssl.cli.app", *map(str, argv)], capture_output=True, check=True)
    whole = time.monotonic() - began
    codes = []
    for moment in np.sort(rng.uniform(0.15, 0.95, size=2)):
        # Before the first line of scssl runs, it is Python that is interrupted.
        code, err = interrupted([*argv, "--overwrite"], after=max(0.4, moment * whole))
        codes.append(code)
        assert "Traceback" not in err, err
        # The last is 130 to a shell, too: interrupted when all was done, while Python cleans up.
        assert code in (0, 130, -signal.SIGINT), err
        if code == 130:
            assert err.splitlines()[-1].startswith("error: interrupted"), err
        left = sorted(path.name for path in out.iterdir())
        assert set(left) <= {*FINISHED[command], *KEPT.get(command, [])}, left
        assert content(base.file, base.corpus, base.model) == before
    assert 130 in codes
