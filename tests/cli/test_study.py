"""`scssl study` as a user meets it."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pytest

import scssl
from scssl.cli.app import main

pytestmark = pytest.mark.usefixtures("brief_finetuning")

TINY = [
    "--preset",
    "small",
    "--epochs",
    "1",
    "--set",
    "training.min_steps=4",
    "--seeds",
    "1",
    "--folds",
    "2",
    "--workers",
    "1",
]
COLUMNS = ["--labels", "cell_type", "--donor", "donor"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    atlas = scssl.datasets.simulate_atlas(500, 150, n_types=3, n_studies=2, n_donors=12, seed=1)
    first = (atlas.obs["study"] == atlas.obs["study"].cat.categories[0]).to_numpy()
    paths = folder / "corpus.h5ad", folder / "target.h5ad"
    for path, cells in zip(paths, (first, ~first), strict=True):
        atlas[cells].copy().write_h5ad(path)
    return paths


def test_study_judges_and_reports(files, tmp_path, capsys):
    out, (corpus, target) = tmp_path / "out", files
    words = ["study", str(corpus), "--target", str(target), *COLUMNS, "--out", str(out), "--genes", "union", *TINY]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Pre-training ")
    for text in ("same network from scratch", "logistic regression on log1p", "macro F1", str(out / "report.html")):
        assert text in said.out
    assert "GB of memory" in said.err
    assert "No cell of" in said.err
    page = (out / "report.html").read_text()
    assert "did pre-training help on target.h5ad?" in page
    assert page.count("<svg") == 3
    # What was pre-trained on has a name, though it was read into memory.
    assert "corpus.h5ad" in page.split("What went in")[1]

    # Again: nothing is fitted, and the same verdict as JSON.
    assert main([*words, "--json", "--quiet"]) == 0
    again = capsys.readouterr()
    result = json.loads(again.out)
    assert result["sentences"][0] == said.out.splitlines()[0]
    assert result["verdict"] in {"helped", "helped the network only", "made no difference", "hurt"}
    assert {row["method"] for row in result["scores"]} >= {"masked:probe", "scratch", "pca_knn"}
    assert result["against_scratch"]["unit"] == "donor"
    assert result["report"] == str(out / "report.html")

    # The page can be made again, also elsewhere.
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    assert "Differences" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--labels", "nope", "--donor", "donor"], "no column 'nope'"),
        (["--labels", "cell_type", "--donor", "nope"], "no column 'nope' for --donor"),
        ([*COLUMNS, "--plan", "huge"], "plan 'huge' is not known"),
        ([*COLUMNS, "--extras", "magic"], "baseline 'magic' does not exist"),
        ([*COLUMNS, "--preset", "nope"], "preset 'nope' does not exist"),
        ([*COLUMNS, "--pretext", "nope"], "nope"),
        ([*COLUMNS, "--set", "task.rte=1"], "rte"),
        ([*COLUMNS, "--folds", "1"], "folds is 1"),
        ([*COLUMNS, "--workers", "0"], "workers is 0"),
        ([*COLUMNS, "--arm", "some"], "some"),
        ([*COLUMNS, "--ontology", "no.obo"], "no.obo"),
        ([*COLUMNS, "--terms", "no.csv"], "no.csv: no such file"),
        (["--labels", "donor", "--donor", "donor"], "none can be both learned and predicted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_one_message_and_leave_nothing(files, tmp_path, capsys, words, match):
    out = tmp_path / "out"
    assert main(["study", str(files[0]), "--target", str(files[1]), "--out", str(out), "--genes", "union", *words]) == 2
    said = capsys.readouterr()
    error = next(line for line in said.err.splitlines() if line.startswith("error: "))
    assert match in error
    assert said.out == ""
    assert not out.exists()


@pytest.mark.parametrize(
    ("workers", "threads", "cores", "expected"),
    [(None, 1, 4, 4), (None, 2, 4, 2), (None, 3, 4, 1), (None, 8, 4, 1), (3, 4, 4, 3), (None, 0, 4, 4)],
)
def test_workers_and_threads_do_not_exceed_the_cores(monkeypatch, workers, threads, cores, expected):
    from scssl import cores as module
    from scssl.cli.study import _workers

    monkeypatch.setattr(module, "n_cores", lambda: cores)
    assert _workers(workers, threads, "cpu") == expected


def test_files_that_are_not_there(files, tmp_path, capsys):
    for data, target in ((tmp_path / "no", files[1]), (files[0], tmp_path / "no.h5ad")):
        assert main(["study", str(data), "--target", str(target), *COLUMNS, "--out", str(tmp_path / "out")]) == 2
        assert "no such" in capsys.readouterr().err


def test_a_target_that_is_the_corpus(files, tmp_path, capsys):
    words = ["study", str(files[1]), "--target", str(files[1]), *COLUMNS, "--out", str(tmp_path / "out"), *TINY]
    assert main([*words, "--genes", "union"]) == 2
    assert "--arm included" in capsys.readouterr().err


def test_missing_packages_are_named_with_what_to_type(files, tmp_path, capsys):
    from scssl.study import list_baselines

    absent = [record for record in list_baselines() if not record.installed]
    if not absent:
        pytest.skip("all optional packages are installed")
    words = ["study", str(files[0]), "--target", str(files[1]), *COLUMNS, "--out", str(tmp_path / "out")]
    assert main([*words, "--extras", absent[0].name]) == 2
    assert f"pip install {absent[0].package}" in capsys.readouterr().err


def test_log_values_are_refused(files, tmp_path, capsys):
    adata = ad.read_h5ad(files[1])
    adata.X = adata.X.astype(np.float32).log1p()
    adata.write_h5ad(tmp_path / "log.h5ad")
    words = ["study", str(files[0]), "--target", str(tmp_path / "log.h5ad"), *COLUMNS, "--out", str(tmp_path / "out")]
    assert main([*words, "--genes", "union"]) == 2
    assert "log1p" in capsys.readouterr().err


def test_a_study_is_not_written_into_its_corpus(corpus_dir, files, capsys):
    out = corpus_dir / "study"
    assert main(["study", str(corpus_dir), "--target", str(files[1]), *COLUMNS, "--out", str(out), *TINY]) == 2
    assert "is inside the corpus" in capsys.readouterr().err
    assert not out.exists()
