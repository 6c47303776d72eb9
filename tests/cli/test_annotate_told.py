"""What `scssl annotate` says of its result, in the terminal and on the page."""

from __future__ import annotations

import dataclasses
import json

import anndata
import numpy as np
import pandas as pd
import pytest

import scssl
from scssl.cli._annotate_outcome import outcome
from scssl.cli.app import main
from scssl.report.file_run import run_of_file
from scssl.tasks import Annotation

CLASSES = ["a", "b"]


class Kinds:
    """Labels a, b and c, of which a is a kind of c."""

    labels = ("a", "b", "c")
    descends = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]], dtype=bool)

    def __len__(self) -> int:
        return 2


def annotation(best, *, reasons, truth="aabbc"):
    """Five cells with these best guesses (-1: no counts) and reasons of rejection."""
    n = len(best)
    settings = {"mode": "zero_shot", "confidence": "probability, calibrated", "error_budget": 0.05, "labels": "type",
                "rejection": "by distance", "reference": "r.h5ad", "n_reference_cells": 9}  # fmt: skip
    return Annotation(
        labels=pd.Categorical.from_codes(best, categories=pd.Index(CLASSES, dtype=object)),
        confidence=np.where(np.array(best) < 0, 0, 0.8).astype(np.float32),
        probabilities=np.full((n, 2), 0.5, dtype=np.float32),
        embedding=np.zeros((n, 2), dtype=np.float32),
        obs=pd.DataFrame({"truth": list(truth)}),
        file="q",
        settings=settings,
        unknown=np.array(reasons, dtype=object),
    )


def told(found, tmp_path):
    return outcome(found, found.score("truth"), out=tmp_path / "o", keys=[], truth="truth", save=None)


def page(found, tmp_path):
    scores = found.score("truth").summary()
    adata = anndata.AnnData(np.ones((len(found.obs), 3), dtype=np.float32), obs=found.obs.rename(index=str))
    found.results().into(adata)
    adata.uns["scssl"]["annotate"]["record"] = json.dumps({"truth": "truth", "scores": scores})
    adata.write_h5ad(tmp_path / "page.h5ad")
    (folder := tmp_path / "tables").mkdir()
    return run_of_file(tmp_path / "page.h5ad", folder)


def test_rejected_cells_are_scored_alike_in_the_terminal_and_on_the_page(tmp_path):
    found = annotation([0, 1, 1, 1, 0], reasons=["far", "far", "", "", ""])
    # As written: unknown, unknown, b, b, a of a, a, b, b, c; as guessed: a, b, b, b, a.
    words = (
        "accuracy 0.400, macro F1 0.333, balanced accuracy 0.333, where cells called unknown count as wrong; "
        "0.600, 0.433 and 0.500 by the best guess for all"
    )
    result = told(found, tmp_path)
    assert f"5 cells of 3 types: {words}\n" in result.text
    assert result.result["scores"]["called"]["accuracy"] == pytest.approx(0.4)
    assert f"5 cells of 3 types: {words}." in " ".join(page(found, tmp_path).summary)


def test_where_none_is_rejected_there_is_one_accuracy(tmp_path):
    found = annotation([0, 1, 1, 1, 0], reasons=[""] * 5)
    result = told(found, tmp_path)
    assert "accuracy 0.600, macro F1 0.433, balanced accuracy 0.500\n" in result.text
    assert "called" not in result.result["scores"]


def test_where_all_cells_are_rejected_numbers_agree_and_none_is_made_up(tmp_path):
    found = annotation([0, 0, 1, 1, -1], reasons=["too few genes measured"] * 5)
    result = told(found, tmp_path)
    # The cell without counts has no label, and is not counted among those that were rejected.
    assert result.result["unknown"]["reasons"] == {"too few genes measured": 4}
    assert "too few genes measured 4; 4 of 4 cells is far more than that" in result.text
    run = page(found, tmp_path)
    words = " ".join(run.summary)
    assert "No cell got a label. 4 cells (100.0%) were called unknown, far more than the 5% allowed" in words
    assert "nan" not in words
    tables = {s.title: pd.read_csv(tmp_path / "tables" / s.file) for s in run.sections}
    labels = tables["Labels"].set_index("label")
    assert labels.loc["unknown", ["cells", "mean_confidence", "below_0.5"]].tolist() == [4, 0.8, 0]
    assert labels.loc["(no label)", ["mean_confidence", "below_0.5"]].isna().all()
    assert tables["Unknown cells"]["cells"].tolist() == [4]
    text = next(s.text for s in run.sections if s.title == "Unknown cells")
    assert "about 5% of the cells of known types are called so; here 4 of 4 cells with counts were, far more" in text


