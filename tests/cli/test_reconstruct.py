"""`scssl reconstruct` from file to file."""

from __future__ import annotations

import json
import sys

import anndata
import numpy as np
import pytest

import scssl
from scssl.cli.app import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reconstruct")
    adata = scssl.datasets.simulate_atlas(400, 120, n_types=3, type_effect=3.0)
    held_out = adata.obs["donor"].isin(adata.obs["donor"].cat.categories[::3]).to_numpy()
    adata[~held_out].copy().write_h5ad(folder / "reference.h5ad")
    adata[held_out][:, 20:].copy().write_h5ad(folder / "query.h5ad")
    scssl.pretrain(
        adata[~held_out].copy(), preset="small", genes="union", max_epochs=2, overrides=["task.loss=nb"],
        loggers=["csv"], device="cpu",
    ).save(folder / "model")  # fmt: skip
    scssl.pretrain(
        adata[~held_out].copy(), preset="small", genes="union", max_epochs=1, pretext="byol", loggers=["csv"],
        device="cpu",
    ).save(folder / "byol")  # fmt: skip
    return folder


def command(folder, out, *more, model="model"):
    return ["reconstruct", str(folder / "query.h5ad"), "--model", str(folder / model), "--out", str(out), *more]


def test_file_to_file(folder, tmp_path, capsys):
    before = (folder / "query.h5ad").read_bytes()
    assert main(command(folder, tmp_path / "o.h5ad", "--write", "expression,sd,counts")) == 0
    printed = capsys.readouterr()
    assert "120 genes, of which the file has not measured 20" in printed.out
    assert "uncertainty: from the likelihood of the counts (nb)" in printed.out
    assert "Test on the counts" in printed.out
    assert "GB of memory" in printed.err
    assert (folder / "query.h5ad").read_bytes() == before
    query, out = anndata.read_h5ad(folder / "query.h5ad"), anndata.read_h5ad(tmp_path / "o.h5ad")
    assert (out.X != query.X).nnz == 0
    python = scssl.tasks.Reconstructor(folder / "model").predict(query, wanted=["expression", "sd", "counts"])
    for name in ("scssl_expression", "scssl_expression_sd", "scssl_counts"):
        np.testing.assert_allclose(out.layers[name], python.layers[name], rtol=1e-4, equal_nan=True)
    np.testing.assert_allclose(
        out.obsm["X_scssl_expression"], python.obsm["X_scssl_expression"], rtol=1e-4, equal_nan=True
    )
    settings = out.uns["scssl"]["reconstruct"]
    assert list(settings["genes"]) == list(python.uns["scssl"]["reconstruct"]["genes"])
    assert settings["model"] == str(folder / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["o.h5ad"]


def test_a_path_is_told_as_a_shell_takes_it(folder, tmp_path, capsys):
    place = tmp_path / "a b [/c]"
    assert main(command(folder, place / "o.h5ad", "--genes", "measured", "--save", str(place / "r"), "--quiet")) == 0
    assert f"--model '{place / 'r'}' --out O" in capsys.readouterr().out


def test_without_matplotlib_figures_are_refused_before_the_work(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(command(folder, tmp_path / "o.h5ad", "--evaluate", "hidden", "--figures", str(tmp_path / "f"))) == 2
    assert "pip install 'scssl[report]'" in capsys.readouterr().err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_scores_figures_and_a_saved_reconstructor(folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    more = ["--evaluate", "thinned", "--labels", "cell_type", "--figures", str(tmp_path / "f"), "--json"]
    assert main(command(folder, tmp_path / "o.h5ad", *more, "--save", str(tmp_path / "r"))) == 0
    result = json.loads(capsys.readouterr().out)
    methods = result["scores"]["methods"]
    assert list(methods) == ["zero_shot", "gene mean", "cell-type mean", "kNN smoothing", "PCA"]
    assert methods["PCA"]["weighted_explained_variance"] is not None
    assert {path.name for path in (tmp_path / "f").iterdir()} == {
        "gene_scores.png", "held_out.png", "scores.csv", "genes.csv", "capsule.json",
    }  # fmt: skip
    assert (result["n_genes"], result["n_unmeasured"]) == (120, 20)
    again = [
        "reconstruct",
        str(folder / "query.h5ad"),
        "--model",
        str(tmp_path / "r"),
        "--out",
        str(tmp_path / "p.h5ad"),
    ]
    assert main([*again, "--evaluate", "hidden"]) == 0
    printed = capsys.readouterr().out
    assert "hidden entries, 20% of the measured genes" in printed
    assert "weighted EV" in printed
    first, second = (anndata.read_h5ad(tmp_path / f"{name}.h5ad").layers["scssl_expression"] for name in "op")
    np.testing.assert_array_equal(first, second)
    assert main([*again, "--overwrite", "--mode", "finetune"]) == 2
    assert "--mode cannot be chosen for the reconstructor" in capsys.readouterr().err


def test_some_genes_and_those_measured(folder, tmp_path):
    query = anndata.read_h5ad(folder / "query.h5ad")
    few = [query.var_names[7], query.var_names[3]]
    (tmp_path / "genes.txt").write_text("\n".join(few))
    for name, genes in (("a", ",".join(few)), ("b", str(tmp_path / "genes.txt"))):
        assert main(command(folder, tmp_path / f"{name}.h5ad", "--genes", genes, "--quiet")) == 0
        out = anndata.read_h5ad(tmp_path / f"{name}.h5ad")
        assert list(out.uns["scssl"]["reconstruct"]["genes"]) == few
        assert out.obsm["X_scssl_expression"].shape == (out.n_obs, 2)
        assert out.var["scssl_reconstructed"].sum() == 2
    assert main(command(folder, tmp_path / "c.h5ad", "--genes", "measured", "--write", "expression", "--quiet")) == 0
    out = anndata.read_h5ad(tmp_path / "c.h5ad")
    assert "X_scssl_expression" not in out.obsm
    assert set(out.layers) == {"scssl_expression"}
    assert out.var["scssl_reconstructed"].all()


def test_another_format_comes_out_the_same(folder, tmp_path):
    query = anndata.read_h5ad(folder / "query.h5ad")
    # What the simulation says of itself has many small arrays, which zarr writes slowly.
    query.uns.clear()
    query.write_zarr(tmp_path / "query.zarr")
    model = ["--model", str(folder / "model"), "--quiet"]
    assert main(["reconstruct", str(tmp_path / "query.zarr"), "--out", str(tmp_path / "z.h5ad"), *model]) == 0
    assert main(command(folder, tmp_path / "h.h5ad", "--quiet")) == 0
    first, second = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in "zh")
    for name in ("scssl_expression", "scssl_expression_sd"):
        np.testing.assert_array_equal(first.layers[name], second.layers[name])
    np.testing.assert_array_equal(first.obsm["X_scssl_expression"], second.obsm["X_scssl_expression"])
    assert list(first.var["scssl_reconstructed"]) == list(second.var["scssl_reconstructed"])


def test_finetuning_on_the_file_itself_and_on_a_reference(folder, tmp_path, capsys):
    more = ["--mode", "finetune", "--epochs", "1", "--device", "cpu"]
    assert main(command(folder, tmp_path / "o.h5ad", *more, model="byol")) == 0
    assert "loss nb" in capsys.readouterr().err
    reference = ["--reference", str(folder / "reference.h5ad"), "--evaluate", "thinned", "--loss", "mse", "--json"]
    assert main(command(folder, tmp_path / "p.h5ad", *more, *reference)) == 0
    result = json.loads(capsys.readouterr().out)
    assert "finetune" in result["scores"]["methods"]
    assert result["settings"]["reference"] == str(folder / "reference.h5ad")
    assert result["settings"]["loss"] == "mse"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model", "byol"], "has no decoder"),
        (["--genes", "NOPE"], "1 of 1 genes are not on the model's panel"),
        (["--genes", "genes.txt"], "--genes genes.txt: no such file"),
        (["--genes", "MODEL/model.safetensors"], "is no text file; --genes takes one gene per line"),
        (["--write", "variance"], "'variance' cannot be reconstructed"),
        (["--labels", "cell_type"], "--labels has no effect without --evaluate"),
        (["--evaluate", "thinned", "--labels", "kind"], "obs has no column 'kind'"),
        (["--mode", "finetune", "--evaluate", "thinned"], "give --reference with other cells"),
        (["--loss", "nb"], "loss has no effect in mode 'zero_shot'"),
        (["--layer", "nope"], "has no layer 'nope'"),
        (["--source", "mars"], "source 'mars' is none of the model"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(folder, tmp_path, capsys, more, words):
    model = "model"
    if more[0] == "--model":
        model, more = more[1], []
    more = [word.replace("MODEL", str(folder / "model")) for word in more]
    assert main(command(folder, tmp_path / "o.h5ad", *more, model=model)) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_before_the_work(folder, tmp_path, capsys, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    assert main(command(folder, tmp_path / "o.h5ad")) == 2
    assert "GB are free. Ask for fewer values (--genes measured" in capsys.readouterr().err
