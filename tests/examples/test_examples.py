import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.shipped import shipped_tasks

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short(path):
    assert len(path.read_text().splitlines()) < 100


def test_pretrain_and_annotate_runs(capsys):
    module = _load(next(path for path in EXAMPLES if path.stem == "pretrain_and_annotate"))
    scores = module.main(n_cells=600, n_genes=300, epochs=1)
    assert set(scores) == {"pre-trained model", "PCA"}
    assert all(0 < score <= 1 for score in scores.values())
    assert "scssl_label" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["barlow_twins", "byol", "simclr", "vicreg"])
def test_two_view_examples_run(name, capsys):
    scores = _load(next(path for path in EXAMPLES if path.stem == name)).main(n_cells=600, n_genes=300, epochs=1)
    assert set(scores) == {name, "PCA"}
    assert all(0 < score <= 1 for score in scores.values())
    assert "train_code_dimensions" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["autoencoder", "combined", "masked", "programmes"])
def test_other_examples_run(name, capsys):
    n_cells, n_genes = (800, 600) if name == "programmes" else (600, 300)
    scores = _load(next(path for path in EXAMPLES if path.stem == name)).main(n_cells, n_genes, epochs=1)
    assert set(scores) == {name, "PCA"}
    assert all(0 < score <= 1 for score in scores.values())
    assert "code_rank" in capsys.readouterr().out


def test_reconstruct_runs(capsys):
    scores = _load(next(path for path in EXAMPLES if path.stem == "reconstruct")).main(500, 200, epochs=2)
    assert all(np.isfinite(score) for score in scores.values())
    assert "genes not measured" in capsys.readouterr().out


def test_translate_runs(capsys):
    scores = _load(next(path for path in EXAMPLES if path.stem == "translate")).main(500, 200, epochs=1)
    assert list(scores) == ["translator", "mean", "ridge", "kNN", "PCA + ridge"]
    assert scores["translator"] > 0.2
    assert "The translator correlates better" in capsys.readouterr().out


def test_every_task_that_trains_has_an_example():
    assert {record.name for record in shipped_tasks()} <= {path.stem for path in EXAMPLES}


def test_integrate_example_runs(capsys):
    module = _load(next(path for path in EXAMPLES if path.stem == "integrate"))
    shares = module.main(n_cells=480, n_genes=200, epochs=1, evaluate=False)
    assert shares["similar cells of the same type"] > shares["by chance"]
    assert "cell_type" in capsys.readouterr().out