def test_cells_without_counts_are_counted_apart(tmp_path):
    sets = np.array([[1, 0], [1, 1], [0, 1], [1, 1], [1, 0]], dtype=bool)
    found = dataclasses.replace(
        annotation([0, 1, 1, -1, 0], reasons=["far", "", "", "too few counts", ""]), sets=sets, calibrated=True,
        set_names=np.array(["a", "a | b", "b", "", "a"]),
    )  # fmt: skip
    found.settings.update({"error_rate": 0.1, "held_out": {"rate_holds_for": "donors", "unit": "donors"}})
    found.obs["donor"] = list("xxyyy")
    result = told(found, tmp_path)
    assert result.result["n_without_counts"] == 1
    # Of b, b and a, which were given: the first cell is unknown.
    assert result.result["mean_confidence"] == 0.8
    scores = result.result["scores"]
    assert (scores["n_cells"], scores["n_without_counts"]) == (5, 1)
    assert scores["rejection"] == {
        "rejected": 0.25, "known": 0.3333, "new": 0.0, "accuracy_kept": 0.3333, "reasons": {"far": 1}
    }  # fmt: skip
    assert [row["n_cells"] for row in scores["coverage"]] == [2, 2]
    assert "called unknown: 0.333 of cells of types that the reference has, 0.000 of the others" in result.text
    assert "label sets hold the true label of 0.750 of cells, lowest" in result.text
    run = page(found, tmp_path)
    words = " ".join(run.summary)
    assert "Mean confidence is 0.80." in words
    assert "1 cell (25.0%) were called unknown" in words
    assert "1 cell without counts on the model's genes got no label" in words
    tables = {s.title: pd.read_csv(tmp_path / "tables" / s.file) for s in run.sections}
    assert tables["Label sets"].set_index("label_set")["share"].to_dict() == {"a": 0.5, "a | b": 0.25, "b": 0.25}
    assert tables["Donors"].set_index("donor")["unknown_share"].to_dict() == {"x": 0.5, "y": 0.0}


def test_where_no_cell_has_counts_nothing_is_made_up(tmp_path):
    found = dataclasses.replace(
        annotation([-1] * 5, reasons=["too few counts"] * 5), sets=np.ones((5, 2), dtype=bool), calibrated=True,
        set_names=np.array([""] * 5),
    )  # fmt: skip
    found.settings.update({"error_rate": 0.1, "held_out": {"rate_holds_for": "donors", "unit": "donors"}})
    result = told(found, tmp_path)
    assert result.result["mean_confidence"] is None
    assert {"calibration", "coverage", "label_sets"}.isdisjoint({*result.result, *result.result["scores"]})
    assert "nan" not in result.text
    assert "nan" not in " ".join(page(found, tmp_path).summary)


def test_where_few_are_rejected_nothing_is_far_more(tmp_path):
    found = annotation([0] * 20, reasons=["far", *[""] * 19], truth="a" * 20)
    assert "far more" not in told(found, tmp_path).text
    run = page(found, tmp_path)
    assert "far more" not in " ".join([*run.summary, *(s.text for s in run.sections)])


def test_types_that_the_reference_lacks_stand_on_the_page(tmp_path):
    found = annotation([0, 1, 1, 1, 0], reasons=[""] * 5)
    assert "Mind: not in the reference, so counted as wrong: c." in page(found, tmp_path).summary


@pytest.mark.parametrize("unit", ["cells", "donors"])
def test_the_page_says_what_was_held_out(unit, tmp_path):
    found = annotation([0, 1, 1, 1, 0], reasons=[""] * 5)
    found.settings["held_out"] = {"unit": unit}
    text = next(s.text for s in page(found, tmp_path).sections if s.title == "Labels")
    assert f"learned on held-out {unit} of the reference" in text


