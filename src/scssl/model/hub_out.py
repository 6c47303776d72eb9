"""What was fetched from the hub, copied to a folder of the user's: whole or not at all, and over nothing else."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from scssl.errors import SettingsError
from scssl.files import take_place, why_unwritable
from scssl.model.hub_kinds import files_of, kind_at, kind_of, taken_in


def check_out(out: Path, *, overwrite: bool) -> None:
    """Make sure, before anything is fetched, that there can be a place for it.

    Parameters
    ----------
    out
        Folder to make.
    overwrite
        Whether a model or task that is there may be replaced by another of its kind.

    Raises
    ------
    SettingsError
        If there is something that is not to be replaced, or nothing can be written there.
    """
    place = out.resolve()
    if place.exists() and not _is_empty(place):
        if not overwrite:
            message = f"{out} exists already; choose another folder, or overwrite it"
            raise SettingsError(message)
        kind = kind_at(place)
        if kind is None:
            message = f"{out} exists already; it is no model or task of scssl, choose another folder"
            raise SettingsError(message)
        # What people keep beside it, or a run with its checkpoints, would be lost with the folder.
        others = sorted(_all_in(place) - set(files_of(kind)))
        if others:
            message = f"{out} holds {others[0]}, which is no file of {kind} and would be lost; choose another folder"
            raise SettingsError(message)
    if Path.cwd().is_relative_to(place):
        message = f"{out} is the folder that this runs in, and cannot be replaced; choose one below it"
        raise SettingsError(message)
    if problem := why_unwritable(place):
        message = f"{out}: {problem}"
        raise SettingsError(message)


def copy_out(folder: Path, out: Path, *, overwrite: bool) -> None:
    """Copy a model or task that was fetched; see `check_out`.

    Parameters
    ----------
    folder
        Where it is, in the cache.
    out, overwrite
        See `check_out`.

    Raises
    ------
    SettingsError
        As `check_out`, or if what is to be replaced is of another kind.
    """
    check_out(out, overwrite=overwrite)
    place, names = out.resolve(), taken_in(folder)
    found, there = kind_of(names), kind_at(place)
    if there is not None and there != found:
        message = f"{out} holds {there}, and what was fetched is {found}; choose another folder"
        raise SettingsError(message)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as scratch:
        new = Path(scratch) / "new"
        for name in names:
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, new / name)
        take_place(new, place)


def _is_empty(place: Path) -> bool:
    return place.is_dir() and not any(place.iterdir())


def _all_in(place: Path) -> set[str]:
    # A link to a folder is somebody's as well.
    return {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_symlink() or not p.is_dir()}
