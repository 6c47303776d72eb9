"""Saved tasks: a folder of settings as JSON, with the checksums of all its files, of arrays, and of the model."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from scssl.errors import DataError, FormatError, SettingsError
from scssl.files import read_described, take_place, usual_permissions, why_unwritable
from scssl.tasks.seal import KEYS, check, seal
from scssl.training.config import from_dict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from scssl.model.cell_model import CellModel

MODEL: Final = "model"
"""Folder of the model, in that of a task."""
_UNUSABLE = (DataError, SettingsError, KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError)

SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the folders of one kind of task have in common, and how they are written and read."""

    named: str
    """With its article, such as ``"an annotator"``; for messages."""
    format: str
    version: int
    settings: str
    """File with the settings: what makes a folder one of these."""
    holds: Mapping[str, type] = field(default_factory=dict)
    """What the settings must hold, and its types."""
    sealed: int = 1
    """Version from which on there are checksums."""

    @property
    def what(self) -> str:
        """The name without its article."""
        return self.named.partition(" ")[2]

    def is_at(self, path: Path) -> bool:
        """Say whether a folder is one of these."""
        return (path / self.settings).is_file()

    def check_place(self, path: Path, *, overwrite: bool, option: str = "") -> None:
        """Nothing but one of these is replaced by another.

        Parameters
        ----------
        path
            Folder to make.
        overwrite
            Whether one of these that is there may be replaced.
        option
            Option of the command that says where; "" in Python.

        Raises
        ------
        SettingsError
            If there is something else at `path`, `overwrite` was not asked for, or it cannot be written.
        """
        if path.exists() and not (overwrite and self.is_at(path)):
            fix = f"choose another folder for {option}" if option else "choose another folder"
            if overwrite:
                fix = f"it is not {self.named}, {fix}"
            else:
                fix += ", or add --overwrite" if option else ", or overwrite it"
            message = f"{path} exists already; {fix}"
            raise SettingsError(message)
        if problem := why_unwritable(path):
            message = f"{path}: {problem}"
            raise SettingsError(message)

    @contextmanager
    def new(self, path: Path, *, overwrite: bool) -> Iterator[Path]:
        """Give a folder to fill and to `close`, which takes its place only when complete; see `check_place`."""
        self.check_place(path, overwrite=overwrite)
        parent = path.absolute().parent
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{path.name}-") as scratch:
            folder = Path(scratch) / "new"
            folder.mkdir()
            yield folder
            take_place(folder, path)

    def close(self, folder: Path, content: Mapping[str, Any]) -> None:
        """Write the settings, with the checksum of every file that is in the folder yet.

        Parameters
        ----------
        folder
            That of `new`; what comes into it later has no checksum.
        content
            Plain values.
        """
        own = {"format": self.format, "format_version": self.version, "scssl_version": version("scssl")}
        (folder / self.settings).write_text(seal(folder, {**own, **content}), encoding="utf-8", newline="\n")

    def write(
        self,
        path: Path,
        content: Mapping[str, Any],
        *,
        model: Any,
        arrays: Mapping[str, Mapping[str, Any]],
        overwrite: bool,
    ) -> None:
        """Write a folder that appears only when complete.

        Parameters
        ----------
        path, overwrite
            See `check_place`.
        content
            Plain values for the settings.
        model
            Model of the task.
        arrays
            By file, then by name; a file without any is left out.

        Raises
        ------
        SettingsError
            If the model is none that can be saved, or for `path` see `check_place`.
        """
        if not hasattr(model, "save"):
            message = f"{self.named} on a {type(model).__name__} cannot be saved, only one on a scssl.CellModel"
            raise SettingsError(message)
        with self.new(path, overwrite=overwrite) as folder:
            model.save(folder / MODEL)
            for name, group in arrays.items():
                if group:
                    write_arrays(folder / name, group)
            self.close(folder, content)

    def read(self, path: Path) -> dict[str, Any]:
        """Read the settings of a folder, and check it against its checksums. Nothing is executed.

        Raises
        ------
        FormatError
            If anything is missing, altered, malformed or of a later version.
        """
        file = path / self.settings
        if not file.is_file():
            message = f"{path} is not {self.named}: it has no {self.settings}"
            raise FormatError(message)
        content, text = read_described(file, named=f"{self.named} of scssl", kind=self.format, newest=self.version)
        # One that lost its version is still known by its checksums.
        if content["format_version"] >= self.sealed or any(key in content for key in KEYS):
            check(file, text=text, content=content, what=self.what)
        for name, kind in self.holds.items():
            if not isinstance(content.get(name), kind):
                message = f"{file} is incomplete or malformed: {name!r} is missing, or is no {kind.__name__}"
                raise FormatError(message)
        return content

    @contextmanager
    def using(self, file: Path) -> Iterator[None]:
        """Name a file whose content turns out not to be usable."""
        try:
            yield
        except _UNUSABLE as error:
            message = f"{file} does not fit {file.with_name(self.settings)}: altered, or of another {self.what}"
            if file.name == self.settings:
                message = f"{file} is incomplete or malformed: {error}"
            raise FormatError(message) from error

    def own_settings(self, cls: type[SettingsT], content: Mapping[str, Any], path: Path) -> SettingsT:
        """Return the settings of the task among what a folder's settings hold."""
        with self.using(path / self.settings):
            given = {f.name: content[f.name] for f in fields(cls) if f.name in content}  # type: ignore[arg-type]
            return from_dict(cls, given, where=str(path / self.settings))


def read_model(path: Path) -> CellModel:
    """Read the model in the folder of a task."""
    from scssl.model.cell_model import load

    return load(path / MODEL)


def write_arrays(file: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, file)
    usual_permissions(file)


def read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """Read arrays by name.

    Raises
    ------
    FormatError
        If the file is missing, or is no file of arrays.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        message = f"{file} cannot be read, it is missing, truncated or altered: {error}"
        raise FormatError(message) from error


def take(
    arrays: Mapping[str, NDArray[Any]], name: str, *, shape: tuple[int | None, ...], dtype: Any = np.float32
) -> NDArray[Any]:
    """Return one of the arrays of a file, which has to be finite and of a type and shape (None: of any length).

    Raises
    ------
    ValueError
        If there is no such array, for `Kind.using`.
    """
    array = arrays.get(name)
    if (
        array is None
        or array.dtype != dtype
        or array.ndim != len(shape)
        or any(length not in (None, found) for length, found in zip(shape, array.shape, strict=True))
        or not np.isfinite(array).all()
    ):
        raise ValueError(name)
    return array
