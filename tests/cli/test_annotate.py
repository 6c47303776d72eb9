"""`scssl annotate` from file to file."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scssl
from scssl.cli.app import main

pytestmark = pytest.mark.usefixtures("brief_finetuning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotate")
    adata = scssl.datasets.simulate_atlas(500, 200, n_types=3, type_effect=3.0)
    held_out = adata.obs["donor"].isin(adata.obs["donor"].cat.categories[::3]).to_numpy()
    adata.obs["truth"] = adata.obs["cell_type"].astype(str).replace({"type_1": "first", "type_3": "unknown"})
    adata[~held_out].copy().write_h5ad(folder / "reference.h5ad")
    adata[held_out].copy().write_h5ad(folder / "query.h5ad")
    scssl.pretrain(adata[~held_out].copy(), preset="small", genes="union", max_epochs=1).save(folder / "model")
    (folder / "map.csv").write_text("first,type_1\n")
    return folder


def command(folder, out, *more, query="query.h5ad", labels="cell_type"):
    return [
        "annotate", str(folder / query), "--model", str(folder / "model"), "--reference",
        str(folder / "reference.h5ad"), "--labels", labels, "--out", str(out), *more,
    ]  # fmt: skip


def test_file_to_file(folder, tmp_path, capsys):
    before = (folder / "query.h5ad").read_bytes()
    assert main(command(folder, tmp_path / "o.h5ad")) == 0
    printed = capsys.readouterr()
    assert "type_1" in printed.out
    assert "mean confidence" in printed.out
    assert "GB of memory" in printed.err
    assert (folder / "query.h5ad").read_bytes() == before
    query, out = anndata.read_h5ad(folder / "query.h5ad"), anndata.read_h5ad(tmp_path / "o.h5ad")
    assert (out.X != query.X).nnz == 0
    added = ["scssl_label", "scssl_confidence", "scssl_label_set", "scssl_unknown"]
    assert out.obs.columns.tolist() == [*query.obs.columns, *added]
    assert "label sets, which miss the true label of 10%" in printed.out
    assert "unknown, where 5% of cells of known types" in printed.out
    assert out.obsm["X_scssl"].dtype == np.float32
    assert set(out.obs["scssl_label"].cat.categories) == {"type_1", "type_2", "type_3", "unknown"}
    settings = out.uns["scssl"]["annotate"]
    assert settings["model"] == str(folder / "model")
    assert settings["reference"] == str(folder / "reference.h5ad")
    python = scssl.tasks.Annotator(folder / "model").fit(folder / "reference.h5ad").annotate(query)
    assert list(python.called) == list(out.obs["scssl_label"])


def test_json_with_truth_and_map(folder, tmp_path, capsys):
    more = ("--truth", "truth", "--label-map", str(folder / "map.csv"), "--json", "--k", "3", "--key-added", "mine",
            "--error-budget", "0")  # fmt: skip
    assert main(command(folder, tmp_path / "o.h5ad", *more, "--seed", "1")) == 0
    said = capsys.readouterr()
    assert "--label-map" not in said.err
    result = json.loads(said.out)
    n_unknown = (anndata.read_h5ad(folder / "query.h5ad").obs["truth"] == "unknown").sum()
    assert result["scores"]["unused_cells"] == n_unknown
    assert result["scores"]["missing_classes"] == []
    assert result["scores"]["n_cells"] + n_unknown == result["n_cells"] == sum(r["n_cells"] for r in result["labels"])
    assert 0 <= result["scores"]["macro_f1"] <= 1
    assert 0 <= result["scores"]["calibration"]["ece"] <= 1
    assert result["label_sets"]["error_rate"] == 0.1
    assert "unknown" not in result
    assert result["keys"] == ["mine_label", "mine_confidence", "mine_label_set", "X_mine"]
    out = anndata.read_h5ad(tmp_path / "o.h5ad")
    assert "mine_label" in out.obs
    accuracy = (out.obs["mine_label"].astype(str) == out.obs["truth"].replace({"first": "type_1"}).astype(str)).sum()
    assert result["scores"]["accuracy"] == pytest.approx(accuracy / result["scores"]["n_cells"])


def test_the_result_has_a_report_with_the_command_and_the_scores(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("scssl.report.file_run.lay_out", lambda Z, X: Z[:, :2])
    more = ("--truth", "truth", "--label-map", str(folder / "map.csv"), "--json", "--error-budget", "0")
    assert main(command(folder, tmp_path / "o.h5ad", *more)) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert main(["report", str(tmp_path / "o.h5ad")]) == 0
    html = (tmp_path / "o.html").read_text()
    assert f"accuracy {scores['accuracy']:.3f}, macro F1 {scores['macro_f1']:.3f}, balanced" in html
    record = json.loads(anndata.read_h5ad(tmp_path / "o.h5ad").uns["scssl"]["annotate"]["record"])
    assert record["label_map"] == {"first": "type_1"}
    assert [one["role"] for one in record["inputs"]] == ["cells to name", "labelled cells"]
    assert record["model"]["preset"] == "small"
    assert {"read, and learn from the reference", "name the cells", "score and explain"} == set(record["timings"])


def test_scores_for_people_name_missing_types(folder, tmp_path, capsys):
    assert main(command(folder, tmp_path / "o.h5ad", "--truth", "truth")) == 0
    said = capsys.readouterr()
    out = said.out
    assert "macro F1" in out
    assert "not in the reference, so counted as wrong: first" in out
    # Before the work starts, too.
    assert "1 of the 2 names in obs['truth']" in said.err
    assert "--label-map" in said.err
    assert "without a true label: not scored" in out


def test_other_formats_come_out_as_h5ad(folder, tmp_path):
    query = anndata.read_h5ad(folder / "query.h5ad")
    with anndata.settings.override(zarr_write_format=3):
        query.write_zarr(folder / "query.zarr")
    assert main(command(folder, tmp_path / "zarr.h5ad", query="query.zarr")) == 0
    assert main(command(folder, tmp_path / "h5ad.h5ad")) == 0
    first, second = (anndata.read_h5ad(tmp_path / f"{kind}.h5ad") for kind in ("zarr", "h5ad"))
    assert list(first.obs["scssl_label"]) == list(second.obs["scssl_label"])
    assert (first.X != second.X).nnz == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--mode", "magic"), "zero_shot"),
        (("--k", "0"), "k is 0"),
        (("--error-rate", "1.5"), "error_rate"),
        (("--donor", "person"), "no column 'person'"),
        (("--mode", "probe", "--class-weight", "odd"), "balanced"),
        (("--ontology", "nowhere.obo"), "nowhere.obo"),
        (("--truth", "nothing"), "no column 'nothing'"),
        (("--label-map", "map.csv"), "needs --truth"),
        (("--truth", "truth", "--label-map", "nowhere.csv"), "no such file"),
        (("--layer", "counts"), "has no layer 'counts'"),
        (("--truth", "donor"), "give --label-map"),
        (("--mode", "probe", "--k", "7"), "--k has no effect in --mode probe"),
        (("--class-weight", "none"), "--class-weight has no effect in --mode zero_shot"),
        (("--calibrate", "never", "--error-rate", "0.2"), "--error-rate has no effect with --calibrate never"),
        (("--calibrate", "never", "--error-budget", "0"), "--error-budget has no effect with --calibrate never"),
        (("--calibrate", "never", "--donor", "donor"), "--donor has no effect with --calibrate never"),
        (("--error-rate", "0", "--ontology", "bundled"), "--ontology has no effect without label sets"),
    ],
)
def test_mistakes_cost_one_line_and_leave_nothing(folder, tmp_path, capsys, more, words):
    assert main(command(folder, tmp_path / "o.h5ad", *more)) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_options_that_another_option_needs_are_taken():
    from scssl.cli._annotate_checks import check_effect

    named = {"donor": "donor", "ontology": "cl.obo", "named": True}
    check_effect({"calibrate": "never", "mode": "finetune", "class_weight": "none"}, **named)
    check_effect({"mode": "zero_shot", "k": 7, "error_rate": 0.2}, donor="donor", ontology="cl.obo", named=False)
    check_effect({"calibrate": "never", "k": 3}, donor=None, ontology="cl.obo", named=True)


def test_estimates_know_of_mode_and_explanation(tmp_path):
    from scssl.cli._estimate import estimate, seconds_to_explain, seconds_to_learn

    shape = {"hidden": [64], "n_latent": 8}
    (tmp_path / "config.json").write_text(json.dumps({"n_genes": 1000, "config": {"architecture": shape}}))
    given = {"n_reference": 50_000, "n_labels": 20}

    def seconds(mode, folder=tmp_path, judged=True):
        return seconds_to_learn(folder, mode=mode, judged=judged, **given)

    assert seconds("zero_shot") < min(seconds(mode) for mode in ("probe", "finetune", "scratch"))
    assert seconds("probe", judged=False) < seconds("probe")
    # What a model does not say is taken to be as in the default, which is larger.
    assert seconds("finetune", tmp_path / "none") > seconds("finetune")
    assert seconds_to_explain(tmp_path, n_cells=2000) == 2 * seconds_to_explain(tmp_path, n_cells=1000) > 0
    size = {"n_cells": 1000, "n_features": 1000, "n_reference": 1000}
    assert estimate(tmp_path / "a.h5ad", **size).startswith("about 8 s")
    assert estimate(tmp_path / "a.h5ad", **size, also=60).startswith("about 68 s")


OBO = """format-version: 1.2

