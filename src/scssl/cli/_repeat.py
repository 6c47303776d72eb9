"""The command of a run, given again in a scratch folder, and what comes out held against what the run holds."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scssl.cli._repeat_command import UnrepeatableError, command_again
from scssl.cli._repeat_compare import differences
from scssl.errors import ScsslError
from scssl.log import logger
from scssl.model.capsule import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping


def repeat(run: Path, ran: Mapping[str, Any]) -> Finding:
    """Give the command of a run again, and compare what it writes.

    Parameters
    ----------
    run
        Folder or .h5ad of the run.
    ran
        ``command`` and the ``folder`` in which it was given.
    """
    with tempfile.TemporaryDirectory(prefix="scssl-repeat-") as scratch:
        try:
            given = command_again(ran, scratch=Path(scratch))
        except UnrepeatableError as error:
            return Finding(what="repeated", state="unknown", text=str(error))
        again = _place_of(run, given.places)
        logger.info("giving the command again: %s", shlex.join(["scssl", *given.words]))
        done = _run(given.words, Path(scratch))
        if done.returncode or again is None or not again.exists():
            why = (done.stderr.strip().splitlines() or ["it wrote nothing to compare"])[-1]
            return Finding(what="repeated", state="differs", text=f"the command does not run again: {why}")
        try:
            parts = list(differences(run, again))
        except (ScsslError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            return Finding(what="repeated", state="differs", text=f"what it holds cannot be compared: {error}")
    wrong = [text for text in parts if text]
    if not parts:
        return Finding(what="repeated", state="unknown", text="it holds nothing that can be compared")
    if wrong:
        return Finding(what="repeated", state="differs", text="; ".join(wrong[:5]))
    return Finding(
        what="repeated", state="same", text=f"{len(parts)} tables, arrays and sets of scores came out as before"
    )


def _run(words: list[str], scratch: Path) -> subprocess.CompletedProcess[str]:
    """Run scssl in an empty folder: Python and libraries load code and settings from the folder they are started in."""
    here = scratch / "here"
    here.mkdir()
    places = [str(Path(place).resolve()) for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    safe = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(places), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "scssl.cli.app", *words, "--quiet"],
        cwd=here,
        # Processes that it starts inherit this.
        env=os.environ | safe,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _place_of(run: Path, places: Mapping[Path, Path]) -> Path | None:
    """Return where the new run is: it may have been moved or renamed since, but a file stays one."""
    for old, new in places.items():
        if os.path.realpath(old) == os.path.realpath(run):
            return new
    alike = [new for old, new in places.items() if old.name == run.name]
    alike += [new for new in places.values() if bool(new.suffix) == run.is_file()]
    return alike[0] if alike else None
