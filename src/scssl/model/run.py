"""The folder of a training run: what may be in it, what it leaves, and what outlives it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scssl.environment import shortened
from scssl.errors import FormatError, SettingsError
from scssl.model.capsule import write_capsule
from scssl.model.files import CARD, CONFIG, GENES, LAST, PROGRAMMES, RUN_SETTINGS, SAVING, WEIGHTS

if TYPE_CHECKING:
    from scssl.corpus import Corpus
    from scssl.model.cell_model import CellModel


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """A folder in which a model is being trained: its settings and checkpoints, before the model itself is there."""

    SETTINGS, CHECKPOINTS = RUN_SETTINGS, "checkpoints"
    OURS = frozenset(
        {
            SETTINGS,
            WEIGHTS,
            CONFIG,
            GENES,
            CARD,
            PROGRAMMES,
            "history.csv",
            "run.json",
            "capsule.json",
            "report.html",
            CHECKPOINTS,
            "logs",
        }
    )
    """Names of what a run, its model and its report are made of: a folder with anything else in it is not emptied."""

    path: Path | None
    resume: bool = False

    @classmethod
    def open(cls, path: Path | str | None, *, overwrite: bool, resume: bool) -> RunFolder:
        """Check that a run can be made or resumed at `path`, before any work starts; nothing is changed.

        Raises
        ------
        SettingsError
            If something is there already, or, to resume, nothing is.
        """
        if path is None:
            if resume:
                message = "to resume, give the folder of the interrupted run (out=, --out)"
                raise SettingsError(message)
            return cls(path=None)
        folder = Path(path)
        if resume and overwrite:
            message = "give either resume or overwrite, not both"
            raise SettingsError(message)
        if resume and not (folder / cls.SETTINGS).is_file():
            message = f"{folder} holds no interrupted run to resume (no {cls.SETTINGS})"
            raise SettingsError(message)
        if resume and (folder / CONFIG).is_file() and not (folder / cls.CHECKPOINTS / LAST).is_file():
            message = (
                f"{folder} holds a finished model, so there is nothing to resume; to train for longer, start anew with "
                "more epochs and another folder, or --overwrite"
            )
            raise SettingsError(message)
        if not resume and not overwrite and (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
            resumable = (folder / cls.SETTINGS).is_file() and not (folder / CONFIG).is_file()
            fix = (
                "go on with --resume, or start over with --overwrite"
                if resumable
                else "choose another folder, or add --overwrite"
            )
            message = f"{folder} exists already; {fix}"
            raise SettingsError(message)
        if overwrite and (strange := cls._not_ours(folder)):
            message = (
                f"{folder} holds other things than a model ({', '.join(strange[:3])}), and will not be overwritten; "
                "choose another folder"
            )
            raise SettingsError(message)
        return cls(path=folder, resume=resume)

    def settings(self) -> dict[str, Any]:
        """Return the settings of the run that is there."""
        return dict(self._read()["config"])

    def _read(self) -> dict[str, Any]:
        file = Path(self.path or "") / self.SETTINGS
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if not {"config", "corpus"} <= content.keys():
                raise ValueError
        except (ValueError, AttributeError) as error:
            message = f"{file} is not the settings file of a run; start again with --overwrite"
            raise FormatError(message) from error
        return dict(content)

    @classmethod
    def _not_ours(cls, folder: Path) -> list[str]:
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        # What a killed process was saving is ours as well.
        return [name for name in names if name not in cls.OURS and not name.startswith(SAVING)]

    def begin(self, config: dict[str, Any], *, corpus_id: str) -> Path:
        """Make the folder (what was there is put aside), note the settings in it, and return its path.

        Raises
        ------
        SettingsError
            If the run to resume was on another corpus.
        """
        folder = Path(self.path or "")
        if self.resume:
            if self._read()["corpus"] != corpus_id:
                message = f"the run at {folder} was on another corpus; give that one, or start again with --overwrite"
                raise SettingsError(message)
            return folder
        if folder.is_dir():
            # A model outlives the run that is to replace it, until that has succeeded.
            if (folder / CONFIG).is_file():
                shutil.rmtree(self._before, ignore_errors=True)
                folder.rename(self._before)
            else:
                shutil.rmtree(folder)
        folder.mkdir(parents=True)
        content = json.dumps({"config": config, "corpus": corpus_id}, indent=2)
        (folder / self.SETTINGS).write_text(content, encoding="utf-8")
        return folder

    @property
    def _before(self) -> Path:
        """Where the model is that a run with overwrite will replace."""
        folder = Path(self.path or "").absolute()
        return folder.with_name(f".{folder.name}.before")

    def finish(self) -> None:
        """Delete the checkpoints of a run whose model is written: they take six times its room, and are done with."""
        shutil.rmtree(Path(self.path or "") / self.CHECKPOINTS, ignore_errors=True)
        shutil.rmtree(self._before, ignore_errors=True)

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.path is not None and (self.path / self.CHECKPOINTS / LAST).is_file()

    def leave(self) -> None:
        """Tidy up after a run that did not finish: if it cannot be resumed, leave what was there before it."""
        if not self.resumable and not self.resume:
            folder = Path(self.path or "")
            shutil.rmtree(folder, ignore_errors=True)
            if self._before.is_dir():
                self._before.rename(folder)


def note_run(folder: Path, model: CellModel, corpus: Corpus) -> None:
    """Write the capsule of a pre-training into its folder, which holds the model.

    Parameters
    ----------
    folder
        Folder of the run.
    model
        The trained model.
    corpus
        The cells.
    """
    card = model.card
    path = None if corpus.path is None else corpus.path.resolve()
    write_capsule(
        folder,
        what="pretraining",
        settings=asdict(model.config),
        seeds={"training": model.config.training.seed},
        data={**card["data"], "path": None if path is None else shortened(path)},
        genes={"n": len(model.panel), "sha256": model.panel.fingerprint, "name": model.panel.name},
        metrics=card["metrics"] or {"none": "nothing was trained"},
        leave_out=("logs", RunFolder.CHECKPOINTS),
    )
