"""The capsule of a run: capsule.json, with all that is needed to know whether the run is what it was."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from scssl.corpus.format.manifest import checksum, file_entries
from scssl.environment import command_line, expanded, machine, shortened, versions
from scssl.errors import FormatError
from scssl.files import read_described

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FILE: Final = "capsule.json"
FORMAT: Final = "scssl-capsule"
VERSION: Final = 1
MAX_BYTES: Final = 64 * 2**20
PARTS: Final = ("settings", "seeds", "data", "genes", "environment", "metrics", "files")
"""What every capsule has."""
LEFT_OUT: Final = (FILE, "report.html", "README.md")
"""The capsule itself, what is made anew at any time, and the card, in which people may write."""
LIVE: Final = (Path("/proc"), Path("/sys"))
"""What the system makes up while it is read, without end."""

State = Literal["same", "differs", "other", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of one thing that was checked."""

    what: str
    state: State
    """``same``; ``differs``: the run is not what it was; ``other``: differs without harm, such as a newer package;
    ``unknown``: could not be recomputed."""
    text: str
    """What was found, in words."""


def environment() -> dict[str, Any]:
    """Return what a run ran on: ``versions``, ``machine``, ``command``, and the ``folder`` in which it was given."""
    return {"versions": versions(), "machine": machine(), "command": command_line(), "folder": shortened(Path.cwd())}


def describe_input(path: Path) -> dict[str, Any]:
    """Return what tells whether an input is still the same: ``path``, ``bytes``, ``sha256``, of a folder ``files``.

    Parameters
    ----------
    path
        File or folder. Of a folder, pages, cards and logs do not count.
    """
    full = path.resolve()
    if full.is_file():
        return {"path": shortened(full), "bytes": full.stat().st_size, "sha256": checksum(full)}
    return {"path": shortened(full), **_of_folder(full, list(_files_in(full)))}


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files of an input, and links to files. Links to folders are not followed."""
    skipped = {*LEFT_OUT, "logs"}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in skipped]
        yield from (file for name in names if name not in skipped and (file := Path(place, name)).is_file())


def _of_folder(folder: Path, files: list[Path]) -> dict[str, Any]:
    entries = file_entries(folder, files)
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
    return {"bytes": sum(entry["bytes"] for entry in entries.values()), "files": len(entries), "sha256": digest}


def check_inputs(inputs: Iterable[Any]) -> list[Finding]:
    """Compare the inputs of a run with what is now where they were.

    Parameters
    ----------
    inputs
        As `describe_input` gives them, with ``name``. Anyone may have written them: no more is read than they say there
        is.
    """
    found = []
    for one in inputs:
        if not isinstance(one, dict) or not isinstance(one.get("path"), str) or not one.get("sha256"):
            continue
        name = Path(str(one.get("name", one["path"]))).name
        try:
            state, text = _compared(expanded(one["path"]), one)
        except (OSError, RuntimeError, ValueError) as error:
            # Not for this user to read; links that lead to themselves; no name of a file.
            state, text = "unknown", f"cannot be read ({error})"
        found.append(Finding(what="data", state=state, text=f"{name} {text}"))
    return found


def _compared(place: Path, one: Mapping[str, Any]) -> tuple[State, str]:
    """Compare an input with what is there now: sizes first, for checksums may take minutes."""
    full = place.resolve()
    if not full.exists():
        return "unknown", f"is no longer at {one['path']}"
    if not place.is_absolute() or any(full.is_relative_to(live) or live.is_relative_to(full) for live in LIVE):
        return "unknown", f"cannot have been at {one['path']}"
    altered = f"at {one['path']} is not what the run read: it was altered or replaced"
    same = f"at {one['path']} is what the run read"
    if full.is_file():
        size = full.stat().st_size
        is_same = size == one.get("bytes") and checksum(full) == one["sha256"]
        return ("same", same) if is_same else ("differs", altered)
    files, n_bytes = [], 0
    for file in _files_in(full):
        if file.is_symlink() and not file.resolve().is_relative_to(full):
            return "unknown", f"at {one['path']} has links to other places, which are not followed"
        files.append(file)
        n_bytes += file.stat().st_size
        if n_bytes > _number(one.get("bytes")) or len(files) > _number(one.get("files", len(files))):
            return "differs", altered
    is_same = n_bytes == one.get("bytes") and len(files) == one.get("files", len(files))
    is_same = is_same and _of_folder(full, files)["sha256"] == one["sha256"]
    return ("same", same) if is_same else ("differs", altered)


def _number(value: Any) -> int:
    return value if isinstance(value, int) else -1


def write_capsule(
    folder: Path,
    *,
    what: str,
    settings: Mapping[str, Any],
    seeds: Mapping[str, Any],
    data: Mapping[str, Any],
    genes: Mapping[str, Any],
    metrics: Mapping[str, Any],
    leave_out: Iterable[str] = (),
) -> None:
    """Write the capsule of a run into its folder, which is complete but for it.

    Parameters
    ----------
    folder
        Folder of the run.
    what
        What kind of run it was.
    settings
        All settings, plain values.
    seeds
        By what they are for.
    data
        What the cells were: names, sizes, hashes.
    genes
        What the genes were: number and hash.
    metrics
        What came out.
    leave_out
        Names in the folder that are no part of the run's outcome, such as logs.
    """
    skipped = {*LEFT_OUT, *leave_out}
    files = [path for path in folder.rglob("*") if path.is_file() and not skipped & set(path.relative_to(folder).parts)]
    content = {
        "format": FORMAT,
        "version": VERSION,
        "what": what,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "settings": settings,
        "seeds": seeds,
        "data": data,
        "genes": genes,
        "environment": environment(),
        "metrics": metrics,
        "files": file_entries(folder, files),
    }
    temporary = folder / f".{FILE}.tmp"
    temporary.write_text(json.dumps(content, indent=1, default=str), encoding="utf-8", newline="\n")
    temporary.replace(folder / FILE)


def read_capsule(folder: Path) -> dict[str, Any] | None:
    """Read the capsule of a run, None if it has none.

    Raises
    ------
    FormatError
        If it is malformed or of a later version.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    content, _ = read_described(file, named="a run", kind=FORMAT, newest=VERSION, version="version", largest=MAX_BYTES)
    wrong = [part for part in ("data", "environment") if not isinstance(content.get(part, {}), dict)]
    if wrong or not isinstance(content.get("files"), dict):
        message = f"{file} is not the capsule of a run: what it says of {(wrong or ['files'])[0]} is no table"
        raise FormatError(message)
    return content


