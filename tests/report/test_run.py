"""run.json: written and read back; anything else is refused with its name."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scssl.errors import FormatError
from scssl.report import Run, Section
from scssl.report.run import FILE


def test_round_trip(tmp_path):
    section = Section(kind="curve", title="Loss", file="history.csv", options={"y": ["a"]})
    run = Run(title="T", sections=[section], settings={"a": {"b": 1}}, summary=["é — ü"])
    run.save(tmp_path)
    assert Run.open(tmp_path) == run
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


text = st.text(max_size=20)
leaves = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | text
values = st.recursive(leaves, lambda inner: st.dictionaries(text, inner, max_size=3), max_leaves=5)


@given(title=text, summary=st.lists(text, max_size=3), settings=st.dictionaries(text, values, max_size=4))
def test_any_content_survives_json(title, summary, settings):
    run = Run(title=title, summary=summary, settings=settings, versions={}, machine={})
    assert Run.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_steps_are_timed_and_add_up():
    run = Run(title="T")
    for _ in range(2):
        with run.step("sleep"):
            time.sleep(0.01)
    with pytest.raises(ZeroDivisionError), run.step("fail"):
        _ = 1 / 0
    assert list(run.timings) == ["sleep", "fail"]
    assert 0.02 <= run.timings["sleep"] < 1


def test_what_an_old_record_does_not_say_is_not_made_up():
    run = Run.from_dict({"format": "scssl-run", "version": 1, "title": "T"})
    assert (run.versions, run.machine, run.created) == ({}, {}, "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "not the record of a run"),
        ({"title": 3}, "not the record of a run"),
        ({"version": 2}, "version 2 is not known"),
        ({"timings": []}, "'timings' is not a dict"),
        ({"timings": {"fit": "long"}}, "something else than seconds"),
        ({"timings": {"fit": None}}, "something else than seconds"),
        ({"versions": [1]}, "'versions' is not a dict"),
        ({"data": [True]}, "'data' holds something else than records"),
        ({"machine": 3}, "'machine' is not a dict"),
        ({"created": 5}, "'created' is not a str"),
        ({"sections": [{"kind": "table", "title": "T", "file": "a.csv", "options": []}]}, "options of section 'T'"),
        ({"sections": [{"kind": "table", "title": "T", "file": "a.csv", "options": {"where": 3}}]}, "options of"),
        ({"sections": [{"kind": "embedding", "title": "", "file": "a", "options": {"features": 3}}]}, "options of"),
        ({"sections": [{"kind": "table", "title": "", "file": "a", "options": {"names": 5}}]}, "options of"),
        ({"sections": [{"kind": "curve"}]}, "needs 'kind', 'title' and 'file'"),
        ({"sections": [{"kind": "pie", "title": "", "file": "a"}]}, "'pie' is not one of curve, embedding"),
        ({"sections": [{"kind": "table", "title": "", "file": "../../etc/passwd"}]}, "plain file name"),
        ({"sections": [{"kind": "table", "title": "", "file": "/etc/passwd"}]}, "plain file name"),
        ({"sections": [{"kind": "table", "title": "", "file": "..\\a"}]}, "plain file name"),
        ({"sections": [{"kind": "table", "title": "", "file": ".."}]}, "plain file name"),
    ],
)
def test_bad_records_are_refused(tmp_path, change, words):
    content = {**Run(title="T").to_dict(), **change}
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(FormatError, match=words) as error:
        Run.open(tmp_path)
    assert FILE in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "\x00"])
def test_files_that_are_no_record_are_refused(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(FormatError, match=FILE):
        Run.open(tmp_path)


def test_a_folder_without_record_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"no run\.json there"):
        Run.open(tmp_path)
    with pytest.raises(FormatError, match="absent: there is no such file or folder"):
        Run.open(tmp_path / "absent")
