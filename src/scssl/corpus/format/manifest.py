"""The manifest of a corpus: ``corpus.json``, with the checksum of every file and of itself."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from scssl.errors import FormatError
from scssl.files import read_described

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FILE: Final = "corpus.json"
FORMAT: Final = "scssl-corpus"
VERSION: Final = 1
SPLITS: Final = ("train", "val", "test")
LARGEST: Final = 1 << 48
"""Bytes, cells or counts that no corpus reaches, and array sizes that can still be multiplied."""
_BLANK: Final = "0" * 64
_KEYS: Final = {
    "format": str,
    "version": int,
    "sha256": str,
    "package": str,
    "panel": dict,
    "sources": list,
    "columns": dict,
    "shards": list,
    "files": dict,
    "settings": dict,
    "report": dict,
}


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_entries(root: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Size and checksum of files, keyed by their path relative to `root`."""
    return {
        path.relative_to(root).as_posix(): {"bytes": path.stat().st_size, "sha256": checksum(path)}
        for path in sorted(files)
    }


def write_manifest(root: Path, content: Mapping[str, Any]) -> None:
    """Write ``corpus.json`` in one step: it is there completely or not at all.

    The checksum in it is that of the file with 64 zeros in the checksum's place.
    """
    head = {"format": FORMAT, "version": VERSION, "sha256": _BLANK}
    text = json.dumps({**head, **content}, indent=1, ensure_ascii=False, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    temporary = root / f".{FILE}.tmp"
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text.replace(_BLANK, digest, 1))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(root / FILE)


def read_manifest(root: Path) -> dict[str, Any]:
    """Read ``corpus.json`` and make sure that it is whole and of a version that this package knows.

    Raises
    ------
    FormatError
        If `root` is no corpus, the manifest is altered, or a newer version wrote it.
    """
    path = root / FILE
    if not root.exists():
        message = f"{root}: no such folder. A corpus is made with: scssl corpus build FILE... --out {root}"
        raise FormatError(message)
    if not path.is_file():
        fix = "A corpus is made with: scssl corpus build FILE... --out DIR"
        # As the demonstration has.
        fix = f"It holds one: give {root / 'corpus'}" if (root / "corpus" / FILE).is_file() else fix
        message = f"{root}: not a corpus, it has no {FILE}. {fix}"
        raise FormatError(message)
    content, text = read_described(
        path, named="a corpus", kind=FORMAT, newest=VERSION, version="version", largest=LARGEST,
        fix="The file is truncated or altered: build the corpus again",
    )  # fmt: skip
    digest = content.get("sha256")
    blanked = text.replace(digest, _BLANK, 1) if isinstance(digest, str) and digest else text
    if hashlib.sha256(blanked.encode()).hexdigest() != digest:
        message = f"{path}: its checksum does not fit its content: the file was altered. Build the corpus again"
        raise FormatError(message)
    wrong = [key for key, kind in _KEYS.items() if not isinstance(content.get(key), kind)]
    if not wrong:
        wrong = [key for key, fits in _entries_fit(content).items() if not fits]
    if wrong:
        message = f"{path}: {', '.join(map(repr, wrong))} missing or of the wrong type. Build the corpus again"
        raise FormatError(message)
    return content


def _entries_fit(content: Mapping[str, Any]) -> dict[str, bool]:
    """Say per key whether what it holds can be used; a file outside the corpus cannot."""
    panel, sources, report = content["panel"], content["sources"], content["report"].get("sources")
    return {
        "panel": _is_text(panel.get("name"), panel.get("fingerprint"), panel.get("species") or ""),
        "sources": all(isinstance(entry, dict) and _is_text(entry.get("name")) for entry in sources)
        and _are_names([entry["name"] for entry in sources]),
        "columns": all(isinstance(names, list) and _are_names(names) for names in content["columns"].values()),
        "settings": _is_text(content["settings"].get("split_by")),
        "files": all(is_entry(name, entry) for name, entry in content["files"].items()),
        "shards": all(
            isinstance(entry, dict)
            and _is_text(entry.get("path"))
            and entry.get("split") in SPLITS
            and _is_size(entry.get("first_cell"), entry.get("n_cells"), entry.get("n_nonzeros"))
            and entry.get("compress") in (None, "zstd")
            for entry in content["shards"]
        ),
        "report": isinstance(report, list)
        and len(report) == len(sources)
        and all(isinstance(entry, dict) and _is_tally(entry) for entry in report)
        and _are_reports(content["report"].get("files")),
    }


def is_entry(name: str, entry: Any) -> bool:
    """Whether this is an entry as `file_entries` makes them, of a file inside the folder.

    Parameters
    ----------
    name, entry
        As they were read.
    """
    inside = _is_inside(name) and isinstance(entry, dict)
    return inside and _is_size(entry.get("bytes")) and _is_text(entry.get("sha256"))


def _is_tally(entry: Mapping[str, Any]) -> bool:
    cells = entry.get("n_cells")
    return _is_text(entry.get("name")) and isinstance(cells, dict) and _is_size(*cells.values())


def _are_reports(entries: Any) -> bool:
    key = "n_left_out_by_where"
    return isinstance(entries, list) and all(isinstance(e, dict) and _is_size(e.get(key, 0)) for e in entries)


def _are_names(values: list[Any]) -> bool:
    return _is_text(*values) and len(set(values)) == len(values)


def _is_text(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_size(*values: Any) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST for value in values)


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def check_sizes(root: Path, content: Mapping[str, Any]) -> None:
    """Make sure that every file of the manifest is there and has its size.

    Raises
    ------
    FormatError
        Names the first file that is not.
    """
    for name, entry in content["files"].items():
        path = root / name
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            message = f"{path}: this file of the corpus is missing. Copy the corpus again, or build it again"
            raise FormatError(message) from error
        if size != entry["bytes"]:
            message = (
                f"{path}: has {size:,} bytes, {entry['bytes']:,} were written: the file is truncated or altered. "
                "Copy the corpus again, or build it again"
            )
            raise FormatError(message)


def check_files(root: Path, content: Mapping[str, Any]) -> list[str]:
    """Recompute all checksums; return one sentence per file that is missing, altered or unknown."""
    problems = []
    for name, entry in content["files"].items():
        path = root / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif path.stat().st_size != entry["bytes"]:
            problems.append(f"{name}: has {path.stat().st_size:,} bytes, {entry['bytes']:,} were written")
        elif checksum(path) != entry["sha256"]:
            problems.append(f"{name}: altered, its checksum differs")
    known = {FILE, *content["files"]}
    found = (path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file())
    problems.extend(f"{name}: not part of the corpus" for name in found if name not in known)
    return problems
