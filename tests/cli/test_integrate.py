"""`scssl integrate` and `scssl similar` from file to file."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest

import scssl
from scssl.cli.app import main
from scssl.tasks import Integrator, SimilarCells


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("integrate")
    atlas = scssl.datasets.simulate_atlas(
        240, 100, n_types=3, n_studies=4, n_donors=8, type_effect=3.0, batch_effect=0.6, seed=5
    )
    new = (atlas.obs["study"] == "study_4").to_numpy()
    atlas[~new].copy().write_h5ad(folder / "study.h5ad")
    atlas[new].copy().write_h5ad(folder / "new.h5ad")
    scssl.pretrain(
        atlas, preset="small", genes="union", max_epochs=1, loggers=["csv"], device="cpu",
        overrides=["architecture.hidden=[16]", "architecture.n_latent=8"],
    ).save(folder / "model")  # fmt: skip
    return folder


def command(folder, out, *more, file="study.h5ad", model="model", batch=("--batch", "study")):
    return ["integrate", str(folder / file), "--model", str(folder / model), *batch, "--out", str(out), *more]


def similar(folder, out, *more, model="model", reference=True):
    known = ("--reference", str(folder / "study.h5ad")) if reference else ()
    return ["similar", str(folder / "new.h5ad"), "--model", str(folder / model), *known, "--out", str(out), *more]


def test_file_to_file_and_new_cells_into_it(folder, tmp_path, capsys):
    before = (folder / "study.h5ad").read_bytes()
    assert main(command(folder, tmp_path / "o.h5ad", "--save", str(tmp_path / "kept"))) == 0
    said = capsys.readouterr()
    assert "obsm['X_scssl_integrated']" in said.out
    assert "3 batches" in said.out
    assert "GB of memory" in said.err
    assert (folder / "study.h5ad").read_bytes() == before
    out = anndata.read_h5ad(tmp_path / "o.h5ad")
    python = Integrator(folder / "model", batch="study").fit(folder / "study.h5ad")
    np.testing.assert_array_equal(out.obsm["X_scssl_integrated"], python.fitted.embedding)
    assert out.uns["scssl"]["integrate"]["mode"] == "zero_shot"
    again = command(tmp_path, tmp_path / "n.h5ad", "--json", model="kept", batch=())
    again[1] = str(folder / "new.h5ad")
    assert main(again) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["n_mapped"] == result["n_cells"] == anndata.read_h5ad(folder / "new.h5ad").n_obs
    mapped = anndata.read_h5ad(tmp_path / "n.h5ad").obsm["X_scssl_integrated"]
    np.testing.assert_array_equal(mapped, python.integrate(folder / "new.h5ad").embedding)


@pytest.mark.slow
def test_evaluation_and_figures(folder, tmp_path, capsys):
    pytest.importorskip("scib_metrics")
    more = ("--labels", "cell_type", "--figures", str(tmp_path / "f"), "--json")
    assert main(command(folder, tmp_path / "o.h5ad", *more)) == 0
    result = json.loads(capsys.readouterr().out)
    scores = result["evaluation"]["scores"]
    assert {"scssl", "PCA, not integrated", "Harmony on PCA"} <= scores.keys()
    assert result["evaluation"]["verdict"].startswith("Batches are")
    expected = {"umap.png", "scores.png", "scores.csv", "capsule.json"}
    assert {file.name for file in (tmp_path / "f").iterdir()} == expected
    table = pd.read_csv(tmp_path / "f" / "scores.csv", index_col="method")
    assert table.loc["scssl", "ilisi"] == pytest.approx(scores["scssl"]["ilisi"], abs=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--batch", "plate"), "obs has no column 'plate' with the batches"),
        (("--labels", "types"), "obs has no column 'types'"),
        (("--batch", "depth"), "holds numbers with decimals, not batches"),
        (("--save", "MODEL/inside"), "--save"),
        (("--figures", "THERE"), "exists already; choose another folder for --figures"),
        (("--save", "THERE"), "exists already"),
        (("--key-added", "a/b"), "give a name without '/'"),
    ],
)
def test_mistakes_are_found_before_work_starts(folder, tmp_path, capsys, more, message):
    (tmp_path / "there").mkdir()
    swaps = {"MODEL": str(folder / "model"), "THERE": str(tmp_path / "there")}
    words = [w.replace("MODEL", swaps["MODEL"]).replace("THERE", swaps["THERE"]) for w in more]
    batch = () if "--batch" in words else ("--batch", "study")
    assert main(command(folder, tmp_path / "o.h5ad", *words, batch=batch)) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "o.h5ad").exists()


def test_a_batch_is_asked_for_and_what_was_settled_is_not(folder, tmp_path, capsys):
    assert main(command(folder, tmp_path / "o.h5ad", batch=())) == 2
    assert "so give --batch: the column of obs with the batches" in capsys.readouterr().err
    Integrator(folder / "model", batch="study").fit(folder / "study.h5ad").save(tmp_path / "kept")
    for more, message in (
        (("--correct", "centre"), "--correct cannot be chosen for the integrator"),
        (("--labels", "cell_type"), "--labels and --evaluate score a study"),
    ):
        words = command(folder, tmp_path / "o.h5ad", *more, file="new.h5ad")
        words[words.index("--model") + 1] = str(tmp_path / "kept")
        assert main(words) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_similar_cells_as_a_table(folder, tmp_path, capsys, name):
    out = tmp_path / name
    assert main(similar(folder, out, "--k", "3", "--truth", "cell_type", "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
    table = read(out)
    python = SimilarCells(folder / "model", k=3).fit(folder / "study.h5ad").predict(folder / "new.h5ad")
    assert table["cell"].astype(str).tolist() == python["cell"].tolist()
    assert list(table.columns) == result["columns"] == list(python.columns)
    assert 0 <= result["scores"]["neighbours"] <= 1
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_kept_search_knows_its_reference(folder, tmp_path, capsys):
    assert main(similar(folder, tmp_path / "a.csv", "--save", str(tmp_path / "s"), "--columns", "donor, study")) == 0
    words = similar(folder, tmp_path / "b.csv", "--k", "10", reference=False)
    words[words.index("--model") + 1] = str(tmp_path / "s")
    assert main(words) == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert main([*words, "--backend", "faiss", "--overwrite"]) == 2
    assert "--backend cannot be chosen" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("out", "more", "message"),
    [
        ("t.txt", (), "results are written as .csv or .csv.gz or .parquet"),
        ("t.csv", ("--columns", "tissue"), "obs has no column 'tissue'"),
        ("t.csv", ("--k", "100000"), "lower k"),
        ("t.csv", ("--truth", "types"), "obs has no column 'types'"),
    ],
)
def test_mistakes_in_a_search(folder, tmp_path, capsys, out, more, message):
    assert main(similar(folder, tmp_path / out, *more)) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert not list(tmp_path.iterdir())


def test_a_search_needs_a_reference(folder, tmp_path, capsys):
    assert main(similar(folder, tmp_path / "t.csv", reference=False)) == 2
    assert "so give --reference: a corpus or a file" in capsys.readouterr().err
