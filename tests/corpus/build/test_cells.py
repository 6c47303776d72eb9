"""Annotations of cells: codes, groups, names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

from scssl.corpus.build.cells import check_columns, read_cells, unique_names
from scssl.corpus.settings import BuildSettings
from scssl.corpus.sources.source import open_source
from scssl.errors import DataError, SettingsError


def cells_of(table, /, **settings):
    obs = pd.DataFrame(table, index=[f"c{i}" for i in range(len(next(iter(table.values()))))])
    adata = AnnData(np.ones((len(obs), 2), dtype=np.float32), obs=obs)
    with open_source(adata) as source:
        return read_cells(source, BuildSettings.of(**settings), name="file")


def decoded(coded):
    return [coded.names[code] if code >= 0 else None for code in coded.codes]


def test_columns_become_sorted_categories():
    table = cells_of(
        {
            "text": ["b", "a", "b"],
            "category": pd.Categorical(["y", None, "x"], categories=["unused", "y", "x"]),
            "number": [2, 10, 2],
            "truth": [True, False, True],
            "holes": [1.5, np.nan, 1.5],
        },
        obs=["text", "category", "number", "truth", "holes", "absent"],
        split_by="cell",
    )
    assert table.columns["text"].names == ["a", "b"]
    assert decoded(table.columns["text"]) == ["b", "a", "b"]
    assert table.columns["category"].names == ["x", "y"]
    assert decoded(table.columns["category"]) == ["y", None, "x"]
    assert decoded(table.columns["number"]) == ["2", "10", "2"]
    assert decoded(table.columns["truth"]) == ["True", "False", "True"]
    assert decoded(table.columns["holes"]) == ["1.5", None, "1.5"]
    assert decoded(table.columns["absent"]) == [None] * 3
    assert table.absent == ["absent"]


def test_unlabelled_spares_source_and_donor():
    obs = {"type": ["unknown", "T", ""], "donor": ["unknown", "d", "e"], "lab": ["unknown", "l", "l"]}
    table = cells_of(obs, obs="type,lab", source="lab", unlabelled="unknown, unassigned")
    assert decoded(table.columns["type"]) == [None, "T", None]
    assert decoded(table.columns["donor"]) == ["unknown", "d", "e"]
    # It is kept as it is written, but it is nobody.
    assert decoded(table.group) == ["(no donor: unknown)", "d", "e"]
    assert decoded(table.source) == decoded(table.columns["lab"]) == ["unknown", "l", "l"]


def test_cells_without_source_or_donor():
    table = cells_of({"lab": ["x", None, "y", "y"], "donor": ["d", "d", None, None]}, source="lab")
    assert decoded(table.source) == ["x", "file", "y", "y"]
    assert decoded(table.group) == ["d", "d", "(no donor: y)", "(no donor: y)"]
    assert decoded(table.columns["donor"]) == ["d", "d", None, None]


def test_a_source_column_called_source():
    assert BuildSettings.of(source="source", obs=["source", "x"]).kept == ["x", "donor"]
    with pytest.raises(SettingsError, match="'source' cannot be kept"):
        BuildSettings.of(obs=["source"])


def test_a_column_that_is_no_category(monkeypatch):
    monkeypatch.setattr("scssl.corpus.build.cells.MAX_CATEGORIES", 3)
    with pytest.raises(DataError, match="'id' has 5 different values"):
        cells_of({"id": list("abcde"), "donor": ["d"] * 5}, obs=["id"])


@given(st.lists(st.sampled_from(["a", "a-1", "a-1-1", "b", "b-2"]), max_size=30))
def test_unique_names(names):
    unique, renamed = unique_names(np.array(names, dtype=object))
    assert len(set(unique)) == len(names)
    assert all(new.startswith(old) for new, old in zip(unique, names, strict=True))
    assert (renamed == 0) == (len(set(names)) == len(names))
    first = {name: names.index(name) for name in names}
    assert all(unique[i] == name for name, i in first.items())


def test_columns_that_stand_for_others():
    obs = {"celltype_l2": ["T", "B"], "cell_type": ["x", "y"], "patient": ["p", "q"]}
    table = cells_of(obs, obs="cell_type=absent|celltype_l2, donor=patient")
    assert decoded(table.columns["cell_type"]) == ["T", "B"]
    assert decoded(table.group) == decoded(table.columns["donor"]) == ["p", "q"]
    assert table.taken == {"cell_type": "celltype_l2", "donor": "patient"}
    # Without any of them, the column of the name itself.
    table = cells_of({"cell_type": ["x", "y"], "donor": ["d", "e"]}, obs="cell_type=celltype_l2,donor=patient")
    assert decoded(table.columns["cell_type"]) == ["x", "y"]
    assert table.taken == {}
    # Conditions and sources may be about either name.
    table = cells_of(
        obs, obs="kind=celltype_l2", split_by="cell", where="kind == 'T' and celltype_l2 == 'T'", source="kind"
    )
    assert table.keep.tolist() == [True, False]
    assert decoded(table.source) == ["T", "B"]
    assert set(BuildSettings.of(obs="kind=a|b", where="n > 1", source="lab").read) == {
        "kind",
        "donor",
        "a",
        "b",
        "n",
        "lab",
    }


@pytest.mark.parametrize("obs", ["=x", "x=", "x=a||b"])
def test_impossible_names(obs):
    with pytest.raises(SettingsError, match="write NAME=COLUMN"):
        BuildSettings.of(obs=obs)


def test_a_column_that_no_file_has():
    settings = BuildSettings.of(obs="cell_type=celltype_l2|label", split_by="cell")
    check_columns({"a": ["label"], "b": []}, settings)
    with pytest.raises(DataError, match=r"none of the 2 files has a column 'celltype_l2' or 'label' or 'cell_type'"):
        check_columns({"a": ["x"], "b": []}, settings)


@pytest.mark.parametrize("name", ["a/b", "a\\b", ".", "..", ".hidden", "zarr.json"])
def test_names_that_are_no_folders(name):
    with pytest.raises(SettingsError, match="cannot be kept under this name"):
        BuildSettings.of(obs=[f"{name}=cell_type"])


def test_a_name_given_twice():
    with pytest.raises(SettingsError, match="'ct' more than once"):
        BuildSettings.of(obs="ct=foo|cell_type,ct=donor")
