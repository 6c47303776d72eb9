"""Scores of a study that know the Cell Ontology, against those of the names one by one."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import scssl
from scssl.errors import FormatError, MissingExtraError, SettingsError, import_extra
from scssl.metrics import hierarchical_scores
from scssl.ontology import guide
from scssl.report import render
from scssl.study import fitting, get_plan
from scssl.study.hierarchy import place

OBO = """format-version: 1.2
data-version: tiny/1

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
id: CL:0000236
name: B cell
is_a: CL:0000000
"""
NAMES = ["T cell", "CD4 T", "B cell"]


@pytest.fixture
def obo(tmp_path):
    path = tmp_path / "cl.obo"
    path.write_text(OBO, encoding="utf-8")
    return path


@pytest.fixture
def no_guide(monkeypatch):
    # Whatever is installed here: a package of this name is nowhere.
    monkeypatch.setattr(guide, "import_extra", lambda module, extra: import_extra("scssl_absent", extra=extra))


def test_labels_are_placed_and_what_is_not_is_named(obo):
    found = place([*NAMES, "cluster 7"], ontology=obo, terms=None)
    expected = np.eye(4, dtype=bool)
    expected[1, 0] = True
    np.testing.assert_array_equal(found.descends, expected)
    assert found.settings["kinds"] == [["CD4 T", "T cell"]]
    assert found.settings["terms"]["cluster 7"] is None
    assert len(found.notes) == 1
    assert "1 of 4 labels have no certain term" in found.notes[0]
    assert "cluster 7" in found.notes[0]


def test_terms_that_are_given_decide(obo, tmp_path):
    (tmp_path / "terms.csv").write_text("label,term\ncluster 7,CL:0000624\n")
    found = place(["T cell", "cluster 7"], ontology=obo, terms=tmp_path / "terms.csv")
    assert found.settings["kinds"] == [["cluster 7", "T cell"]]
    assert found.notes == []
    (tmp_path / "terms.csv").write_text("label,term\n\ncluster 7,CL:7777777\n")
    with pytest.raises(FormatError, match=r"terms.csv, line 3: 'CL:7777777' is neither"):
        place(["T cell", "cluster 7"], ontology=obo, terms=tmp_path / "terms.csv")
    with pytest.raises(SettingsError, match="has no effect with --ontology none"):
        place(["T cell"], ontology="none", terms=tmp_path / "terms.csv")


@pytest.mark.parametrize(
    ("labels", "why"), [(["x1", "x2"], "no label has a certain term"), (["T cell", "B"], "no label is a kind of")]
)
def test_where_there_is_nothing_to_know_it_is_said_once(obo, labels, why):
    found = place(labels, ontology=obo, terms=None)
    assert found.descends is None
    assert len(found.notes) == 1
    assert why in found.notes[0]
    assert not found.settings["scored"]


def test_without_an_ontology(no_guide, tmp_path):
    found = place(NAMES, ontology=None, terms=None)
    assert found.descends is None
    assert "pip install 'scssl[ontology]'" in found.notes[0]
    assert place(NAMES, ontology="none", terms=None).notes == []
    for asked in ({"ontology": "bundled", "terms": None}, {"ontology": None, "terms": tmp_path / "t.csv"}):
        with pytest.raises(MissingExtraError):
            place(NAMES, **asked)


def test_tables_have_both_scores_and_the_report_shows_both(
    obo, two_studies, tiny_corpus, tiny_plan, tmp_path, monkeypatch
):
    target = two_studies[1].copy()
    kinds = np.unique(target.obs["cell_type"].astype(str), return_inverse=True)[1]
    truth = np.array(NAMES, dtype=object)[kinds]
    target.obs["cell_type"] = pd.Categorical(truth)
    guesses = {}

    def guess(work, method, fit, network):
        rng = np.random.default_rng(sorted(work.methods).index(method.name))
        codes = fit.target.codes[fit.test]
        found = np.where(rng.random(len(codes)) < 0.6, codes, rng.integers(0, 3, len(codes)))
        guesses.setdefault(method.name, {}).update(zip(fit.test.tolist(), found.tolist(), strict=True))
        return found

    monkeypatch.setattr(fitting, "_predict", guess)
    plan = get_plan(tiny_plan, modes=("zero_shot", "scratch"), baselines=("logistic",))
    result = scssl.study.run(
        tiny_corpus, target=target, labels="cell_type", donor="donor", plan=plan, out=tmp_path / "out", device="cpu",
        ontology=obo,
    )  # fmt: skip
    classes = sorted(set(truth))
    tree = scssl.ontology.LabelTree(
        classes, terms=result.settings["hierarchy"]["terms"], ontology=scssl.ontology.CellOntology.open(obo)
    )
    scores = result.scores.set_index("method")
    for name, found in guesses.items():
        called = np.array(classes, dtype=object)[[found[i] for i in range(len(truth))]]
        expected = hierarchical_scores(truth, called, classes=classes, descends=tree.descends)
        for way, each in (("", expected.raw), ("hierarchical_", expected.hierarchical)):
            assert scores.loc[name, f"{way}macro_f1"] == pytest.approx(each.macro_f1)
            assert scores.loc[name, f"{way}micro_f1"] == pytest.approx(each.accuracy)
            assert scores.loc[name, f"{way}balanced_accuracy"] == pytest.approx(each.balanced_accuracy)
            types = result.per_type[result.per_type["method"] == name].set_index("type")
            for score in ("f1", "precision", "recall"):
                np.testing.assert_allclose(types.loc[classes, f"{way}{score}"], each.per_class.loc[classes, score])
        assert scores.loc[name, "hierarchical_micro_f1"] > scores.loc[name, "micro_f1"]
    first = result.differences.set_index(["method", "against"]).loc[("best pre-trained", "best simple baseline")]
    simple = ["logistic", "none:zero_shot"]
    for way in ("", "hierarchical_"):
        best = scores.loc["masked:zero_shot", f"{way}macro_f1"] - scores.loc[simple, f"{way}macro_f1"].max()
        assert first[f"{way}difference"] == pytest.approx(best)
        assert first[f"{way}low"] <= first[f"{way}difference"] <= first[f"{way}high"]
    assert {"hierarchical_macro_f1", "hierarchical_micro_f1"} <= set(result.results)
    said = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert "hierarchical_macro_f1" in said["scores"][0]
    assert said["hierarchy"]["kinds"] == [["CD4 T", "T cell"]]
    page = render(tmp_path / "out").read_text()
    assert "Scores that know the Cell Ontology" in page
    assert "CD4 T is a kind of T cell" in page


def test_without_relations_the_columns_are_not_there(two_studies, tiny_corpus, tiny_plan, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "_predict", lambda work, method, fit, network: fit.target.codes[fit.test])
    plan = get_plan(tiny_plan, modes=("zero_shot", "scratch"), baselines=("logistic",))
    result = scssl.study.run(
        tiny_corpus, target=two_studies[1], labels="cell_type", donor="donor", plan=plan, out=tmp_path / "out",
        device="cpu",
    )  # fmt: skip
    tables = (result.scores, result.differences, result.results, result.per_type)
    assert not any(name.startswith("hierarchical") for table in tables for name in table)
    assert sum("a kind of the true type" in note for note in result.settings["notes"]) == 1
    assert "know the Cell Ontology" not in render(tmp_path / "out").read_text()


def test_a_data_set_with_coarser_labels_is_scored_by_kind(
    obo, two_studies, tiny_corpus, tiny_plan, tmp_path, monkeypatch
):
    target = two_studies[1].copy()
    donors = target.obs["donor"].astype(str).to_numpy()
    coarse = np.isin(donors, sorted(set(donors))[:2])
    kinds = np.unique(target.obs["cell_type"].astype(str), return_inverse=True)[1]
    # One data set says "T cell" where the other says "CD4 T".
    truth = np.where(kinds == 0, "B cell", np.where(coarse, "T cell", "CD4 T")).astype(object)
    target.obs["cell_type"] = pd.Categorical(truth)
    target.obs["site"] = np.where(coarse, "a", "b")
    classes = sorted(set(truth))

    def right_type(work, method, fit, network):
        names = np.array(classes, dtype=object)[fit.target.codes[fit.test]]
        told = {classes[code] for code in fit.codes}
        named = [name if name in told else "CD4 T" if name == "T cell" else "B cell" for name in names]
        return np.array([classes.index(name) for name in named])

    monkeypatch.setattr(fitting, "_predict", right_type)
    plan = get_plan(tiny_plan, modes=("zero_shot", "scratch"), baselines=("logistic",))
    options = {
        "target": target,
        "labels": "cell_type",
        "donor": "donor",
        "source": "site",
        "plan": plan,
        "device": "cpu",
    }
    result = scssl.study.run(tiny_corpus, out=tmp_path / "out", ontology=obo, **options)
    rows = result.scores[(result.scores["scheme"] == "data set") & (result.scores["method"] == "logistic")].iloc[0]
    # Left out, "T cell" of one cannot be named; a CD4 T cell is one, and a "T cell" is no CD4 T cell for sure.
    n_t, n_b = int((truth == "T cell").sum()), int((truth == "B cell").sum())
    assert rows["micro_f1"] == 1
    assert rows["hierarchical_cells"] == n_t + n_b
    assert rows["hierarchical_micro_f1"] == 1
    page = render(tmp_path / "out").read_text()
    assert "Scores that know the Cell Ontology: Data sets left out" in page
    note = next(note for note in result.settings["notes"] if "by data set left out" in note)
    assert note.startswith(f"{n_t} test cells")
    fits = result.results[result.results["scheme"] == "data set"].drop_duplicates("split").set_index("split")
    assert fits.loc["a", "n_test"] == int((coarse & (kinds == 0)).sum())
    # Without it nothing else changes, and nothing is fitted again.
    monkeypatch.setattr(fitting, "_predict", lambda *_: pytest.fail("fitted again"))
    plain = scssl.study.run(tiny_corpus, out=tmp_path / "out", ontology="none", **options)
    pd.testing.assert_frame_equal(plain.scores, result.scores[plain.scores.columns])
