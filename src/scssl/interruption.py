"""Signals that ask a process to end: Ctrl-C, and what a scheduler sends before it takes the machine away."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

CAUGHT: Final = tuple(int(getattr(signal, name)) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""SIGUSR1 is what SLURM is usually told to send some time before the end of a job."""


class Interrupted(KeyboardInterrupt):
    """A signal ended a long operation, which left all in order.

    Parameters
    ----------
    signum
        Number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum
        self.advice = ""
        """How to go on."""

    def __str__(self) -> str:
        name = signal.Signals(self.signum).name
        by = "" if name == "SIGINT" else f" by {name}"
        return f"interrupted{by}" + (f"; all is saved, {self.advice}" if self.advice else "")

    @property
    def exit_code(self) -> int:
        """What a process that was ended by the signal reports: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum


class Signals:
    """Raise `Interrupted` when asked to end; or, while `deferring`, note the signal for whoever looks.

    A second signal is raised in any case. Only the main thread can do this; in others nothing changes.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        """Signals that were noted."""
        self.last = int(signal.SIGINT)
        """The signal that came last."""
        self.deferring = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {}
        self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Take the signals, also when others have taken them meanwhile."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in CAUGHT:
            self._before.setdefault(number, signal.getsignal(number))
            signal.signal(number, self._receive)

    def _receive(self, signum: int, _frame: object) -> None:
        self.last = signum
        if not self.deferring or self.received:
            raise Interrupted(signum)
        self.received.append(signum)
