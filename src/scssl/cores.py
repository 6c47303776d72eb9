"""The processor cores that this process may use, and torch kept to them."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
CHOSEN_BY: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which a user chooses the number of threads."""
CLEARLY: Final = 1.5
"""Fewer threads are taken only if they are so many times as fast: the number of threads can change the last bits."""


def n_cores() -> int:
    """Return how many processor cores this process may use (affinity and container limit honoured)."""
    cores = _affinity()
    try:
        quota = QUOTA.read_text(encoding="utf-8").split()
    except OSError:
        return cores
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def own_cores(device: torch.device) -> Iterator[bool]:
    """Keep torch to the cores of this process while it computes on the processor; the caller's number comes back.

    More threads than cores wait for each other in a loop, which takes many times as long as fewer threads would.

    Parameters
    ----------
    device
        Where torch computes. Nothing is changed for a GPU, or if the user chose the number of threads.

    Yields
    ------
    bool
        Whether the number of threads may be changed further.
    """
    import torch

    before = torch.get_num_threads()
    # By itself torch takes a thread per core that it sees, or per two of them with hyper-threading.
    by_itself = before in (_affinity(), _affinity() // 2)
    free = device.type == "cpu" and by_itself and not any(name in os.environ for name in CHOSEN_BY)
    try:
        if free:
            torch.set_num_threads(min(before, n_cores()))
        yield free
    finally:
        torch.set_num_threads(before)


@contextmanager
def same_threads() -> Iterator[None]:
    """Give torch back the number of threads that it had: code that numba runs in parallel sets it to all cores."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 0
    try:
        yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)


def fastest_threads(seconds: Callable[[], float]) -> float:
    """Halve torch's threads for as long as that is clearly faster, as it is where other programs hold the cores.

    Parameters
    ----------
    seconds
        Does a piece of the work and returns how long it took.

    Returns
    -------
    float
        What the piece takes with the number of threads that is set in the end.
    """
    import torch

    best, threads = seconds(), torch.get_num_threads()
    while threads > 1:
        torch.set_num_threads(threads // 2)
        if (fewer := seconds()) * CLEARLY > best:
            break
        best, threads = fewer, threads // 2
    torch.set_num_threads(threads)
    return best
