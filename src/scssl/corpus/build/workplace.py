"""The hidden folder that a corpus is made in: claimed by one process, gone on with after an interruption."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from scssl.errors import ScsslError, SettingsError
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OWNER: Final = "owner"
_PLAN: Final = "plan"
SILENCE: Final = 3600.0
"""Seconds after which a process on another machine, whose life cannot be told, is taken for dead."""


@contextmanager
def workplace(out: Path, *, fingerprint: str) -> Iterator[Path]:
    """Give a folder beside `out` to work in.

    It is removed when the work is done, and when it failed by a mistake in the input. After anything else (a kill,
    Ctrl-C, a full disk) it stays, and the next one to ask with the same fingerprint finds it as it was.

    Parameters
    ----------
    out
        What is being made.
    fingerprint
        Tells whether what is there belongs to the same work.

    Raises
    ------
    SettingsError
        If another process is at work there.
    """
    work = out.parent / f".{out.name}.building"
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(work)
    claim = work.with_name(f"{work.name}-{secrets.token_hex(4)}")
    try:
        _make(claim)
        (claim / _PLAN).write_text(fingerprint)
        if work.exists():
            _take_over(work, claim, fingerprint)
        try:
            # In one step and with the owner in it, so that of two builds that start together one gets it.
            claim.rename(work)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise _taken(work) from error
    except BaseException:
        shutil.rmtree(claim, ignore_errors=True)
        raise
    try:
        yield work
    except ScsslError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    except BaseException as error:
        (work / _OWNER).unlink(missing_ok=True)
        size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file()) / 1e9
        kept = f"what is done is kept in {work} ({size:.1f} GB): run the same command again to go on, or delete it"
        if isinstance(error, KeyboardInterrupt):
            error.args = (f"interrupted: {kept}",)
        else:
            logger.warning("stopped: %s", kept)
        raise
    shutil.rmtree(work, ignore_errors=True)


def _make(folder: Path) -> None:
    folder.mkdir()
    (folder / _OWNER).write_text(f"{socket.gethostname()} {os.getpid()}")


def publish_done(work: Path) -> None:
    """Say that all is done and in its place: what is still here is not to be gone on with, only to be removed."""
    (work / _PLAN).unlink(missing_ok=True)


def keep_alive(work: Path) -> None:
    """Show processes on other machines that the work goes on; to be called every few minutes."""
    (work / _OWNER).touch()


def _take_over(work: Path, claim: Path, fingerprint: str) -> None:
    """Move what an interrupted build left into our claim if it is the same build, else remove it."""
    if _read_owner(work) is not None:
        raise _taken(work)
    kept = work.with_name(f"{work.name}-{secrets.token_hex(4)}")
    try:
        _make(kept)
        # One of several that try gets it.
        work.rename(kept / "left")
        left = kept / "left"
        if (left / _PLAN).is_file() and (left / _PLAN).read_text() == fingerprint:
            for path in left.iterdir():
                if path.name not in (_OWNER, _PLAN):
                    path.rename(claim / path.name)
        else:
            logger.info("%s: removing what another build that was interrupted left behind", work)
    except FileNotFoundError:
        logger.debug("%s: taken by another process", work)
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def _remove_abandoned(work: Path) -> None:
    """Remove claims of processes that were killed within a moment of making them."""
    for claim in work.parent.glob(f"{work.name}-*"):
        with suppress(OSError):
            if (claim / _OWNER).is_file() and _read_owner(claim) is None:
                shutil.rmtree(claim, ignore_errors=True)


def _taken(work: Path) -> SettingsError:
    message = (
        f"{work}: process {_read_owner(work)} is building this corpus now. Wait for it, or, if there is no such "
        "process, delete this folder"
    )
    return SettingsError(message)


def _read_owner(work: Path) -> int | None:
    """Return the number of the process that works in the folder, None when it no longer runs."""
    try:
        host, pid = (work / _OWNER).read_text().split()
        if host != socket.gethostname():
            return int(pid) if time.time() - (work / _OWNER).stat().st_mtime < SILENCE else None
        if int(pid) == os.getpid():
            return None
        os.kill(int(pid), 0)
    except PermissionError:
        return int(pid)  # somebody else's, and alive
    except (OSError, ValueError):
        return None
    return int(pid)
