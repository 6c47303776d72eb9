"""Scores where truth and reference name cells at different levels, against loops over cells."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from scssl.cli._annotate_outcome import _scores
from scssl.ontology import CellOntology, LabelTree, Term, match_labels, terms_of
from scssl.tasks.annotate.annotation import Annotation
from scssl.tasks.annotate.truth import related, with_truth

KINDS = {
    "cell": None, "T cell": "cell", "CD4 cell": "T cell", "naive CD4 cell": "CD4 cell", "CD8 cell": "T cell",
    "B cell": "cell", "naive B cell": "B cell", "neuron": "cell",
}  # fmt: skip
IDS = {name: f"CL:{i:07d}" for i, name in enumerate(KINDS)}
CLASSES = ["B cell", "CD4 cell", "CD8 cell"]
TRUTH = ["T cell", "CD4 cell", "naive CD4 cell", "CD8 cell", "B cell", "naive B cell", "neuron"]


def is_kind(name, other):
    return name is not None and (name == other or is_kind(KINDS[name], other))


@pytest.fixture
def obo(tmp_path):
    path = tmp_path / "cl.obo"
    entries = (
        f"\n[Term]\nid: {IDS[name]}\nname: {name}\n" + (f"is_a: {IDS[above]}\n" if above else "")
        for name, above in KINDS.items()
    )
    path.write_text("format-version: 1.2\n" + "".join(entries))
    return path


@pytest.fixture
def tree(obo):
    ontology = CellOntology.open(obo)
    return LabelTree(CLASSES, terms=terms_of(match_labels(CLASSES, ontology=ontology)), ontology=ontology)


def annotation(tree, *, n=400, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(3), n).astype(np.float32)
    sets = p > 0.3
    sets[np.arange(n), p.argmax(1)] = True
    obs = pd.DataFrame({"truth": rng.choice(TRUTH, n), "donor": rng.choice(["a", "b"], n)}, index=map(str, range(n)))
    codes = np.where(rng.random(n) < 0.05, -1, p.argmax(1))
    return Annotation(
        labels=pd.Categorical.from_codes(codes, categories=CLASSES), confidence=p.max(1), probabilities=p,
        embedding=np.zeros((n, 2), dtype=np.float32), obs=obs, file="query", settings={}, calibrated=True, sets=sets,
        set_names=None, unknown=np.where(rng.random(n) < 0.3, "far", "").astype(object), tree=tree,
    )  # fmt: skip


def test_trust_by_kind_is_that_of_a_loop(tree):
    found = annotation(tree)
    scores = found.score("truth")
    for by_kind, trust in ((False, scores), (True, scores.by_kind)):
        held = {"a": [], "b": []}
        hits, known, new, kept, odds, squares = [], [], [], [], [], []
        for i, (truth, donor) in enumerate(found.obs.itertuples(index=False)):
            if found.labels.codes[i] < 0:
                continue
            fits = [is_kind(name, truth) if by_kind else name == truth for name in CLASSES]
            best = int(found.probabilities[i].argmax())
            rejected = found.unknown[i] != ""
            hits.append(fits[best])
            held[donor].append(any(fits[j] for j in np.flatnonzero(found.sets[i])))
            has = any(fits) or (by_kind and any(is_kind(truth, name) for name in CLASSES))
            (known if has else new).append(rejected)
            if not rejected:
                kept.append(fits[found.labels.codes[i]])
            given = sum(float(p) for p, fit in zip(found.probabilities[i], fits, strict=True) if fit)
            others = [float(p) for p, fit in zip(found.probabilities[i], fits, strict=True) if not fit]
            squares.append(sum(p**2 for p in others) + ((1 - given) ** 2 if any(fits) else 1))
            if any(fits):
                odds.append(-np.log(given))
        assert trust.calibration.accuracy == pytest.approx(np.mean(hits))
        assert trust.calibration.brier == pytest.approx(np.mean(squares), rel=1e-5)
        assert trust.calibration.nll == pytest.approx(np.mean(odds), rel=1e-5)
        weights = trust.calibration.curve["n_cells"]
        assert (weights * trust.calibration.curve["accuracy"]).sum() == pytest.approx(sum(hits))
        for donor, cells in held.items():
            assert trust.coverage.loc[donor, "coverage"] == pytest.approx(np.mean(cells))
        assert trust.rejection["known"] == pytest.approx(np.mean(known), abs=1e-4)
        assert trust.rejection["new"] == pytest.approx(np.mean(new), abs=1e-4)
        assert trust.rejection["accuracy_kept"] == pytest.approx(np.mean(kept), abs=1e-4)
    assert scores.by_kind.calibration.accuracy > scores.calibration.accuracy
    assert scores.hierarchy.relations["coarser"] > 0


def test_summary_and_words_have_both(tree):
    scores = annotation(tree).score("truth")
    summary = json.loads(json.dumps(scores.summary()))
    assert summary["hierarchical"]["calibration"]["ece"] != summary["calibration"]["ece"]
    assert summary["hierarchical"]["coverage"] != summary["coverage"]
    assert summary["hierarchical"]["rejection"]["known"] is not None
    words = "\n".join(_scores(scores, truth="truth"))
    first, _, second = words.partition("by names alone:")
    assert f"error {scores.by_kind.calibration.ece:.3f}" in first
    assert f"error {scores.calibration.ece:.3f}" in second


def test_without_an_ontology_there_is_one_notion(tree):
    scores = annotation(None).score("truth")
    assert scores.by_kind is None
    assert "hierarchical" not in scores.summary()
    assert "by names alone" not in "\n".join(_scores(scores, truth="truth"))


def test_names_are_known_if_they_lie_on_a_line_with_a_label(tree):
    placed = with_truth(tree, TRUTH)
    assert placed.labels[:3] == CLASSES
    known = dict(zip(placed.labels, related(placed, n_classes=3).tolist(), strict=True))
    assert known == {name: name != "neuron" for name in {*CLASSES, *TRUTH}}
    assert with_truth(tree, CLASSES) is tree


@pytest.mark.parametrize("change", ["gone", "another version"])
def test_where_the_ontology_is_gone_what_was_kept_is_used(tree, obo, change):
    if change == "gone":
        obo.unlink()
    else:
        obo.write_text("format-version: 1.2\ndata-version: other\n\n[Term]\nid: CL:0000000\nname: cell\n")
    placed = with_truth(tree, TRUTH)
    terms = dict(zip(placed.labels, placed.terms, strict=True))
    # What labels are kinds of was kept; what is a kind of them was not.
    assert terms["T cell"] == IDS["T cell"]
    assert terms["naive CD4 cell"] is None


def test_a_tree_of_terms_in_memory(tmp_path):
    terms = [Term(id="CL:0000000", name="cell"), Term(id="CL:0000236", name="B cell", parents=("CL:0000000",))]
    tree = LabelTree(["B cell"], terms={"B cell": "CL:0000236"}, ontology=CellOntology(terms, source="example"))
    assert with_truth(tree, ["cell"]).descends[0, 1]
