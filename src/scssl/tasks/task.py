"""What the tasks have in common: a model, something learned with it, and a folder in which both are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from scssl.errors import SettingsError

if TYPE_CHECKING:
    from typing import Self

    from scssl.model.cell_model import CellModel

ModelT = TypeVar("ModelT")
SettingsT = TypeVar("SettingsT")
FittedT = TypeVar("FittedT")


def open_model(model: ModelT | Path | str) -> tuple[ModelT | CellModel, str]:
    """Return a model, read from its folder if that is given, and what it is called."""
    if not isinstance(model, str | Path):
        return model, "in memory"
    from scssl.model.cell_model import load

    return load(model), str(model)


class SavedTask(Generic[SettingsT, FittedT]):
    """What tasks have in common that learn from cells and can be kept."""

    settings: SettingsT
    fitted: FittedT | None
    model_name: str
    _files: Any
    """Module that writes and reads what was learned."""
    _fit_first: str
    """What to say where nothing was."""

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the task, its model included, to a folder that works alone.

        Parameters
        ----------
        path
            Folder to make.
        overwrite
            Replace one of the same kind that is there.

        Raises
        ------
        SettingsError
            If `fit` has not been called, or there is something at `path`.
        """
        self._files.write(Path(path), self._fitted(), settings=self.settings, overwrite=overwrite)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote. Nothing is unpickled and nothing executed.

        Parameters
        ----------
        path
            The folder; or ``"owner/name"`` or ``"owner/name@revision"`` of what was published on the Hugging Face hub.

        Raises
        ------
        FormatError
            If the folder is no saved task of this kind, or is truncated, altered or of a later version.
        """
        from scssl.model.cell_model import find

        settings, fitted = cls._files.read(find(path))
        task = cls._from(fitted)
        task.settings, task.fitted, task.model_name = settings, fitted, str(path)
        return task

    @classmethod
    def _from(cls, fitted: Any) -> Self:
        return cls(fitted.model)  # type: ignore[call-arg]

    def _fitted(self) -> FittedT:
        if self.fitted is None:
            raise SettingsError(self._fit_first)
        return self.fitted
