"""Interruptions of a study say how the study goes on, not how the one network does that was being trained."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from scssl.interruption import Interrupted
from scssl.study.parallel import run_all


def _of_a_network() -> KeyboardInterrupt:
    stop = Interrupted(signal.SIGTERM)
    stop.advice = "go on with: scssl pretrain corpus --out study/models/masked --resume"
    return stop


@pytest.mark.parametrize(
    ("stop", "words", "code"),
    [
        (_of_a_network(), "interrupted by SIGTERM; all is saved, go on with study by the same command", 143),
        (KeyboardInterrupt(), "interrupted; all is saved, go on with study by the same command", 130),
    ],
)
def test_what_is_said(stop, words, code):
    done = []

    def piece(work, item):
        if item == 2:
            raise stop
        done.append(item)

    with pytest.raises(KeyboardInterrupt) as caught:
        run_all(piece, SimpleNamespace(folder=Path("study")), range(4), workers=1, what="pieces")
    assert str(caught.value) == words
    assert getattr(caught.value, "exit_code", 130) == code
    assert done == [0, 1]