[Term]
id: CL:0000000
name: cell

[Term]
id: CL:0000084
name: T cell
is_a: CL:0000000

[Term]
id: CL:0000624
name: CD4-positive, alpha-beta T cell
is_a: CL:0000084

[Term]
id: CL:0000625
name: CD8-positive, alpha-beta T cell
is_a: CL:0000084

[Term]
id: CL:0000236
name: B cell
is_a: CL:0000000
"""


def test_truth_at_another_level_than_the_reference(folder, tmp_path, capsys):
    finer, coarser = {"type_1": "CD4 T", "type_2": "CD8 T", "type_3": "B"}, {"type_3": "B lymphoid"}
    (tmp_path / "cl.obo").write_text(OBO)
    for name, names in (("reference", finer), ("query", {**dict.fromkeys(finer, "T cell"), **coarser})):
        adata = anndata.read_h5ad(folder / f"{name}.h5ad")
        adata.obs["cell_type"] = adata.obs["cell_type"].astype(str).replace(names)
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
    words = [
        "annotate", str(tmp_path / "query.h5ad"), "--model", str(folder / "model"), "--reference",
        str(tmp_path / "reference.h5ad"), "--labels", "cell_type", "--truth", "cell_type", "--json",
    ]  # fmt: skip
    # By names nothing fits, and that would be refused.
    assert main([*words, "--out", str(tmp_path / "o.h5ad")]) == 2
    assert "no name in obs['cell_type']" in capsys.readouterr().err
    placed = ["--ontology", str(tmp_path / "cl.obo"), "--save", str(tmp_path / "annotator")]
    assert main([*words, "--out", str(tmp_path / "o.h5ad"), *placed]) == 0
    said = capsys.readouterr()
    assert "(the 1 of" not in said.err
    scores = json.loads(said.out)["scores"]
    assert scores["accuracy"] == 0
    assert scores["hierarchical"]["accuracy"] > 0.4
    assert scores["calibration"]["accuracy"] == 0
    assert scores["hierarchical"]["calibration"]["accuracy"] == pytest.approx(scores["hierarchical"]["accuracy"])
    assert scores["coverage"][0]["coverage"] == 0 < scores["hierarchical"]["coverage"][0]["coverage"]
    assert scores["rejection"]["known"] is None
    assert scores["hierarchical"]["rejection"]["known"] is not None
    # A saved annotator knows the hierarchy.
    again = [*words[:2], "--model", str(tmp_path / "annotator"), "--truth", "cell_type", "--json"]
    assert main([*again, "--out", str(tmp_path / "p.h5ad")]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == scores


def test_more_mistakes(folder, tmp_path, capsys):
    assert main(command(folder, tmp_path / "o.h5ad", labels="celltype")) == 2
    assert "there are: cell_type" in capsys.readouterr().err
    assert main(command(folder, folder / "query.h5ad")) == 2
    assert "never changed" in capsys.readouterr().err
    assert main(command(folder, tmp_path / "o.zarr")) == 2
    assert ".h5ad" in capsys.readouterr().err
    assert main(command(folder, tmp_path / "o.h5ad", query="absent.h5ad")) == 2
    assert "no such file" in capsys.readouterr().err


def test_output_that_exists_is_kept_unless_told(folder, tmp_path, capsys):
    out = tmp_path / "o.h5ad"
    out.write_text("precious")
    assert main(command(folder, out)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert main(command(folder, out, "--overwrite")) == 0
    anndata.read_h5ad(out)


def test_log_values_are_refused(folder, tmp_path, capsys):
    query = anndata.read_h5ad(folder / "query.h5ad")
    query.X = sparse.csr_matrix(query.X.astype(np.float32).log1p())
    query.write_h5ad(tmp_path / "log.h5ad")
    (tmp_path / "out").mkdir()
    assert main(command(folder, tmp_path / "out" / "o.h5ad", query=tmp_path / "log.h5ad")) == 2
    assert "log.h5ad" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_saved_annotators_are_used_like_models(folder, tmp_path, capsys):
    kept = tmp_path / "annotator"
    assert main(command(folder, tmp_path / "a.h5ad", "--mode", "probe", "--save", str(kept))) == 0
    assert f"Annotator kept: {kept}" in capsys.readouterr().out.replace("\n", "")
    words = ["annotate", str(folder / "query.h5ad"), "--model", str(kept), "--out", str(tmp_path / "b.h5ad")]
    assert main([*words, "--truth", "cell_type", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["settings"]["mode"] == "probe"
    first, second = (anndata.read_h5ad(tmp_path / f"{name}.h5ad") for name in "ab")
    for name in ("scssl_label", "scssl_confidence", "scssl_label_set", "scssl_unknown"):
        assert first.obs[name].tolist() == second.obs[name].tolist()
    assert main([*words, "--overwrite", "--mode", "zero_shot"]) == 2
    assert "--mode cannot be chosen for the annotator" in capsys.readouterr().err.replace("\n", "")
    assert main(command(folder, tmp_path / "c.h5ad", "--save", str(kept))) == 2
    assert "exists already" in capsys.readouterr().err
    assert not (tmp_path / "c.h5ad").exists()


@pytest.mark.parametrize("mode", ["finetune", "scratch"])
def test_modes_that_train(folder, tmp_path, capsys, mode):
    assert main(command(folder, tmp_path / "o.h5ad", "--mode", mode, "--json", "--seed", "1")) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["training"]["seed"] == 1
    assert settings["training"]["cells"]["val"] > 0


def test_a_plain_model_needs_a_reference(folder, tmp_path, capsys):
    words = [
        "annotate",
        str(folder / "query.h5ad"),
        "--model",
        str(folder / "model"),
        "--out",
        str(tmp_path / "o.h5ad"),
    ]
    assert main(words) == 2
    said = capsys.readouterr().err.replace("\n", " ")
    assert "is not a saved annotator" in said
    assert "--reference and --labels" in said


def test_explained_labels(folder, tmp_path, capsys):
    words = command(folder, tmp_path / "o.h5ad", "--mode", "probe", "--explain", str(tmp_path / "why"), "--json")
    assert main(words) == 0
    genes = json.loads(capsys.readouterr().out)["genes"]
    table = pd.read_csv(tmp_path / "why" / "genes_per_label.csv")
    assert set(table["label"]) == set(genes["labels"])
    assert {"cell", "label", "gene", "score"} <= set(pd.read_csv(tmp_path / "why" / "genes_per_cell.csv").columns)
    assert main([*words, "--overwrite"]) == 2
    assert "choose another folder for --explain" in capsys.readouterr().err.replace("\n", " ")


def test_genes_that_spoke_by_their_absence_are_told_apart():
    from scssl.cli._annotate_outcome import _genes
    from scssl.tasks.annotate.explanation import Explanation

    columns = ["label", "gene", "symbol", "mean_log1p", "baseline_log1p"]
    rows = [["T", "ENSG1", "CD3D", 2.0, 0.5], ["T", "ENSG2", "HLA-DRA", 0.1, 0.9], ["T", "ENSG3", None, 1.0, 0.9]]
    per_type, empty = pd.DataFrame(rows, columns=columns), pd.DataFrame()
    found = Explanation(per_cell=empty, per_type=per_type, cells=empty, settings={})
    result = {}
    assert _genes(found, result, folder="why")[-1] == "  T: CD3D, without HLA-DRA, ENSG3"
    assert result["genes"]["labels"] == {"T": ["CD3D", "HLA-DRA", "ENSG3"]}


@pytest.mark.parametrize(
    ("save", "explain"),
    [("same", "same"), ("o.h5ad", None), ("o.h5ad/in", None), ("a", "a/in"), ("../MODEL/in", None)],
)
def test_results_in_the_place_of_each_other_are_refused_before_the_work(folder, tmp_path, capsys, save, explain):
    save = folder / "model" / "in" if "MODEL" in save else tmp_path / save
    more = [] if explain is None else ["--explain", str(tmp_path / explain)]
    assert main(command(folder, tmp_path / "o.h5ad", "--save", str(save), *more)) == 2
    assert "choose another place for --" in capsys.readouterr().err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []
    assert not (folder / "model" / "in").exists()


def test_several_processes_share_a_query(folder, tmp_path):
    assert main(command(folder, tmp_path / "one.h5ad", "--device", "cpu")) == 0
    assert main(command(folder, tmp_path / "two.h5ad", "--device", "cpu", "--devices", "2")) == 0
    one, two = (anndata.read_h5ad(tmp_path / name) for name in ("one.h5ad", "two.h5ad"))
    np.testing.assert_array_equal(one.obsm["X_scssl"], two.obsm["X_scssl"])
    assert list(one.obs["scssl_label"]) == list(two.obs["scssl_label"])
