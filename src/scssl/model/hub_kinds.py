"""What can be fetched from the hub: models and saved tasks, each with the files that are taken of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scssl.files import MAX_BYTES
from scssl.model.files import CARD, CONFIG, GENES, MAX_TEXT_BYTES, PROGRAMMES, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NEEDED: Final = (CONFIG, GENES, WEIGHTS)
FILES: Final = (*NEEDED, CARD, PROGRAMMES)
"""All that is ever taken of a model, whatever else its repository or folder holds."""
INSIDE: Final = "model"
"""Folder of the model in that of a saved task."""
MODEL: Final = "a model"
TASKS: Final = {
    "an annotator": ("annotator.json", "reference.safetensors", "classifier.safetensors", "trust.safetensors"),
    "an integrator": ("integrator.json", "study.safetensors"),
    "a reconstructor": ("reconstructor.json", "spread.safetensors"),
    "a simulator": ("simulator.json", "simulator.safetensors"),
    "a translator": ("translator.json", "translator.safetensors"),
}
"""Saved tasks and their own files, the settings first; these are written by the rooms of the tasks."""
MAX_ARRAYS_BYTES: Final = 2**34
"""The codes of 60 million cells take as much."""


def kind_of(names: Iterable[str]) -> str | None:
    """Return what files make, with its article; None if they are not all that a model or task needs.

    Parameters
    ----------
    names
        Files that there are, by their paths.
    """
    return next(iter(kinds_of(names)), None)


def kinds_of(names: Iterable[str]) -> list[str]:
    """Return all that files make, each with its article: a repository may hold what pushes of several kinds left.

    Parameters
    ----------
    names
        Files that there are, by their paths.
    """
    there = set(names)
    found = [MODEL] if there.issuperset(NEEDED) else []
    if there.issuperset(f"{INSIDE}/{name}" for name in NEEDED):
        found += [kind for kind, own in TASKS.items() if own[0] in there]
    return found


def kind_at(folder: Path) -> str | None:
    """Return what a folder holds, whole or not, by the file that makes it one; None if it is nothing of scssl."""
    if (folder / CONFIG).is_file():
        return MODEL
    return next((kind for kind, own in TASKS.items() if (folder / own[0]).is_file()), None)


def files_of(kind: str) -> tuple[str, ...]:
    """Return all files that a kind may have, the config of the model first."""
    return FILES if kind == MODEL else (*(f"{INSIDE}/{name}" for name in FILES), *TASKS[kind], CARD)


def taken(names: Iterable[str]) -> tuple[str, ...]:
    """Return which files of a repository are taken: a model's, or a saved task's and those of the model within.

    Parameters
    ----------
    names
        Files that there are, by their paths.

    Returns
    -------
    tuple of str
        The config first. It is fetched last: where it is, the rest was. Empty, if it is neither.
    """
    there = set(names)
    kind = kind_of(there)
    return () if kind is None else tuple(name for name in files_of(kind) if name in there)


def names_in(folder: Path) -> set[str]:
    """Return the paths of all files in a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def taken_in(folder: Path) -> tuple[str, ...]:
    """Return which files of a folder were, or would be, taken."""
    return taken(names_in(folder))


def largest(name: str) -> int:
    """Return the bytes that a file of this name has at most."""
    if name.endswith(".safetensors"):
        return MAX_ARRAYS_BYTES
    return MAX_BYTES if any(name == own[0] for own in TASKS.values()) else MAX_TEXT_BYTES
