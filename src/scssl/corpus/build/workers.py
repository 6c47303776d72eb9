"""Where the pieces of a build are worked on: in this process, in several on this machine, or on a Dask cluster."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from scssl.corpus.build.read import close_files
from scssl.errors import ScsslError, SettingsError, import_extra, require
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Run(Protocol):
    """Calls a function once per job, in any order."""

    def __call__(self, function: Callable[[Any, Any], Any], shared: Any, jobs: Iterable[Any]) -> Iterator[Any]:
        """Yield ``function(shared, job)`` as the jobs get done."""


@contextmanager
def start_workers(*, workers: int, dask: str | None) -> Iterator[Run]:
    """Give what runs jobs.

    Parameters
    ----------
    workers
        Processes on this machine; 1 works in this one.
    dask
        Address of a Dask scheduler to use instead; its workers must see the same files under the same paths.

    Raises
    ------
    MissingExtraError
        If Dask is not installed.
    SettingsError
        If both are given, or the scheduler does not answer.
    """
    require("workers", workers, holds=workers >= 1, must="1 or more")
    if dask is not None and workers != 1:
        message = "give either workers or dask, not both: a Dask cluster has its own number of workers"
        raise SettingsError(message)
    try:
        if dask is None and workers == 1:
            yield _run_here
        else:
            with _client(workers, dask) as client:
                yield lambda function, shared, jobs: _run_on(client, function, shared, jobs)
    finally:
        close_files()


def _run_here(function: Callable[[Any, Any], Any], shared: Any, jobs: Iterable[Any]) -> Iterator[Any]:
    for job in jobs:
        yield function(shared, job)


@contextmanager
def _client(workers: int, dask: str | None) -> Iterator[Any]:
    distributed = import_extra("distributed", extra="dask")
    if dask is None:
        # Workers that need more memory than they should are not killed: they would only be started again.
        options: dict[str, Any] = {"memory_limit": 0, "dashboard_address": None, "silence_logs": logging.ERROR}
        with (
            distributed.LocalCluster(n_workers=workers, threads_per_worker=1, **options) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(dask, timeout="20s", set_as_default=False)
    except (OSError, ValueError) as error:
        message = f"no Dask scheduler answers at {dask!r} ({error}); start one with: dask scheduler"
        raise SettingsError(message) from error
    with client:
        logger.info("working on the Dask cluster at %s: %d workers", dask, len(client.scheduler_info()["workers"]))
        yield client
        client.run(close_files)


def _run_on(client: Any, function: Callable[[Any, Any], Any], shared: Any, jobs: Iterable[Any]) -> Iterator[Any]:
    distributed = import_extra("distributed", extra="dask")
    remaining = iter(jobs)
    held = client.scatter(shared, broadcast=True, hash=False)
    # Not all at once: jobs carry what is known of a file, and there may be tens of thousands of them.
    window = 2 * max(1, sum(client.nthreads().values()))
    running = distributed.as_completed(_submit(client, function, held, remaining, window), loop=client.loop)
    try:
        for future in running:
            try:
                result = future.result()
            except distributed.scheduler.KilledWorker as error:
                message = (
                    "a worker process was killed several times at the same piece of work: out of memory? Use fewer"
                )
                raise ScsslError(message) from error
            yield result
            running.update(_submit(client, function, held, remaining, 1))
    finally:
        client.cancel([*running.futures, held])


def _submit(client: Any, function: Any, held: Any, jobs: Iterator[Any], n: int) -> list[Any]:
    chosen = [job for _, job in zip(range(n), jobs, strict=False)]
    return [client.submit(function, held, job, pure=False) for job in chosen]
