"""`scssl demo`: a small one runs through; its numbers are those of its tables; it replaces nothing but demos."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shutil
import threading

import numpy as np
import pandas as pd
import pytest

from scssl.cli import _demo, demo
from scssl.cli._demo import Plan, run_demo
from scssl.cli._demo_report import ATLAS, FEW, MODEL, PBMC, PCA, compare
from scssl.cli.app import main
from scssl.report import Run

SMALL = Plan(n_cells=800, n_genes=300, n_types=4, n_studies=2, n_donors=8, epochs=2, draws=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    import torch

    out = tmp_path_factory.mktemp("demo") / "out"
    out.mkdir()
    # Workers of a parallel test run that all use all cores only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run_demo(out, plan=SMALL, command="scssl demo --out out"), out
    finally:
        torch.set_num_threads(threads)


def test_everything_is_written_and_nothing_else(finished):
    run, out = finished
    assert {path.name for path in out.iterdir()} == demo.MADE
    assert Run.open(out).to_dict() == json.loads(json.dumps(run.to_dict()))
    assert [section.kind for section in run.sections] == ["scores", "curve", *["embedding", "confusion"] * 2]
    assert len(run.timings) == 6
    for section in run.sections[2::2]:
        markers = section.options["features"]["Marker genes"]
        assert len(markers) == 50
        assert set(markers) <= set(pd.read_csv(out / section.file, nrows=1).columns)
    html = (out / "report.html").read_text()
    assert html.count("<svg") == 4
    assert "scssl demo --out out" in html


def test_scores_are_those_of_the_tables(finished):
    _, out = finished
    scores = pd.read_csv(out / "scores.csv")
    rows = list(zip(scores["data"], scores["method"], strict=True))
    assert rows == [(data, method) for data in (ATLAS, FEW, PBMC) for method in (MODEL, PCA)]
    assert scores["labelled_cells"].tolist()[2:4] == [SMALL.few * SMALL.n_types] * 2
    for name, row in (("atlas", scores.iloc[0]), ("pbmc", scores.iloc[4])):
        cells = pd.read_csv(out / f"cells_{name}.csv")
        confusion = pd.read_csv(out / f"confusion_{name}.csv", index_col=0)
        assert len(cells) == row["query_cells"] == confusion.to_numpy().sum()
        right = (cells["cell_type"] == cells["predicted"]).mean()
        assert right == pytest.approx(row["accuracy"])
        f1 = []
        for kind in cells["cell_type"].unique():
            true, called = cells["cell_type"] == kind, cells["predicted"] == kind
            f1.append(2 * (true & called).sum() / (true.sum() + called.sum()))
        assert np.mean(f1) == pytest.approx(row["macro_f1"])
        assert right > 1.5 / len(confusion)


def test_the_summary_says_what_was_measured(finished):
    run, out = finished
    scores = pd.read_csv(out / "scores.csv")
    said = re.findall(r"macro F1 (\S+) with the model, (\S+) with PCA", " ".join(run.summary))
    assert [number for pair in said for number in pair] == [f"{value:.3f}" for value in scores["macro_f1"]]


def test_queries_were_not_in_the_corpus(finished):
    _, out = finished
    from scssl import Corpus

    corpus = Corpus.open(out / "corpus")
    seen = set(corpus.obs("train")["donor"].astype(str)) | set(corpus.obs("val")["donor"].astype(str))
    query = pd.read_csv(out / "cells_atlas.csv")
    assert not set(query["donor"]) & seen
    import anndata

    names = set(anndata.read_h5ad(out / "data" / "pbmc_query.h5ad").obs_names)
    reference = set(anndata.read_h5ad(out / "data" / "pbmc_reference.h5ad").obs_names)
    assert len(names) == len(reference) == 350
    assert not names & reference
    assert {f"pbmc_reference:{name}" for name in reference} <= set(corpus.obs("train").index)


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [(0.9, 0.8, "ahead by 0.100"), (0.7, 0.8, "behind by 0.100"), (0.801, 0.8, "no difference")],
)
def test_verdict_follows_the_numbers(ours, theirs, words):
    scores = pd.DataFrame({"data": [ATLAS] * 2, "method": [MODEL, PCA], "macro_f1": [ours, theirs]})
    assert words in compare(scores, ATLAS, "Here")


def test_command_prints_the_table(finished, monkeypatch, tmp_path, capsys):
    run, folder = finished
    plans = []

    def copy(out, *, plan, command):
        plans.append(plan)
        shutil.copytree(folder, out, dirs_exist_ok=True)
        return run

    monkeypatch.setattr(_demo, "run_demo", copy)
    out = tmp_path / "demo [1]"
    assert main(["demo", "--out", str(out), "--seed", "3", "--json"]) == 0
    assert plans == [Plan(seed=3)]
    result = json.loads(capsys.readouterr().out)
    assert result["report"] == str(out / "report.html")
    assert [row["method"] for row in result["scores"]] == [MODEL, PCA] * 3
    assert main(["demo", "--out", str(out), "--overwrite"]) == 0
    text = capsys.readouterr().out
    assert str(out / "report.html") in text
    for row in result["scores"]:
        assert f"{row['macro_f1']:.3f}" in text
    assert main(["demo", "--out", str(out)]) == 2
    assert "add --overwrite" in capsys.readouterr().err
    (out / "notes.txt").write_text("mine")
    assert main(["demo", "--out", str(out), "--overwrite"]) == 2
    assert "holds other things than a demo (notes.txt)" in capsys.readouterr().err
    assert (out / "notes.txt").exists()


def test_nothing_is_left_when_it_fails(monkeypatch, tmp_path, capsys):
    def fail(out, **_):
        (out / "corpus").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(_demo, "run_demo", fail)
    (tmp_path / "empty").mkdir()
    assert main(["demo", "--out", str(tmp_path / "empty")]) == 130
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file"), "--overwrite"]) == 2
    assert "is a file" in capsys.readouterr().err


def test_the_missing_extra_is_named_before_anything_is_made(monkeypatch, tmp_path, capsys):
    import sys

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "scanpy" else find_spec(name))
    monkeypatch.setitem(sys.modules, "scanpy", None)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "error: scanpy is needed for this and is not installed. Run: pip install 'scssl[demo]'\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_demo_takes_the_disk_that_it_says(tmp_path):
    out, largest, done = tmp_path / "out", [0], threading.Event()

    def size():
        with contextlib.suppress(FileNotFoundError):
            return sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
        return 0

    def watch():
        while not done.wait(0.05):
            largest[0] = max(largest[0], size())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        assert main(["demo", "--out", str(out), "--quiet"]) == 0
    finally:
        done.set()
        thread.join()
    assert 0.7 * demo.DISK_MB < largest[0] < demo.DISK_MB
    assert 40 < size() < 60
