"""The page of an .h5ad: what it says is what the file holds."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scssl import report
from scssl.errors import DataError, FormatError, SettingsError
from scssl.report import file_cells, file_run
from scssl.report.file_cells import columns_to_show, gene_names, lay_out, read_expression, unique_names
from scssl.report.file_run import run_of_file
from scssl.report.file_tasks import read_content

N, GENES = 120, 30
RECORD = {
    "command": "scssl annotate new.h5ad --model m --reference r.h5ad --labels cell_type --out OUT.h5ad",
    "created": "2026-01-02T03:04:05+00:00",
    "timings": {"name the cells": 2.5},
    "inputs": [{"name": "new.h5ad", "role": "cells to name", "cells": N, "bytes": 3_000_000}],
    "model": {"pretext": "masked", "preset": "default", "cells": 1000},
    "versions": {"scssl": "9.9"},
    "machine": {"cores": 3},
    "truth": "cell_type",
    "label_map": {"B": "b"},
    "scores": None,
}


def make(*, record=RECORD):
    """120 cells of three types in a plane of embedding: gene i is that of type i, and type_2 is called b for half."""
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2], N // 3)
    counts = rng.poisson(1.0, (N, GENES))
    counts[np.arange(N), kind] += 20
    adata = anndata.AnnData(sp.csr_matrix(counts.astype(np.float32)))
    adata.var_names = [f"GENE{i}" for i in range(GENES)]
    adata.obs["cell_type"] = pd.Categorical(np.array(["a", "B", "c"])[kind])
    adata.obs["donor"] = (np.arange(N) % 3 + 1).astype(str)
    adata.obs["barcode"] = [f"cell{i:04d}" for i in range(N)]
    adata.obs["barcode"] = adata.obs["barcode"].where(np.arange(N) > 2, None)
    adata.obs["depth"] = counts.sum(axis=1)
    labels = np.array(["a", "b", "c"], dtype=object)[kind]
    labels[80:100] = "b"
    labels[0] = "unknown"
    adata.obs["scssl_label"] = pd.Categorical(labels)
    adata.obs["scssl_confidence"] = np.where(np.arange(N) < 10, 0.4, 0.9).astype(np.float32)
    adata.obs["scssl_label_set"] = pd.Categorical(np.where(kind == 2, "b | c", labels))
    adata.obs["scssl_unknown"] = pd.Categorical(np.where(labels == "unknown", "far from every reference cell", ""))
    adata.obsm["X_scssl"] = (np.eye(3)[kind][:, :2] * 5 + rng.normal(size=(N, 2))).astype(np.float32)
    settings = {"mode": "zero_shot", "k": 5, "labels": "type", "reference": "x/r.h5ad", "n_reference_cells": 500,
                "layer": "X", "model": "m", "confidence": "probability, calibrated on held-out cells",
                "error_budget": 0.05}  # fmt: skip
    adata.uns["scssl"] = {"annotate": settings | ({"record": json.dumps(record)} if record else {})}
    return adata


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my cells.h5ad"
    make().write_h5ad(path)
    return path


def tables(run, folder):
    return {s.title: pd.read_csv(folder / s.file, keep_default_na=False) for s in run.sections}


def test_page_of_an_annotation_says_what_is_in_the_file(file, tmp_path):
    (folder := tmp_path / "tables").mkdir()
    run = run_of_file(file, folder)
    words = " ".join(run.summary)
    assert "120 cells were named after 500 labelled cells of r.h5ad, obs['type']" in words
    assert "3 labels were given; most often b (50%)" in words
    assert "9 labels have less than 0.5" in words
    assert "1 cell (0.8%) were called unknown" in words
    # 20 cells of c are called b, and one of a unknown.
    assert f"120 cells of 3 types: accuracy {99 / 120:.3f}" in words
    found = tables(run, folder)
    assert found["Labels"].set_index("label")["cells"].to_dict() == {"b": 60, "a": 39, "c": 20, "unknown": 1}
    confusion = found["What is taken for what"].set_index("truth")
    assert confusion.loc["c"].to_dict() == {"a": 0, "b": 20, "c": 20, "unknown": 0}
    donors = found["Donors"]
    assert donors["cells"].tolist() == [40, 40, 40]
    right = np.ones(N)
    right[[0, *range(80, 100)]] = 0
    np.testing.assert_allclose(donors["accuracy"], [right[d::3].mean().round(3) for d in range(3)])
    assert found["Unknown cells"].to_numpy().tolist() == [["far from every reference cell", 1]]
    assert found["Label sets"].set_index("label_set")["cells"].to_dict() == {
        "b | c": 40,
        "b": 40,
        "a": 39,
        "unknown": 1,
    }
    assert run.command == RECORD["command"]
    assert (run.timings, run.versions, run.machine) == (RECORD["timings"], {"scssl": "9.9"}, {"cores": 3})
    assert run.data[0] == {"name": "new.h5ad", "role": "cells to name", "cells": N, "MB": 3.0}
    assert "record" not in run.settings["annotate"]


def test_cells_are_drawn_with_their_columns_and_markers(file, tmp_path):
    (folder := tmp_path / "tables").mkdir()
    cells = next(s for s in run_of_file(file, folder).sections if s.kind == "embedding")
    table, adata = pd.read_csv(folder / cells.file, dtype={"donor": str}), make()
    assert cells.options["colour"] == ["scssl_label", "cell_type"]
    assert {"scssl_label", "scssl_confidence", "cell_type", "donor"} <= set(cells.options["hover"])
    # Numbers that are names stay names; what has no more than one name per cell is no colour.
    assert "donor" in cells.options["names"]
    assert table["donor"].tolist() == adata.obs["donor"].tolist()
    np.testing.assert_allclose(table[["x", "y"]], adata.obsm["X_scssl"], atol=1e-3)
    (title,) = cells.options["features"]
    assert title == "Marker genes"
    assert set(cells.options["features"][title][:3]) == {"GENE0", "GENE1", "GENE2"}
    counts = adata.X.toarray()
    expected = np.log1p(1e4 * counts[:, 1] / counts.sum(axis=1))
    np.testing.assert_allclose(table["GENE1"], expected, atol=1e-3)


def test_more_cells_than_can_be_drawn_are_drawn_at_random(file, tmp_path, monkeypatch):
    monkeypatch.setattr(file_cells, "MAX_CELLS", 50)
    (folder := tmp_path / "tables").mkdir()
    run = run_of_file(file, folder)
    cells = next(s for s in run.sections if s.kind == "embedding")
    table, adata = pd.read_csv(folder / cells.file), make()
    assert len(table) == 50
    assert cells.options["n_cells"] == N
    rows = [
        int(np.flatnonzero(np.abs(adata.obsm["X_scssl"] - xy).max(axis=1) < 1e-3)[0])
        for xy in table[["x", "y"]].to_numpy()
    ]
    assert table["depth"].tolist() == adata.obs["depth"].iloc[rows].tolist()
    # The tables are of all cells.
    assert tables(run, folder)["Labels"]["cells"].sum() == N
    html = report.render(file).read_text()
    assert "50 of 120 cells, drawn at random." in html


def test_page_is_written_beside_the_file_which_is_not_changed(file):
    before = file.read_bytes()
    path = report.render(file)
    assert path == file.with_suffix(".html")
    html = path.read_text()
    assert "Cells named: my cells.h5ad" in html
    assert "default-src 'none'" in html
    assert file.read_bytes() == before
    assert sorted(p.name for p in file.parent.iterdir()) == ["my cells.h5ad", "my cells.html"]


def test_results_written_from_python_have_a_page_too(tmp_path):
    adata = make(record=None)
    adata.uns["scssl"]["other_task"] = {"x": 1}
    adata.write_h5ad(tmp_path / "a.h5ad")
    (folder := tmp_path / "tables").mkdir()
    run = run_of_file(tmp_path / "a.h5ad", folder)
    assert (run.command, run.timings, run.created) == ("", {}, "")
    # No truth was named, so nothing is held against it, unless asked for.
    assert not any("Against" in sentence for sentence in run.summary)
    asked = run_of_file(tmp_path / "a.h5ad", folder, truth="cell_type")
    assert any("accuracy 0.49" in sentence for sentence in asked.summary)


def test_files_saved_in_other_forms_have_a_page_too(tmp_path):
    make().write_zarr(tmp_path / "cells.zarr")
    page = report.render(tmp_path / "cells.zarr")
    assert page == tmp_path / "cells.html"
    assert "Cells named: cells.zarr" in page.read_text()
    bare = make()
    del bare.uns["scssl"]
    bare.write_zarr(tmp_path / "bare.zarr")
    with pytest.raises(FormatError, match="nothing of scssl's is in it"):
        report.render(tmp_path / "bare.zarr")


def test_a_predicted_modality_has_a_page(tmp_path):
    mudata = pytest.importorskip("mudata")
    cells = make()
    del cells.uns["scssl"]
    values = np.random.default_rng(0).random((N, 3)).astype(np.float32)
    predicted = anndata.AnnData(values, obs=pd.DataFrame(index=cells.obs_names[::-1]))
    names = np.array(["CD3", "CD4", "CD8"], dtype=object)
    predicted.uns["scssl"] = {"translate": {"to": "protein", "key": "scssl_protein", "names": names}}
    with mudata.set_options(pull_on_update=False):
        mudata.MuData({"rna": cells, "scssl_protein": predicted}).write(tmp_path / "cells.h5mu")
    html = report.render(tmp_path / "cells.h5mu").read_text()
    assert "Predicted from RNA: cells.h5mu" in html
    assert "3 proteins of 120 cells were predicted" in html
    assert "CD8, predicted" in html


def test_a_user_chosen_name_is_found(tmp_path):
    adata = make(record=None)
    adata.obs.columns = [c.replace("scssl", "mine") for c in adata.obs.columns]
    adata.obsm["X_mine"] = adata.obsm.pop("X_scssl")
    adata.uns["scssl"] = {"annotate_mine": adata.uns["scssl"]["annotate"]}
    adata.write_h5ad(tmp_path / "a.h5ad")
    (folder := tmp_path / "tables").mkdir()
    run = run_of_file(tmp_path / "a.h5ad", folder)
    assert tables(run, folder)["Labels"]["cells"].sum() == N
    assert "obsm['X_mine']" in next(s for s in run.sections if s.kind == "embedding").text


def other_tasks():
    methods = [{"method": m, "pearson": p, "rmse": 1.0} for m, p in (("translator", 0.5), ("ridge", 0.6))]
    ev = {"model": {"weighted_explained_variance": 0.2}, "PCA": {"weighted_explained_variance": 0.3}}
    mixing = {
        "code": {"type_score": 0.5, "mixing_score": 0.7},
        "labels known": {"type_score": 1.0, "mixing_score": None},
    }
    return {
        "translate": ({"methods": methods, "donors": [], "verdict": "loses", "n_cells": 50}, "loses"),
        "reconstruct": (
            {"methods": ev, "scale": "log1p", "n_cells": 50},
            "the best baseline, PCA, 0.300: the baseline",
        ),
        "integrate": ({"verdict": "Mixed well", "notes": ["few cells"], "scores": mixing}, "Mind: few cells."),
        "embed": (None, "were embedded by the model 'm'"),
    }


def test_simulated_cells(tmp_path):
    adata = make(record=None)
    adata.obs["scssl_type"] = adata.obs["cell_type"]
    adata.obs["scssl_donor"] = adata.obs["donor"]
    case = {"method": "mean shift", "verdict": "cannot be judged"}
    settings = {"cases": {"ill": case}, "control": "well", "columns": {"condition": "donor"}, "warning": "no cells."}
    scores = {"methods": {"model": {"explained": 0.9, "mmd": None}, "mean shift": {"explained": 0.75, "mmd": 0.1}}}
    settings |= {"hold_out": "cell_type=B", "record": json.dumps({**RECORD, "scores": scores})}
    adata.uns["scssl"] = {"simulate": settings}
    adata.write_h5ad(tmp_path / "a.h5ad")
    (folder := tmp_path / "tables").mkdir()
    run = run_of_file(tmp_path / "a.h5ad", folder)
    assert "ill: made by mean shift; cannot be judged." in run.summary
    assert "Mind: no cells." in run.summary
    methods = tables(run, folder)["Against baselines"].set_index("method")
    assert methods["explained"].to_dict() == {"model": 0.9, "mean shift": 0.75}
    assert methods["mmd"].astype(str).tolist() == ["", "0.1"]
    groups = tables(run, folder)["Simulated groups"]
    expected = adata.obs.groupby(["scssl_type", "scssl_donor"], observed=True).size()
    assert groups.set_index(["scssl_type", "scssl_donor"])["cells"].sum() == expected.sum() == N
    assert len(groups) == len(expected)


@pytest.mark.parametrize("task", ["translate", "reconstruct", "integrate", "embed"])
def test_other_tasks(task, tmp_path):
    scores, words = other_tasks()[task]
    adata = make(record=None)
    settings = {
        "layer": "X",
        "model": "m",
        "to": "protein",
        "key": "scssl_protein",
        "names": np.array(["P1", "P2"], object),
    }
    if task == "embed":
        settings["key"] = "X_scssl"
    settings["record"] = json.dumps({**RECORD, "scores": scores, "batch": "donor", "labels": "cell_type"})
    adata.uns["scssl"] = {task: settings}
    adata.obsm["scssl_protein"] = np.arange(2 * N, dtype=np.float32).reshape(N, 2)
    adata.obsm["X_scssl_integrated"] = -adata.obsm["X_scssl"]
    adata.layers["scssl_expression"] = np.arange(N * GENES, dtype=np.float32).reshape(N, GENES)
    adata.write_h5ad(tmp_path / "a.h5ad")
    (folder := tmp_path / "tables").mkdir()
    run = run_of_file(tmp_path / "a.h5ad", folder)
    assert words in " ".join(run.summary)
    cells = next(s for s in run.sections if s.kind == "embedding")
    table = pd.read_csv(folder / cells.file)
    features = cells.options["features"]
    if task == "translate":
        assert features["Predicted proteins"] == ["P1, predicted", "P2, predicted"]
        np.testing.assert_allclose(table["P2, predicted"], adata.obsm["scssl_protein"][:, 1])
    if task == "reconstruct":
        assert len(features["Reconstructed"]) == file_run.RECONSTRUCTED
        np.testing.assert_allclose(table["GENE2, reconstructed"], adata.layers["scssl_expression"][:, 2])
    if task == "integrate":
        assert cells.options["colour"] == ["donor", "cell_type"]
        np.testing.assert_allclose(table[["x", "y"]], -adata.obsm["X_scssl"], atol=1e-3)
    assert report.render(tmp_path / "a.h5ad").stat().st_size > 10_000


def test_what_is_no_result_of_scssl_is_refused(tmp_path, file):
    adata = make()
    del adata.uns["scssl"]
    adata.write_h5ad(tmp_path / "plain.h5ad")
    with pytest.raises(FormatError, match="nothing of scssl's is in it"):
        read_content(tmp_path / "plain.h5ad")
    (tmp_path / "notes.h5ad").write_text("no")
    with pytest.raises(FormatError, match=r"not an \.h5ad file"):
        report.render(tmp_path / "notes.h5ad")
    with pytest.raises(DataError, match="obs has no column 'absent'; there are: cell_type"):
        report.render(file, truth="absent")
    adata.uns["scssl"] = {"annotate": {"record": "{"}}
    adata.write_h5ad(tmp_path / "broken.h5ad")
    with pytest.raises(FormatError, match="not readable as JSON"):
        report.render(tmp_path / "broken.h5ad")
    file.with_suffix(".html").write_text("precious")
    with pytest.raises(SettingsError, match="not a report of scssl"):
        report.render(file)
    with pytest.raises(SettingsError, match="has no meaning here"):
        report.render(tmp_path, truth="cell_type")
    assert not list(tmp_path.glob(".*"))


def test_columns_that_cannot_be_told_apart_are_left_out():
    obs = pd.DataFrame(
        {"id": [f"c{i}" for i in range(300)], "n": np.arange(300.0), "none": [None] * 300, "t": ["a", "b"] * 150}
    )
    obs["flag"] = [True, False] * 150
    kept, left = columns_to_show(obs)
    assert list(kept) == ["n", "t", "flag"]
    assert left == ["id", "none"]
    assert kept["flag"].unique().tolist() == ["True", "False"]


def test_genes_are_shown_by_symbol():
    ids = pd.Index(["ENSG00000010610.5", "ENSMUSG00000023274", "XYZ"])
    assert gene_names(pd.DataFrame(index=ids)).tolist() == ["CD4", "Cd4", "XYZ"]
    assert gene_names(pd.DataFrame({"feature_name": ["A", None, ""]}, index=ids)).tolist() == ["A", *ids[1:]]
    assert unique_names(["A", "A", "x"], taken=["x"]) == ["A", "A (2)", "x (2)"]


def test_expression_is_read_of_the_chosen_cells(file):
    rows = np.array([3, 50, 119])
    found = read_expression(file, rows, layer="X")
    counts = make().X.toarray()[rows]
    np.testing.assert_allclose(found.X.toarray(), np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)), rtol=1e-5)


def test_cells_that_lie_nowhere_are_not_laid_out():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(30, 5))
    Z[4] = np.nan
    points = lay_out(Z, sp.csr_matrix((30, 3)))
    assert np.isnan(points[4]).all()
    assert np.isfinite(np.delete(points, 4, axis=0)).all()
    X = sp.random(30, 20, density=0.5, format="csr", random_state=0)
    assert np.isfinite(lay_out(None, X)).all()
