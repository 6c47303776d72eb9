"""What the tasks left in a file, read back: one record per task, oldest first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scssl import keys
from scssl.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

KINDS = ("embed", "annotate", "integrate", "reconstruct", "translate", "simulate")
"""Tasks whose results a page explains; of others it shows the settings, and the cells."""


@dataclass(frozen=True, kw_only=True)
class FileTask:
    """What one task wrote to a file."""

    name: str
    """As in ``uns["scssl"]``."""
    settings: dict[str, Any]
    """Without the record and what is as long as there are genes."""
    record: dict[str, Any] = field(default_factory=dict)
    """What the command noted; empty for results that were written from Python."""

    @property
    def kind(self) -> str:
        """The task itself, without the word that the user chose for its results."""
        return next((kind for kind in KINDS if self.name == kind or self.name.startswith(f"{kind}_")), self.name)

    @property
    def word(self) -> str | None:
        """The word that stands in place of "scssl" in the names of the results."""
        return self.name.removeprefix(f"{self.kind}_") if self.name != self.kind else None

    def named(self, key: str) -> str:
        """Return the name that a key of `scssl.keys` has in the file."""
        return key if self.word is None else key.replace("scssl", self.word)

    @property
    def embedding(self) -> str | None:
        """Name in obsm of the embedding that the task wrote, if it writes one."""
        if self.kind == "integrate":
            return keys.INTEGRATED if self.word is None else self.word
        if self.kind == "embed":
            return str(self.settings.get("key", keys.EMBEDDING))
        return self.named(keys.EMBEDDING) if self.kind == "annotate" else None

    @property
    def scores(self) -> dict[str, Any]:
        """What the command scored; empty if nothing."""
        return dict(self.record.get("scores") or {})


@dataclass(frozen=True, kw_only=True)
class FileContent:
    """What a page needs to know of a file, apart from its matrices."""

    file: Path
    obs: pd.DataFrame
    obsm: dict[str, int]
    """Name to width of the arrays there are."""
    layers: list[str]
    tasks: list[FileTask]
    """Oldest first."""


def read_content(file: Path) -> FileContent:
    """Read what scssl wrote to a file, and its annotation of cells.

    Parameters
    ----------
    file
        .h5ad that a command of scssl wrote, or that an AnnData with results of scssl was saved to.

    Raises
    ------
    FormatError
        If it is no such file, or scssl has written nothing to it.
    """
    import h5py
    from anndata.io import read_elem

    from scssl.corpus.sources.source import Reading, open_source, plain_strings

    if not h5py.is_hdf5(file) or file.suffix == ".h5mu":
        message = (
            f"{file}: not an .h5ad file. Give a file that scssl annotate, embed, integrate, reconstruct, translate or "
            "simulate wrote, or the folder of a model, a study or a comparison"
        )
        raise FormatError(message)
    with open_source(file, obs_columns=[]):
        pass
    with Reading(str(file)), h5py.File(file) as store:
        found = read_elem(store["uns"][keys.SETTINGS]) if keys.SETTINGS in store.get("uns", {}) else None
        obs = plain_strings(read_elem(store["obs"]))
        obsm = {name: int(item.shape[1]) for name, item in store.get("obsm", {}).items() if hasattr(item, "shape")}
        layers = list(store.get("layers", {}))
    tasks = [_task(str(name), value, file=file) for name, value in found.items()] if isinstance(found, Mapping) else []
    if not tasks:
        message = (
            f"{file}: nothing of scssl's is in it (no uns[{keys.SETTINGS!r}]). Give the --out of scssl annotate, "
            "embed, integrate, reconstruct, translate or simulate"
        )
        raise FormatError(message)
    tasks.sort(key=lambda task: str(task.record.get("created", "")))
    return FileContent(file=file, obs=obs, obsm=obsm, layers=layers, tasks=tasks)


def _task(name: str, value: Any, *, file: Path) -> FileTask:
    if not isinstance(value, Mapping):
        return FileTask(name=name, settings={})
    record: Any = {}
    if (text := value.get(keys.RECORD)) is not None:
        try:
            record = json.loads(str(text))
        except ValueError as error:
            message = f"{file}: uns[{keys.SETTINGS!r}][{name!r}][{keys.RECORD!r}] is not readable as JSON ({error})"
            raise FormatError(message) from error
    settings = {str(key): _plain(content) for key, content in value.items() if key != keys.RECORD}
    return FileTask(
        name=name,
        settings={key: content for key, content in settings.items() if content is not None},
        record=record if isinstance(record, dict) else {},
    )


def _plain(value: Any) -> Any:
    """Return a setting as plain values, None for what is too long to be read."""
    if isinstance(value, Mapping):
        return {str(key): _plain(content) for key, content in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    return None if isinstance(value, list) and len(value) > 50 else value
