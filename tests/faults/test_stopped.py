"""Ctrl-C in every command, after a share of its work: one line, nothing half-written, and nothing changed."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pytest

from scssl.cli.app import main
from scssl.corpus import Corpus
from tests.faults.commands import content
from tests.faults.test_everywhere import NAMES, begin, commands, inputs, outcome

__all__ = ["inputs"]  # a fixture
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("brief_finetuning")]

KEPT = {"build": {".c.building"}, "append": {".c.building"}, "pretrain": {"m"}, "study": {"study"}}
"""What may stay, to be gone on with."""


def stopped(argv, *, after):
    """Run a command and interrupt it after some seconds of computing; return its code.

    None if it was done before. Computing is counted, not time, so that it is the same work on a busy machine.
    """
    alarm, interrupt = signal.getsignal(signal.SIGVTALRM), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGVTALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_VIRTUAL, after)
    try:
        return main([*map(str, argv)])
    except KeyboardInterrupt:
        return None
    except ValueError as error:
        # safetensors answers an interruption in the midst of a tensor with an error of its own.
        if "UntypedStorage" not in str(error):
            raise
        return None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, alarm)
        signal.signal(signal.SIGINT, interrupt)


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_command_leaves_nothing_half_written(inputs, tmp_path, capsys, name):
    before, out = content(inputs), tmp_path / "out"
    for _ in range(2):  # the second time nothing is loaded or compiled any more
        shutil.rmtree(out, ignore_errors=True)
        begin(name, inputs, out)
        began = os.times().user
        assert main([*map(str, commands(inputs, out)[name])]) == 0
        whole = os.times().user - began
    expected, finished = outcome(out), {path.name for path in out.iterdir()}
    codes = []
    for moment in np.random.default_rng(len(name)).uniform(0.05, 0.9, size=2):
        shutil.rmtree(out)
        begin(name, inputs, out)
        start = outcome(out)
        capsys.readouterr()
        codes.append(stopped(commands(inputs, out)[name], after=moment * whole))
        err = capsys.readouterr().err
        assert codes[-1] in (0, 130, None)
        assert "Traceback" not in err
        if codes[-1] == 130:
            assert err.splitlines()[-1].startswith("error: interrupted"), err
        assert {path.name for path in out.iterdir()} <= finished | KEPT.get(name, set())
        for key, values in outcome(out).items():
            if key.split("/")[0] not in KEPT.get(name, set()):
                np.testing.assert_array_equal(values, expected.get(key, start.get(key)), err_msg=key)
        if name == "append":
            # What was moved there before it was all there is no part of it yet: it is the old corpus or the new.
            assert main(["corpus", "verify", str(out / "c"), "--quiet"]) == 0
            assert Corpus.open(out / "c").n_cells() in (240, 300)
        assert content(inputs) == before
    # A short command may be done before the alarm is heard.
    assert {130, None} & set(codes) or whole < 1
