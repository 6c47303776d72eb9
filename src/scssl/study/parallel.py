"""Pieces of work side by side in several processes, with progress; what is finished stays when it is interrupted."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeVar

from scssl.interruption import Interrupted
from scssl.log import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scssl.study.fitting import Work

T = TypeVar("T")


def run_all(function: Callable[[Work, T], None], work: Work, items: Sequence[T], *, workers: int, what: str) -> None:
    """Do all pieces of work.

    Parameters
    ----------
    function
        Does one; it writes what comes out.
    work
        What all of them need.
    items
        The pieces.
    workers
        Processes; one is this process.
    what
        What to call them in progress.

    Raises
    ------
    KeyboardInterrupt
        If interrupted; it says how the study goes on, rather than the one piece that was stopped.
    """
    try:
        with progress(f"study: {what}", len(items), unit=what) as advance:
            for _ in _done(function, work, items, workers=workers):
                advance(1)
    except KeyboardInterrupt as stop:
        advice = f"go on with {work.folder} by the same command"
        if isinstance(stop, Interrupted):
            stop.advice = advice
        else:
            stop.args = (f"interrupted; all is saved, {advice}",)
        raise


def _done(function: Callable[[Work, T], None], work: Work, items: Sequence[T], *, workers: int) -> Iterator[None]:
    """Do the pieces, and tell of each when it is finished."""
    if workers == 1 or len(items) < 2:
        for item in items:
            function(work, item)
            yield
        return
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    # Fresh processes: forked ones would share the state of torch's threads.
    pool = Parallel(n_jobs=min(workers, len(items)), backend="loky", return_as="generator_unordered")
    yield from pool(delayed(_quietly)(function, work, item) for item in items)


def _quietly(function: Callable[[Any, T], None], work: Any, item: T) -> None:
    with warnings.catch_warnings():
        # What libraries say about themselves would be said once per process.
        warnings.simplefilter("ignore")
        function(work, item)
