"""Which logger of Lightning is made for which name, and what it is told."""

import sys
import types
from dataclasses import asdict
from pathlib import Path

import pytest

import scssl
from scssl.errors import MissingExtraError, SettingsError
from scssl.training import Config, Training
from scssl.training.loggers import make_loggers


class Fake:
    """Stands for a logger of Lightning whose package is not installed here."""

    def __init__(self, **options):
        self.options, self.settings = options, None

    def log_hyperparams(self, settings):
        self.settings = settings


@pytest.fixture
def fakes(monkeypatch):
    import lightning.pytorch.loggers as loggers

    for package, name in (("wandb", "WandbLogger"), ("mlflow", "MLFlowLogger")):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
        monkeypatch.setattr(loggers, name, type(name, (Fake,), {}))
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def test_by_default_to_tensorboard_if_it_is_there(tmp_path, monkeypatch):
    found = make_loggers(None, directory=tmp_path, config=Config())
    assert [type(logger).__name__ for logger in found] == ["TensorBoardLogger"]
    assert Path(found[0].log_dir) == tmp_path / "logs"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert make_loggers(None, directory=tmp_path, config=Config()) == []


def test_csv_is_the_table_that_is_always_written(tmp_path):
    assert make_loggers(["csv"], directory=tmp_path, config=Config()) == []


def test_wandb_and_mlflow_are_told_where_and_what(tmp_path, fakes, monkeypatch):
    config = Config(training=Training(epochs=3))
    run = tmp_path / "my-run"
    wandb, mlflow = make_loggers(["wandb", "mlflow", "wandb"], directory=run, config=config)
    assert wandb.options == {"project": "scssl", "name": "my-run", "save_dir": run / "logs"}
    assert mlflow.options == {
        "experiment_name": "scssl",
        "run_name": "my-run",
        "tracking_uri": f"sqlite:///{run / 'logs' / 'mlflow.db'}",
        "artifact_location": str(run / "logs" / "mlartifacts"),
    }
    assert wandb.settings == mlflow.settings == asdict(config)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    wandb, mlflow = make_loggers(["wandb", "mlflow"], directory=run, config=config)
    assert wandb.options["project"] == mlflow.options["experiment_name"] == "mine"
    assert mlflow.options["tracking_uri"] == "http://localhost:5000"


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_comes_with_the_line_that_installs_it(tmp_path, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'scssl\[{name}\]'"):
        scssl.pretrain(
            scssl.datasets.simulate_atlas(200, 100, seed=1),
            preset="small",
            genes="union",
            max_epochs=1,
            out=tmp_path / "model",
            device="cpu",
            loggers=[name],
        )
    assert not (tmp_path / "model").exists()


def test_others_do_not_exist(tmp_path):
    with pytest.raises(SettingsError, match="choose one of: csv, tensorboard, wandb, mlflow"):
        make_loggers(["excel"], directory=tmp_path, config=Config())
