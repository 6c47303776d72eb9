"""Results on disk: one file per fit, written at once, so that a study that was stopped goes on where it was."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import FormatError, SettingsError
from scssl.files import read_described, whole

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scssl.study.methods import Job

SETTINGS: Final = "settings.json"
FORMAT, VERSION = "scssl-study", 1


class Store:
    """The folder of a study.

    Parameters
    ----------
    folder
        Where it is.
    fingerprint
        What results depend on beside their job; others are not taken for these.
    """

    def __init__(self, folder: Path, *, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint

    def path(self, job: Job) -> Path:
        """Return the file of a result."""
        return self.folder / "results" / f"{job.key}.json"

    def read(self, job: Job) -> dict[str, Any] | None:
        """Return a result with its ``predicted`` codes, or None if it is not there, damaged or of another study."""
        try:
            content = json.loads(self.path(job).read_text(encoding="utf-8"))
            if content["fingerprint"] != self.fingerprint:
                return None
            content["predicted"] = unpack(content["predicted"])
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError, zlib.error):
            return None
        return dict(content)

    def has(self, job: Job, *, n_test: int) -> bool:
        """Say whether a result is there, with a prediction for each of `n_test` cells."""
        result = self.read(job)
        return result is not None and len(result["predicted"]) == n_test

    def write(self, job: Job, *, predicted: NDArray[np.integer], **content: Any) -> None:
        """Write a result.

        Parameters
        ----------
        job
            What it is of.
        predicted
            (n_test,) codes.
        **content
            Plain values.
        """
        record = {"fingerprint": self.fingerprint, **content, "predicted": pack(predicted)}
        write_atomically(self.path(job), json.dumps(record, indent=1))
        self._failure(job).unlink(missing_ok=True)

    def fail(self, job: Job, message: str) -> None:
        """Note why a fit could not be made; it is tried again when the study is run again."""
        write_atomically(self._failure(job), _one_line(message))

    def failure(self, job: Job) -> str | None:
        """Return why a fit could not be made, None if it was never tried in vain."""
        file = self._failure(job)
        return file.read_text(encoding="utf-8") if file.is_file() else None

    def _failure(self, job: Job) -> Path:
        return self.path(job).with_suffix(".failed.txt")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def pack(codes: NDArray[np.integer]) -> str:
    """Return codes as text, about a byte or two each."""
    return base64.b64encode(zlib.compress(np.asarray(codes, dtype="<i4").tobytes())).decode("ascii")


def unpack(text: str) -> NDArray[np.int64]:
    """Return the codes that `pack` was given."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i4").astype(np.int64)


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is never there in part."""
    with whole(path) as place:
        place.write_text(text, encoding="utf-8")


def open_folder(folder: Path, identity: dict[str, Any], *, overwrite: bool) -> Store:
    """Open the folder of a study, new or to go on with.

    Parameters
    ----------
    folder
        Where.
    identity
        Plain values that all results depend on.
    overwrite
        Throw away the results of a study with others.

    Raises
    ------
    SettingsError
        If the folder holds something else, or a study with other settings; the message names them.
    """
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / SETTINGS).is_file()):
        message = f"{folder} exists and is not the folder of a study; choose another --out"
        raise SettingsError(message)
    other: list[str] = []
    if (folder / SETTINGS).is_file():
        before = read_settings(folder)["identity"]
        other = sorted(name for name in identity if before.get(name) != identity[name])
        if other and not overwrite:
            changes = ", ".join(
                f"{name} (was {_short(before.get(name))}, is {_short(identity[name])})" for name in other
            )
            message = (
                f"{folder} holds a study with other settings: {changes}. Choose another --out, or replace it with "
                "--overwrite"
            )
            raise SettingsError(message)
        if other:
            _empty(folder)
    if not (folder / SETTINGS).is_file() or other:
        content = {"format": FORMAT, "version": VERSION, "identity": identity}
        write_atomically(folder / SETTINGS, json.dumps(content, indent=2))
    return Store(folder, fingerprint=fingerprint)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of the study in a folder.

    Raises
    ------
    FormatError
        If the file is not that of a study.
    """
    file = folder / SETTINGS
    try:
        content, _ = read_described(file, named="a study", kind=FORMAT, newest=VERSION, version="version")
    except OSError as error:
        message = f"{file} is not the settings of a study: {error.strerror}"
        raise FormatError(message) from error
    if not isinstance(content.get("identity"), dict):
        message = f"{file} is not the settings of a study: it does not say what results depend on"
        raise FormatError(message)
    return content


def is_study(folder: Path) -> bool:
    """Say whether a folder is that of a study."""
    try:
        read_settings(folder)
    except FormatError:
        return False
    return True


def _empty(folder: Path) -> None:
    """Remove what belongs to a study, and nothing else."""
    import shutil

    for name in ("results", "models", "embeddings", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("verdict.json", "report.html"):
        (folder / name).unlink(missing_ok=True)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
