"""The command line's log: each thing is said once, progress as often as it comes."""

from __future__ import annotations

import pytest

from scssl import log


def test_a_line_is_said_once_per_command(capsys):
    for _ in range(2):
        log.configure()
        for _ in range(3):
            log.logger.warning("%s: few genes", "f")
            log.logger.info("f: few genes")
            log.logger.info("other")
    assert capsys.readouterr().err.splitlines() == ["f: few genes", "other"] * 2


def test_progress_may_say_the_same_again(capsys, monkeypatch):
    monkeypatch.setattr(log, "LINE_INTERVAL", -1.0)
    log.configure()
    for _ in range(2):
        with log.progress("reading", 5) as advance:
            advance(5)
    assert capsys.readouterr().err.splitlines() == ["reading: 5 of 5 cells"] * 2


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_leaves_warnings(capsys, quiet):
    log.configure(quiet=quiet)
    log.logger.info("a note")
    log.logger.warning("a warning")
    assert capsys.readouterr().err.splitlines() == [*([] if quiet else ["a note"]), "a warning"]


def test_warnings_are_kept_each_once_and_said_all_the_same(capsys):
    log.configure(quiet=True)
    with log.warnings_kept() as said:
        for name in "aab":
            log.logger.warning("%s: few genes", name)
        log.logger.info("a note")
    log.logger.warning("later")
    assert said == ["a: few genes", "b: few genes"]
    assert capsys.readouterr().err.splitlines() == ["a: few genes", "b: few genes", "later"]
