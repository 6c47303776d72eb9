"""What the files of a build are called, and how a change of one is noticed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scssl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True)
class Peek:
    """What is looked at of a file before anything is decided."""

    file: str
    name: str
    path: Path | None
    columns: list[str]
    origin: Any


def state_of(origin: Any) -> list[Any]:
    """Return what changes when a file is changed; of what is in memory or far away, nothing is known."""
    if not isinstance(origin, str | Path):
        return [repr(origin) if hasattr(origin, "experiment") else "memory"]
    path = Path(origin)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    stats = [file.stat() for file in files]
    return [
        str(path.resolve()),
        len(files),
        sum(s.st_size for s in stats),
        max((s.st_mtime_ns for s in stats), default=0),
    ]


def refuse_repeats(origins: Sequence[Any]) -> None:
    """Refuse a file that is given more than once, by whatever path."""
    paths = Counter(Path(origin).resolve() for origin in origins if isinstance(origin, str | Path))
    for path, n in paths.items():
        if n > 1:
            message = f"{path}: given {n} times; its cells would be in the corpus more than once"
            raise SettingsError(message)


def file_names(peeks: Sequence[Peek], taken: Collection[str]) -> list[str]:
    """Stems; where several files have the same, with as much of the folders in front as tells them apart.

    The ranges of a SOMA experiment share the experiment's name: the names of their cells are unique already.
    """
    wholes = [getattr(peek.origin, "experiment", None) for peek in peeks]
    names = [peek.name if whole is None else whole for peek, whole in zip(peeks, wholes, strict=True)]
    files = [i for i, whole in enumerate(wholes) if whole is None]
    ranges = {whole for whole in wholes if whole is not None}

    def repeated() -> set[str]:
        times = Counter(names[i] for i in files)
        return {name for name, n in times.items() if n > 1 or name in taken or name in ranges}

    for depth in range(1, 20):
        clash = repeated()
        for i in files:
            path = peeks[i].path
            if names[i] in clash and path is not None:
                names[i] = "/".join([*path.resolve().parts[1:-1][-depth:], peeks[i].name])
    clash = repeated()
    return [f"{name}-{i}" if i in files and name in clash else name for i, name in enumerate(names)]
