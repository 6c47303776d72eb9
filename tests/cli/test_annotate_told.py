"""What `scssl annotate` says of its result, in the terminal and on the page."""

from __future__ import annotations

import json

import anndata
import numpy as np
import pandas as pd
import pytest

from scssl.cli._annotate_outcome import outcome
from scssl.report.file_run import run_of_file
from scssl.tasks import Annotation

CLASSES = ["a", "b"]


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
