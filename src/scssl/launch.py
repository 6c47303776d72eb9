"""Run a function in several processes of this machine, which find each other as those of torchrun do."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scssl import errors, log
from scssl.cores import CHOSEN_BY, n_cores
from scssl.interruption import Interrupted, Signals
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE: Final = 60.0
"""Seconds that the others get to end after a process that was interrupted has saved and ended."""
POLL: Final = 0.05
LAUNCHED: Final = "SCSSL_LAUNCHED"
"""Environment variable of processes that were started here."""


def launch(target: str, arguments: Sequence[dict[str, Any]], *, environments: Sequence[dict[str, str]] = ()) -> None:
    """Call a function in one process each, with the environment that torchrun would give them, and wait.

    Signals to end are passed on. When a process fails the others are ended, and its error is raised here; when this
    process is gone, however it ended, they end by themselves.

    Parameters
    ----------
    target
        ``"package.module:function"``.
    arguments
        Keyword arguments of each process, plain values.
    environments
        Variables for each process beside those common to all.

    Raises
    ------
    ScsslError
        Of the kind, and with the words, of the process that failed.
    Interrupted
        If a signal ended them.
    RuntimeError
        For any other failure.
    """
    n = len(arguments)
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "NODE_RANK": "0",
        LAUNCHED: "1",
    }
    common |= {"WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n)}
    if not any(name in os.environ for name in CHOSEN_BY):
        common["OMP_NUM_THREADS"] = str(max(1, n_cores() // n))
    with tempfile.TemporaryDirectory() as scratch, Signals() as signals:
        signals.deferring = True
        processes: list[subprocess.Popen] = []
        words = [Path(scratch) / f"{rank}.json" for rank in range(n)]
        try:
            for rank in range(n):
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank), **(environments[rank] if environments else {})}
                process = subprocess.Popen(
                    [sys.executable, "-m", "scssl.launch", target, str(words[rank])],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    env=common | own,
                    # Ctrl-C in a terminal goes to all processes of a session; here it is passed on instead.
                    start_new_session=True,
                )
                processes.append(process)
                _tell(process, {"arguments": arguments[rank], "level": _level()})
            _wait(processes, signals)
            failed = {rank: process.returncode for rank, process in enumerate(processes) if process.returncode}
        finally:
            _end(processes)
        if failed:
            raise _error(failed, words)


def _level() -> int:
    """Return the level of the log where messages go anywhere, else 0."""
    return logger.level if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers) else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tell(process: subprocess.Popen, message: dict[str, Any]) -> None:
    assert process.stdin is not None
    # A process that has died already says so by its exit code.
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def _wait(processes: list[subprocess.Popen], signals: Signals) -> None:
    """Return when all have ended, or soon after one has failed."""
    passed_on = 0
    deadline = float("inf")
    while None in [process.poll() for process in processes] and time.monotonic() < deadline:
        for number in signals.received[passed_on:]:
            for process in processes:
                process.send_signal(number)
            passed_on += 1
        if deadline == float("inf") and any(process.returncode for process in processes):
            # Those that were interrupted end together; those of which one has failed would wait for it in vain.
            deadline = time.monotonic() + (PATIENCE if passed_on else 1.0)
        time.sleep(POLL)


def _end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        process.wait()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()


def _error(failed: dict[int, int], words: Sequence[Path]) -> BaseException:
    """Return the error that says most: a mistake, a signal, a process that was killed, else the first to fail."""
    files = sorted((words[rank] for rank in failed if words[rank].is_file()), key=lambda file: file.stat().st_mtime_ns)
    told = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for word in told:
        if (kind := getattr(errors, word.get("kind", ""), None)) is not None:
            error: BaseException = kind(word["message"])
            return error
    for word in told:
        if word.get("kind") == Interrupted.__name__:
            stop = Interrupted(word["signal"])
            stop.advice = word["advice"]
            return stop
    for rank, code in failed.items():
        if code < 0:
            hint = " (out of memory?)" if code == -signal.SIGKILL else ""
            message = f"process {rank} of {len(words)} was ended by {signal.Signals(-code).name}{hint}"
            return errors.ScsslError(message)
    what = told[0] if told else {"message": f"exit codes {sorted(set(failed.values()))}"}
    error = RuntimeError(f"one of {len(words)} processes failed: {what['message']}")
    error.add_note(what.get("trace", ""))
    return error


@contextmanager
def _telling(file: Path) -> Iterator[None]:
    """Leave word of an error, and end the process."""
    told: dict[str, Any]
    try:
        yield
    except errors.ScsslError as error:
        told, code = {"kind": type(error).__name__, "message": str(error)}, 2
    except KeyboardInterrupt as stop:
        code = getattr(stop, "exit_code", 130)
        told = {"kind": Interrupted.__name__, "signal": code - 128, "advice": getattr(stop, "advice", "")}
    except BaseException as error:  # noqa: BLE001 (handed to the process that waits)
        import traceback

        told, code = {"message": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}, 1
    else:
        return
    part = file.with_suffix(".part")
    part.write_text(json.dumps(told), encoding="utf-8")
    part.rename(file)
    sys.stderr.flush()
    # At once: to leave a group of processes in good order needs those that have failed.
    os._exit(code)


def _end_with_parent() -> None:
    # Nothing is ever written: the read ends when the other end of the pipe is closed, however that came about.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _listen() -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n") and (piece := os.read(sys.stdin.fileno(), 1 << 16)):
        line += piece
    told: dict[str, Any] = json.loads(line)
    return told


def main() -> None:
    """Be one of the processes: read the arguments, call the function."""
    target, file = sys.argv[1:]
    told = _listen()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if told["level"]:
        log.configure(quiet=told["level"] > logging.INFO)
    if "SCSSL_DEBUG" not in os.environ:
        warnings.simplefilter("ignore")
    module, _, name = target.partition(":")
    with _telling(Path(file)):
        getattr(import_module(module), name)(**told["arguments"])


if __name__ == "__main__":
    main()
