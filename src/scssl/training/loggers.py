"""Where the numbers of a run go beside `history.csv`: TensorBoard, Weights & Biases, MLflow."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Literal

from scssl.errors import SettingsError, import_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scssl.training.config import Config

LoggerName = Literal["csv", "tensorboard", "wandb", "mlflow"]
PROJECT = "scssl"


def check_loggers(names: Sequence[LoggerName] | None) -> None:
    """Check that loggers can be made, before anything is written.

    Parameters
    ----------
    names
        As in `make_loggers`.

    Raises
    ------
    SettingsError
        If there is no such logger.
    MissingExtraError
        If its package is not installed.
    """
    for name in names or ():
        if name not in _MAKERS:
            message = f"logger {name!r} does not exist; choose one of: {', '.join(_MAKERS)}"
            raise SettingsError(message)
        if _MAKERS[name] is not None:
            import_extra(name, extra=name)


def make_loggers(names: Sequence[LoggerName] | None, *, directory: Path | None, config: Config) -> list[Any]:
    """Return Lightning's loggers; `history.csv` is written in any case.

    Parameters
    ----------
    names
        Which ones; None for TensorBoard where it is installed. ``"csv"`` stands for no other than `history.csv`.
    directory
        Folder of the run. What is written here goes to ``logs/`` in it. Without one there are no loggers.
    config
        Settings of the run, which Weights & Biases and MLflow show beside it.

    Raises
    ------
    SettingsError
        If there is no such logger.
    MissingExtraError
        If its package is not installed.
    """
    if directory is None:
        return []
    installed = importlib.util.find_spec("tensorboard") is not None
    chosen = names if names is not None else ("tensorboard",) if installed else ()
    check_loggers(chosen)
    makers = (_MAKERS[name] for name in dict.fromkeys(chosen))
    loggers = [maker(directory) for maker in makers if maker is not None]
    for logger in loggers:
        if type(logger).__name__ != "TensorBoardLogger":
            logger.log_hyperparams(asdict(config))
    return loggers


def _tensorboard(directory: Path) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(directory, name="logs", version="")


def _wandb(directory: Path) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    (directory / "logs").mkdir(parents=True, exist_ok=True)
    # Without an account, WANDB_MODE=offline keeps everything here.
    name = directory.resolve().name
    return WandbLogger(project=os.environ.get("WANDB_PROJECT", PROJECT), name=name, save_dir=directory / "logs")


def _mlflow(directory: Path) -> Any:
    from lightning.pytorch.loggers import MLFlowLogger

    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    logs = directory.resolve() / "logs"
    options: dict[str, Any] = {"tracking_uri": os.environ.get("MLFLOW_TRACKING_URI")}
    if options["tracking_uri"] is None:
        logs.mkdir(parents=True, exist_ok=True)
        # A database in one file: MLflow has given up its folders of files.
        options = {"tracking_uri": f"sqlite:///{logs / 'mlflow.db'}", "artifact_location": str(logs / "mlartifacts")}
    return MLFlowLogger(experiment_name=experiment, run_name=directory.resolve().name, **options)


_MAKERS: Final[dict[str, Callable[[Path], Any] | None]] = {
    "csv": None,
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
