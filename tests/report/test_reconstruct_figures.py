from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scssl.errors import DataError
from scssl.metrics import ReconstructionTally
from scssl.report.reconstruct import _medians, gene_scores, held_out, write_figures
from scssl.tasks.reconstruct import Evaluation

pytest.importorskip("matplotlib")


def evaluation(n_genes=40, n_cells=80):
    rng = np.random.default_rng(0)
    mean = rng.gamma(1, 1, size=(n_cells, n_genes)) + 0.1
    counts = rng.poisson(mean).astype(float)
    scores = {}
    for name, predicted in (("zero_shot", mean), ("gene mean", np.broadcast_to(mean.mean(axis=0), mean.shape))):
        tally = ReconstructionTally(n_genes)
        tally.add(np.log1p(counts), np.log1p(predicted), counts=counts, expected=predicted)
        scores[name] = tally.scores(names=[f"gene {i}" for i in range(n_genes)])
    examples = pd.DataFrame(
        {
            "gene": np.repeat(["gene 0", "gene 1"], n_cells),
            "truth": np.log1p(counts[:, :2]).T.ravel(),
            "predicted": np.log1p(mean[:, :2]).T.ravel(),
        }
    )
    return Evaluation(scores=scores, examples=examples, settings={"n_cells": n_cells})


def test_a_point_per_gene_and_a_line_per_method():
    found = evaluation()
    (axes,) = gene_scores(found).axes
    assert len(axes.collections[0].get_offsets()) == 40
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["zero_shot", "gene mean"]
    (line,) = [line for line in axes.lines if line.get_label() == "gene mean"]
    np.testing.assert_allclose(line.get_ydata(), 0, atol=1e-9)


def test_lines_reach_the_few_genes_of_high_mean():
    mean = np.concatenate([np.geomspace(0.01, 0.1, 400), np.geomspace(1, 5, 12)])
    medians = _medians(pd.DataFrame({"mean": mean, "explained_variance": mean > 0.5}, dtype=float))
    assert medians["mean"].is_monotonic_increasing
    assert medians["mean"].max() > 2
    assert medians["explained_variance"].iloc[[0, -1]].tolist() == [0.0, 1.0]


def test_a_panel_per_gene_with_its_correlation():
    found = evaluation()
    shown = [axes for axes in held_out(found).axes if axes.axison]
    assert len(shown) == 2
    cells = found.examples[found.examples["gene"] == "gene 0"]
    r = np.corrcoef(cells["predicted"], cells["truth"])[0, 1]
    assert shown[0].get_title(loc="left") == f"gene 0, r = {r:.2f}"
    np.testing.assert_allclose(shown[0].collections[0].get_offsets()[:, 1], cells["truth"])


def test_files_are_written_or_none(tmp_path):
    found = evaluation()
    files = write_figures(found, tmp_path / "new")
    assert all(file.stat().st_size > 500 for file in files)
    assert pd.read_csv(tmp_path / "new" / "genes.csv").shape[0] == 80
    few = evaluation(n_cells=5)
    with pytest.raises(DataError, match="no gene has held-out counts in 10 cells"):
        write_figures(few, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    found.examples.drop(found.examples.index, inplace=True)
    with pytest.raises(DataError, match="no predictions were kept"):
        held_out(found)
