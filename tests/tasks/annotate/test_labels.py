"""Labels that mean something, and maps between names."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from scssl.errors import DataError, FormatError
from scssl.tasks.annotate.labels import encode, map_labels, read_label_map, read_labels


def test_unlabelled_cells_have_no_name():
    obs = pd.DataFrame({"type": pd.Categorical(["B", "Unknown", None, "unassigned ", "T", "nan", ""])})
    names = read_labels(obs, "type", file="x")
    assert names.tolist() == ["B", None, None, None, "T", None, None]
    codes, classes = encode(names)
    assert codes.tolist() == [0, -1, -1, -1, 1, -1, -1]
    assert classes == ["B", "T"]


def test_integer_and_boolean_labels_become_names():
    obs = pd.DataFrame({"cluster": [3, 1], "is": [True, False]})
    assert read_labels(obs, "cluster", file="x").tolist() == ["3", "1"]
    assert read_labels(obs, "is", file="x").tolist() == ["True", "False"]


def test_mistakes_in_columns():
    obs = pd.DataFrame({"type": ["unknown"], "score": [0.5], "none": [None]})
    with pytest.raises(DataError, match=r"q\.h5ad: obs has no column 'cell_type'; there are: type, score, none"):
        read_labels(obs, "cell_type", file="q.h5ad")
    with pytest.raises(DataError, match="has no labels"):
        read_labels(obs, "type", file="x")
    with pytest.raises(DataError, match="has no labels"):
        read_labels(obs, "none", file="x")
    with pytest.raises(DataError, match="not labels"):
        read_labels(obs, "score", file="x")


def test_map_renames_keeps_and_drops():
    names = pd.Series(["a", "b", "c", None], dtype=object)
    assert map_labels(names, {"a": "A", "b": None, "zz": "Z"}).tolist() == ["A", None, "c", None]
    assert map_labels(names, None) is names


EXPECTED = {"Naive CD4 T": "CD4T", "B": "B", "Platelet": None}
FILES = {
    "m.csv": 'from,to\n"Naive CD4 T",CD4T\nB, B\nPlatelet,\n',
    "m.tsv": "Naive CD4 T\tCD4T\n\nB\tB\nPlatelet\t\n",
    "m.json": json.dumps(EXPECTED),
    "m.yaml": "Naive CD4 T: CD4T\nB: B\nPlatelet:\n",
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind_say_the_same(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    assert read_label_map(tmp_path / name) == EXPECTED


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("m.xlsx", "x", DataError, "label map is one of"),
        ("m.csv", "a,b,c\n", FormatError, "line 1: 3 columns"),
        ("m.csv", "a,b\na,c\n", FormatError, "line 2: 'a' is mapped twice"),
        ("m.csv", "", FormatError, "holds no labels"),
        ("m.json", "[1]", FormatError, "not a mapping"),
        ("m.json", "{", FormatError, "cannot be read"),
        ("m.yaml", "a: [1]", FormatError, "not a mapping"),
        ("m.yaml", "a: {", FormatError, "cannot be read"),
        ("m.yaml", "!!python/object/apply:os.system ['true']", FormatError, "cannot be read"),
    ],
)
def test_bad_files(tmp_path, name, content, error, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=words):
        read_label_map(tmp_path / name)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_label_map(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(np.arange(200, 255, dtype=np.uint8).tobytes())
    with pytest.raises(FormatError, match="UTF-8"):
        read_label_map(tmp_path / "m.csv")


def test_labels_with_line_breaks_survive_a_file(tmp_path):
    import csv

    with (tmp_path / "map.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["from", "to"], ["T\ncell", "T"], ["a, b", "B"]])
    assert read_label_map(tmp_path / "map.csv") == {"T\ncell": "T", "a, b": "B"}
