"""Guessing which obs columns are cell type, donor, batch and condition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scssl.corpus.sources.annotation import guess_columns


def obs(**columns):
    n = 40
    return pd.DataFrame({name: [values[i % len(values)] for i in range(n)] for name, values in columns.items()})


@pytest.mark.parametrize(
    ("names", "role", "expected"),
    [
        (["louvain", "cell_type"], "cell type", "cell_type"),
        (["leiden", "Cell.Type"], "cell type", "Cell.Type"),
        (["leiden", "celltype_l2", "n_genes"], "cell type", "celltype_l2"),
        (["author_cell_type", "clusters"], "cell type", "author_cell_type"),
        (["bulk_labels"], "cell type", "bulk_labels"),
        (["seurat_clusters"], "cell type", "seurat_clusters"),
        (["donor_id", "sample"], "donor", "donor_id"),
        (["PatientID"], "donor", "PatientID"),
        (["orig.ident"], "batch", "orig.ident"),
        (["dataset", "batch"], "batch", "batch"),
        (["stim"], "condition", "stim"),
        (["disease_state"], "condition", "disease_state"),
    ],
)
def test_names(names, role, expected):
    found = {column.role: column.name for column in guess_columns(obs(**{name: ["a", "b"] for name in names}))}
    assert found[role] == expected


def test_columns_that_say_something_win():
    found = guess_columns(obs(donor=["one"], donor_id=["a", "b", "c"]))
    assert [(c.name, c.n_values) for c in found if c.role == "donor"] == [("donor_id", 3)]


def test_numbers_per_cell_are_no_labels():
    table = obs(cell_type=["a", "b"])
    table["batch"] = np.random.default_rng(0).random(40)
    table["donor"] = [f"cell{i}" for i in range(40)]
    assert [c.role for c in guess_columns(table)] == ["cell type"]


def test_values_that_mean_not_known():
    (column,) = guess_columns(obs(cell_type=["T", "Unknown", "B", None, "T"]))
    assert column.n_values == 2
    assert column.examples == ["T", "B"]
    assert column.n_missing == 16
    assert column.not_known == ["Unknown"]


def test_nothing_to_guess():
    assert guess_columns(obs(n_genes=[1, 2])) == []
    assert guess_columns(pd.DataFrame(index=["a"])) == []
