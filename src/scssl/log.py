"""The one logger and the one progress helper."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("scssl")
logger.addHandler(logging.NullHandler())

LINE_INTERVAL = 30.0
"""Seconds between progress lines when stderr is not a terminal."""


def rank() -> int:
    """Return the rank of this process in a distributed run (0 when there is only one)."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))


class _RankZero(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return rank() == 0 or record.levelno >= logging.WARNING


class _Once(logging.Filter):
    """Lets a line through once: a command that reads a file three times has one thing to say of it."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage()
        if line in self._said and not getattr(record, "progress", False):
            return False
        self._said.add(line)
        return True


logger.addFilter(_RankZero())


def configure(*, quiet: bool = False) -> None:
    """Send log messages to stderr, as the command line does, each once; warnings only when `quiet`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Once())
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False


class _Keep(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in self.lines:
            self.lines.append(line)


@contextmanager
def warnings_kept() -> Iterator[list[str]]:
    """Collect the warnings that are logged meanwhile, so that they can stand beside the result.

    Yields
    ------
    list of str
        Filled as warnings come, each once. They are logged as ever.
    """
    keep = _Keep()
    logger.addHandler(keep)
    try:
        yield keep.lines
    finally:
        logger.removeHandler(keep)


class Advance(Protocol):
    """Callback that moves a progress bar on."""

    def __call__(self, amount: int, /) -> None:
        """Report that `amount` more units are done."""


@contextmanager
def progress(description: str, total: int | None, *, unit: str = "cells") -> Iterator[Advance]:
    """Show the progress of a long operation on stderr: a bar on a terminal, one line per interval elsewhere.

    Nothing is shown while the logger is below INFO (library use, ``--quiet``) or on ranks other than 0.

    Parameters
    ----------
    description
        What is being done, e.g. ``"reading pbmc.h5ad"``.
    total
        Number of units, or None if not known.
    unit
        Name of a unit.

    Yields
    ------
    Advance
        Call it with the number of units just finished.
    """
    shown = logger.isEnabledFor(logging.INFO) and rank() == 0 and logger.level != logging.NOTSET
    if not shown:
        yield lambda _amount: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(description, total=total)
            yield lambda amount: bar.advance(task, amount)
    else:
        yield _LineProgress(description, total, unit)


class _LineProgress:
    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done = 0
        self._next = time.monotonic() + LINE_INTERVAL

    def __call__(self, amount: int, /) -> None:
        self._done += amount
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_INTERVAL
            of = f" of {self._total:,}" if self._total else ""
            told = (self._description, f"{self._done:,}", of, self._unit)
            logger.info("%s: %s%s %s", *told, extra={"progress": True})
