"""value_filter: SOMA lets through every cell that meets a condition, and none that does not where it has the means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.corpus.sources.soma_experiment import OpenExperiment
from scssl.corpus.sources.soma_filter import value_filter
from scssl.corpus.sources.source import plain_strings
from scssl.corpus.where import Condition

pa = pytest.importorskip("pyarrow", reason="tiledbsoma is not installed: pip install 'scssl[census]'")
soma = pytest.importorskip("tiledbsoma", reason="tiledbsoma is not installed: pip install 'scssl[census]'")

N = 240
TEXTS = ["a", "b", "", "é", "q\"'x", "c d", "B"]
NUMBERS = [-3, -1, 0, 1, 2, 7]
COLUMNS = {
    "kind": TEXTS,
    "note": TEXTS,
    "a column": TEXTS,
    "n": NUMBERS,
    "maybe_n": NUMBERS,
    "x": NUMBERS,
    "y": NUMBERS,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The obs of an experiment with missing values of every kind: null, NaN and null in categories."""
    rng = np.random.default_rng(0)

    def draw(values, *, missing=True):
        return [None if missing and rng.random() < 0.2 else values[i] for i in rng.integers(0, len(values), N)]

    columns = {
        "soma_joinid": pa.array(np.arange(N), pa.int64()),
        "kind": pa.array(draw(TEXTS), pa.large_string()).dictionary_encode(),
        "note": pa.array(draw(TEXTS), pa.large_string()),
        "a column": pa.array(draw(TEXTS, missing=False), pa.large_string()),
        "n": pa.array(draw(NUMBERS, missing=False), pa.int16()),
        "maybe_n": pa.array(draw(NUMBERS), pa.int64()),
        "x": pa.array(draw([*map(float, NUMBERS), np.nan, np.inf]), pa.float64()),
        "y": pa.array(draw([0.1, 0.5, 1.0, np.nan], missing=False), pa.float32()),
        "flag": pa.array(draw([True, False], missing=False), pa.bool_()),
    }
    full = ("soma_joinid", "a column", "n", "y", "flag")
    schema = pa.schema([pa.field(name, value.type, nullable=name not in full) for name, value in columns.items()])
    folder = tmp_path_factory.mktemp("soma") / "cells"
    with soma.Experiment.create(str(folder)) as experiment:
        experiment.add_new_dataframe("obs", schema=schema, domain=[[0, N - 1]])
        experiment.add_new_collection("ms")
    with soma.open(str(folder / "obs"), mode="w") as obs:
        obs.write(pa.Table.from_pydict(columns, schema=schema))
    return OpenExperiment(str(folder), name="cells", region=None)


@pytest.fixture(scope="module")
def everything(table):
    joinids, obs = table.read_obs(0, N, columns=table.columns, value_filter=None)
    assert joinids.tolist() == list(range(N))
    return plain_strings(obs)


def passing(table, chosen):
    """Joinids of the cells that SOMA lets through."""
    return table.read_obs(0, N, columns=[], value_filter=chosen)[0].tolist()


def meeting(everything, text):
    return np.flatnonzero(Condition(text).holds(everything)).tolist()


def spelled(column):
    return f"obs[{column!r}]" if " " in column else column


@st.composite
def comparisons(draw):
    """A comparison that SOMA can make exactly."""
    column = draw(st.sampled_from(sorted(COLUMNS)))
    values = st.sampled_from([*COLUMNS[column], "absent" if COLUMNS[column] is TEXTS else 5])
    listed = draw(st.booleans())
    if listed:
        some = draw(st.lists(values, min_size=1, max_size=4))
        return f"{spelled(column)} {draw(st.sampled_from(['in', 'not in']))} {some!r}"
    signs = ["==", "!="] if COLUMNS[column] is TEXTS else ["==", "!=", "<", "<=", ">", ">="]
    return f"{spelled(column)} {draw(st.sampled_from(signs))} {draw(values)!r}"


def joined(parts):
    return st.tuples(parts, st.sampled_from([" and ", " or "]), parts).map(lambda p: f"({p[0]}{p[1]}{p[2]})")


exact = st.recursive(comparisons() | st.sampled_from(["flag", "flag == False"]), joined, max_leaves=5)
inexact = st.sampled_from(
    ["note < 'b'", "kind >= 'b'", "n < 1.5", "y == 0.1", "n == 99999", "flag == 1", "n in [True, 2]", "n in []"]
)
anything = st.recursive(
    comparisons() | inexact | st.just("flag"),
    lambda parts: joined(parts) | parts.map(lambda part: f"(not {part})"),
    max_leaves=6,
)


@given(text=exact)
@settings(deadline=None, max_examples=150)
def test_what_soma_can_compare_is_left_to_soma_alone(table, everything, text):
    chosen = value_filter(text, table.obs.schema)
    assert chosen is not None
    assert passing(table, chosen) == meeting(everything, text)


@given(text=anything)
@settings(deadline=None, max_examples=150)
def test_no_cell_that_meets_the_condition_is_lost(table, everything, text):
    chosen = value_filter(text, table.obs.schema)
    joinids, obs = table.read_obs(0, N, columns=table.columns, value_filter=chosen)
    # What a build does: the condition is evaluated again on the cells that were read.
    again = Condition(text).holds(plain_strings(obs))
    assert joinids[again].tolist() == meeting(everything, text)


@pytest.mark.parametrize(
    "text",
    [
        "not (n < 2)",
        "not (maybe_n < 2)",
        "not (kind == 'a' or note in ['b', ''])",
        "not flag",
        "not (x == 1)",
        "0 <= n < 3",
        "not (0 <= maybe_n < 3)",
        "1 != x",
    ],
)
def test_negations_and_chains_are_exact_too(table, everything, text):
    found = passing(table, value_filter(text, table.obs.schema))
    assert found == meeting(everything, text)
    assert 0 < len(found) < N


@pytest.mark.parametrize(
    "text", ["note < 'b'", "kind > 'a'", "n < 1.5", "y == 0.1", "n == 99999", "flag == 1", "not (x < 1)", "n in []"]
)
def test_what_soma_would_compare_differently_is_not_left_to_it(table, text):
    assert value_filter(text, table.obs.schema) is None
    assert value_filter(f"kind == 'a' or {text}", table.obs.schema) is None
    partly = value_filter(f"kind == 'a' and {text}", table.obs.schema)
    assert partly.replace("(", "").replace(")", "") == "attr'kind' == 'a'"


def test_a_missing_column_is_left_to_the_condition_which_names_it(table):
    assert value_filter("kind == 'a' and typo == 'b'", table.obs.schema) is None


def test_a_value_of_the_wrong_kind_is_left_to_the_condition_which_says_so(table):
    assert value_filter("kind == 3", table.obs.schema) is None
    assert value_filter("n == '3'", table.obs.schema) is None


def test_the_draws_hold_what_they_are_meant_to(everything):
    assert everything["x"].isna().sum() > 10
    assert everything["kind"].isna().sum() > 10
    assert isinstance(everything["kind"].dtype, pd.CategoricalDtype)
