"""`scssl simulate` from file to file."""

from __future__ import annotations

import json
import shutil

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

import scssl
from scssl.cli.app import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulate")
    adata = scssl.datasets.simulate_atlas(
        480, 120, n_types=4, n_studies=1, n_donors=3, batches_per_study=1, conditions=["ctrl"], composition_spread=0.1
    )
    rng = np.random.default_rng(0)
    case = rng.random(adata.n_obs) < 0.5
    counts = adata.X.toarray().astype(np.int64)
    counts[case, 10:30] += rng.poisson(5, (case.sum(), 20))
    adata.X = sp.csr_matrix(counts)
    adata.obs["condition"] = np.where(case, "a stim", "ctrl")
    del adata.uns["simulation"]
    adata.write_h5ad(folder / "cells.h5ad")
    scssl.pretrain(adata[~case].copy(), preset="small", genes="union", max_epochs=1).save(folder / "model")
    return folder


@pytest.fixture
def uncalibrated(monkeypatch):
    """Leave out what takes most of the time of a fit, where a test is of something else."""
    from scssl.tasks.simulate.calibrate import Calibration

    monkeypatch.setattr("scssl.tasks.simulate.fit.calibrate", lambda *_, **__: Calibration())


def command(folder, out, *more, model="model", given=True):
    asked = ["--condition", "condition", "--control", "ctrl", "--case", "a stim"] if given else []
    return ["simulate", str(folder / "cells.h5ad"), *asked, "--model", str(folder / model), "--out", str(out), *more]