def check_complete(content: Mapping[str, Any]) -> Finding:
    """Say whether a capsule has all its parts."""
    absent = [name for name in PARTS if not content.get(name)]
    if absent:
        return Finding(what="capsule", state="differs", text=f"lacks {', '.join(absent)}")
    return Finding(what="capsule", state="same", text=f"has {', '.join(PARTS)}")


def check_files(folder: Path, files: Mapping[str, Any]) -> Finding:
    """Compare files with their recorded sizes and checksums.

    Parameters
    ----------
    folder
        Where they are.
    files
        As `scssl.corpus.format.manifest.file_entries` gives them.
    """
    problems = []
    for name, entry in files.items():
        file = folder / name
        # A capsule may come from someone else: nothing outside of its folder is read.
        if not isinstance(entry, dict) or not _is_inside(file, folder):
            problems.append(f"{name!r} is no file of a run")
        elif not file.is_file():
            problems.append(f"{name} is missing")
        elif file.stat().st_size != entry.get("bytes"):
            problems.append(f"{name} has {file.stat().st_size:,} bytes, not {entry.get('bytes')}")
        elif checksum(file) != entry.get("sha256"):
            problems.append(f"{name} was altered")
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        return Finding(what="files", state="differs", text="; ".join(problems[:5]) + more)
    return Finding(what="files", state="same", text=f"{len(files)} as they were written")


def _is_inside(file: Path, folder: Path) -> bool:
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        # Links that lead to themselves, or what is no name of a file.
        return False


def check_environment(then: Mapping[str, Any]) -> Finding:
    """Compare the packages of a run with those that are installed now.

    Parameters
    ----------
    then
        Package to version.
    """
    now = versions()
    changed = [
        f"{name} {number} then, {now.get(name, 'none')} now" for name, number in then.items() if now.get(name) != number
    ]
    if not then:
        return Finding(what="environment", state="unknown", text="not recorded")
    if changed:
        return Finding(what="environment", state="other", text="; ".join(changed))
    return Finding(what="environment", state="same", text=f"{len(then)} packages as they were")