def test_the_page_names_types_with_a_slash(tmp_path):
    found = annotation([0, 1, 1, 1, 0], reasons=[""] * 5)
    found = dataclasses.replace(found, labels=found.labels.rename_categories({"b": "T/NK"}))
    held = {
        "unit": "donors",
        "accuracy": 0.9,
        "confidence": 0.9,
        "n_cells": 9,
        "rejected_wrongly": {"a": 0.1, "T/NK": 0.2},
    }
    found.settings["held_out"] = held
    page(found, tmp_path)
    name = "Would a new type be noticed?"
    for folder in ("tables", "older"):
        (tmp_path / folder).mkdir(exist_ok=True)
        if folder == "older":
            # As files had it: one table within the other.
            adata = anndata.read_h5ad(tmp_path / "page.h5ad")
            adata.uns["scssl"]["annotate"]["held_out"]["rejected_wrongly"] = {"a": 0.1, "T": {"NK": 0.2}}
            adata.write_h5ad(tmp_path / "page.h5ad")
        (section,) = [s for s in run_of_file(tmp_path / "page.h5ad", tmp_path / folder).sections if s.title == name]
        table = pd.read_csv(tmp_path / folder / section.file)
        assert dict(table.to_numpy().tolist()) == {"a": 0.1, "T/NK": 0.2}


def test_the_page_has_coverage_by_donor_and_by_kind(tmp_path, monkeypatch):
    monkeypatch.setattr("scssl.tasks.annotate.annotation.with_truth", lambda tree, _: tree)
    sets = np.array([[1, 0], [1, 1], [0, 1], [1, 0], [1, 0]], dtype=bool)
    found = dataclasses.replace(
        annotation([0, 1, 1, 1, 0], reasons=[""] * 5), sets=sets, set_names=np.array(list("aabab"), dtype=object),
        tree=Kinds(), calibrated=True,
    )  # fmt: skip
    found.obs["donor"] = ["two", "two", "ten", "ten", "ten"]
    run = page(found, tmp_path)
    (section,) = [s for s in run.sections if s.title == "Do label sets hold the true label?"]
    table = pd.read_csv(tmp_path / "tables" / section.file).set_index("donor")
    # Of a, a, b, b, c: the fourth set lacks b, the last holds the a that is a kind of c.
    assert table.loc["two", ["cells", "held", "held_by_kind", "labels_per_set"]].tolist() == [2, 1, 1, 1.5]
    assert table.loc["ten", ["cells", "held", "held_by_kind", "labels_per_set"]].tolist() == [3, 0.333, 0.667, 1]
    (text,) = [s.text for s in run.sections if s.kind == "reliability"]
    assert "By names alone: where a kind of the true type counts as right, the expected calibration error" in text


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """A reference and a query that measured few of the genes of the model, in files."""
    folder = tmp_path_factory.mktemp("told")
    adata = scssl.datasets.simulate_atlas(400, 150, n_types=3, type_effect=3.0)
    scssl.pretrain(adata, preset="small", genes="union", max_epochs=1).save(folder / "model")
    held_out = adata.obs["donor"].isin(adata.obs["donor"].cat.categories[::3]).to_numpy()
    adata[~held_out, :60].copy().write_h5ad(folder / "reference.h5ad")
    adata[held_out, :52].copy().write_h5ad(folder / "query.h5ad")
    return folder


def test_warnings_stay_with_the_result_and_stand_on_the_page(atlas, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("scssl.corpus.query.FEW_GENES", 0.5)
    words = [
        "annotate", str(atlas / "query.h5ad"), "--model", str(atlas / "model"), "--reference",
        str(atlas / "reference.h5ad"), "--labels", "cell_type", "--out", str(tmp_path / "a.h5ad"), "--save",
        str(tmp_path / "annotator"),
    ]  # fmt: skip
    assert main(words) == 0
    assert f"{atlas / 'query.h5ad'}: measured 52 of" in capsys.readouterr().err
    again = ["annotate", words[1], "--model", words[-1], "--out", str(tmp_path / "b.h5ad")]
    assert main(again) == 0
    for name in "ab":
        kept = anndata.read_h5ad(tmp_path / f"{name}.h5ad").uns["scssl"]["annotate"]["warnings"].tolist()
        # Files are called by their names: where they lay is nobody's business.
        assert sum(line.startswith("reference.h5ad: measured 60 of") for line in kept) == 1
        assert sum(line.startswith("query.h5ad: measured 52 of") for line in kept) == 1
        assert not any(str(atlas) in line for line in kept)
        (folder := tmp_path / f"tables_{name}").mkdir()
        run = run_of_file(tmp_path / f"{name}.h5ad", folder)
        assert [line for line in run.summary if line.startswith("Mind: ")] == [f"Mind: {line}." for line in kept]
        # Before all scores.
        assert run.summary[2].startswith("Mind: ")


def test_labels_without_warnings_have_none(atlas):
    reference = anndata.read_h5ad(atlas / "reference.h5ad")
    annotator = scssl.tasks.Annotator(atlas / "model").fit(reference, labels="cell_type")
    assert annotator.fitted.warnings == ()
    assert "warnings" not in annotator.annotate(reference).settings