def test_file_to_file_with_scores_and_again_with_what_was_saved(folder, tmp_path, capsys):
    before = (folder / "cells.h5ad").read_bytes()
    more = ("--hold-out", "cell_type=type_3", "--figures", str(tmp_path / "s"), "--save", str(tmp_path / "kept"))
    assert main(command(folder, tmp_path / "o.h5ad", *more)) == 0
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("of the change explained against") == 1
    assert "90 % interval" in printed.out
    assert "Means over cell types" in printed.out
    assert "half of the truth" in printed.out
    assert printed.out.count("(made the cells)") == 1
    assert "Uncertainty: on 3 cell types left out" in printed.out
    assert "predictions, not measurements" in printed.out
    assert "GB of memory" in printed.err
    assert (folder / "cells.h5ad").read_bytes() == before
    assert {path.name for path in (tmp_path / "s").iterdir()} == {
        "methods.csv", "groups.csv", "scores.png", "means_a_stim.png", "cells_a_stim.png", "capsule.json"
    }  # fmt: skip
    out = anndata.read_h5ad(tmp_path / "o.h5ad")
    assert set(out.obs["cell_type"]) == {"type_3"}
    settings = out.uns["scssl"]["simulate"]
    assert settings["scores"]["method"].tolist()[0] == "model"
    beside = settings["beside_cells"]
    assert set(beside["kind"]) == {"control", "measured", "simulated"}
    assert set(beside["cell_type"]) == {"type_3"}
    assert (beside["kind"] == "simulated").sum() == out.n_obs
    assert len(settings["beside_genes"]) == out.n_vars
    assert json.loads(settings["record"])["scores"]["methods"]["no change"]["explained"] == 0
    again = command(folder, tmp_path / "p.h5ad", "--where", "cell_type=type_3", given=False)
    again[again.index("--model") + 1] = str(tmp_path / "kept")
    if out.obs["scssl_method"].iloc[0] != "latent shift (scGen-like)":
        assert main(again) == 0
        assert (anndata.read_h5ad(tmp_path / "p.h5ad").X != out.X).nnz == 0
        capsys.readouterr()
    for option, words in (("--control", "cannot be chosen for the simulator"), ("--save", "--save has no effect")):
        assert main([*again, option, str(tmp_path / "x"), "--overwrite"]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.usefixtures("uncalibrated")
def test_json_all_control_cells_and_method(folder, tmp_path, capsys):
    assert main(command(folder, tmp_path / "o.h5ad", "--method", "cell-type mean shift", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    out = anndata.read_h5ad(tmp_path / "o.h5ad")
    cells = anndata.read_h5ad(folder / "cells.h5ad")
    assert result["n_cells"] == out.n_obs == (cells.obs["condition"] == "ctrl").sum()
    assert result["cases"]["a stim"]["method"] == "cell-type mean shift"
    assert result["scores"] is None
    assert set(out.obs["scssl_method"]) == {"cell-type mean shift"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--hold-out", "cell_type"), "give COL=VALUE"),
        (("--hold-out", "condition=ctrl"), "'condition' is what is simulated"),
        (("--case", "a stim+a stim"), "has a condition twice"),
        (("--hold-out", "cell_type=B"), "= 'B'; there are: type_1"),
        (("--where", "cell_type=B"), "= 'B'; there are: type_1"),
        (("--figures", "s"), "--figures are of scores against what was measured, so it needs --hold-out"),
        (("--method", "best"), "choose one of: auto, model"),
        (("--cell-type", "nowhere"), "obs has no column 'nowhere'"),
        (("--donor", "nowhere"), "obs has no column 'nowhere'"),
        (("--layer", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_said_in_one_line_and_nothing_is_written(folder, tmp_path, capsys, monkeypatch, more, words):
    monkeypatch.chdir(tmp_path)
    assert main(command(folder, tmp_path / "o.h5ad", *more)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert words in error
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_or_in_the_way(folder, tmp_path, capsys):
    assert main(command(folder, tmp_path / "o.h5ad", given=False)) == 2
    assert "give --condition and --control and --case" in capsys.readouterr().err
    asked = command(folder, tmp_path / "o.h5ad")
    asked[asked.index("a stim")] = "other"
    assert main(asked) == 2
    assert "no cell has obs['condition'] = 'other'; there are: a stim, ctrl" in capsys.readouterr().err
    assert main(command(folder, folder / "cells.h5ad", "--overwrite")) == 2
    assert "this is the input" in capsys.readouterr().err
    assert main(command(folder, tmp_path / "o.h5ad", "--save", str(tmp_path))) == 2
    assert "--out" in capsys.readouterr().err


def test_log_values_are_refused_with_the_fix(folder, tmp_path, capsys):
    cells = anndata.read_h5ad(folder / "cells.h5ad")
    cells.X = cells.X.astype(np.float32)
    cells.X.data = np.log1p(cells.X.data)
    cells.write_h5ad(tmp_path / "logs.h5ad")
    words = command(folder, tmp_path / "o.h5ad")
    words[1] = str(tmp_path / "logs.h5ad")
    assert main(words) == 2
    assert "log" in capsys.readouterr().err
    assert not (tmp_path / "o.h5ad").exists()


@pytest.mark.usefixtures("uncalibrated")
def test_a_case_given_twice_is_simulated_once_and_where_is_checked_before_any_work(folder, tmp_path, monkeypatch):
    more = ("--case", "a stim", "--method", "mean shift")
    assert main(command(folder, tmp_path / "o.h5ad", *more)) == 0
    cells = anndata.read_h5ad(folder / "cells.h5ad")
    assert anndata.read_h5ad(tmp_path / "o.h5ad").n_obs == (cells.obs["condition"] == "ctrl").sum()
    monkeypatch.setattr("scssl.tasks.simulate.Simulator.fit", None)
    assert main(command(folder, tmp_path / "p.h5ad", "--where", "cell_type=B")) == 2


@pytest.mark.usefixtures("uncalibrated")
def test_figures_of_cases_with_like_names_do_not_replace_each_other(folder, tmp_path):
    cells = anndata.read_h5ad(folder / "cells.h5ad")
    names = cells.obs["condition"].astype(str).to_numpy()
    treated = np.flatnonzero(names == "a stim")
    names[treated[::2]] = "a_stim"
    cells.obs["condition"] = names
    cells.write_h5ad(tmp_path / "two.h5ad")
    more = ("--case", "a_stim", "--method", "mean shift", "--hold-out", "cell_type=type_1")
    words = command(folder, tmp_path / "o.h5ad", *more, "--figures", str(tmp_path / "s"))
    words[1] = str(tmp_path / "two.h5ad")
    assert main(words) == 0
    assert sorted(path.name for path in (tmp_path / "s").glob("means_*")) == ["means_a_stim.png", "means_a_stim_2.png"]


@pytest.mark.usefixtures("uncalibrated")
def test_covariates_are_taken_and_asked_for_again(folder, tmp_path, capsys):
    cells = anndata.read_h5ad(folder / "cells.h5ad")
    cells.obs["sex"] = np.where(cells.obs["donor"].astype(str).str.endswith("1"), "F", "M")
    cells.write_h5ad(tmp_path / "cells.h5ad")
    shutil.copytree(folder / "model", tmp_path / "model")
    more = ("--covariates", "sex", "--method", "model", "--save", str(tmp_path / "kept"))
    assert main(command(tmp_path, tmp_path / "o.h5ad", *more)) == 0
    written = anndata.read_h5ad(tmp_path / "o.h5ad")
    assert written.uns["scssl"]["simulate"]["columns"]["covariates"] == "sex"
    assert main(command(tmp_path, tmp_path / "o2.h5ad", model="kept", given=False)) == 0
    again = anndata.read_h5ad(tmp_path / "o2.h5ad")
    assert (again.X != written.X).nnz == 0
    capsys.readouterr()
    assert main(command(folder, tmp_path / "o3.h5ad", model=str(tmp_path / "kept"), given=False)) == 2
    assert "no column 'sex', a covariate" in capsys.readouterr().err
    assert main(command(folder, tmp_path / "o4.h5ad", "--covariates", " ,")) == 2
    assert "--covariates is empty" in capsys.readouterr().err
    assert main(command(folder, tmp_path / "o4.h5ad", "--covariates", "sex,bmi")) == 2
    assert "no column 'sex'" in capsys.readouterr().err
