"""Damaged settings of saved tasks, with a checksum that fits: read, or refused in scssl's own words."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl import tasks
from tests.fuzz.damage import damaged_json, read_or_refused

pytestmark = pytest.mark.slow

SAVED = Path(__file__).parent.parent / "archives" / "0.1" / "tasks"
CLASSES = {
    "annotator": tasks.Annotator, "comparison": tasks.Comparer, "integrator": tasks.Integrator,
    "reconstructor": tasks.Reconstructor, "similar": tasks.SimilarCells, "simulator": tasks.Simulator,
    "translator": tasks.Translator, "translator_head": tasks.Translator,
}  # fmt: skip
BLANK = "0" * 64


@pytest.fixture(scope="module", params=CLASSES)
def saved(request, tmp_path_factory):
    """A saved task to damage, its settings, and who reads it."""
    folder = shutil.copytree(SAVED / request.param, tmp_path_factory.mktemp("task") / "a")
    [file] = folder.glob("*.json")
    return folder, file, json.loads(file.read_text()), CLASSES[request.param].load


def sealed(content):
    """Return the settings as somebody who means harm would write them."""
    text = json.dumps({**content, "sha256": BLANK})
    return text.replace(BLANK, hashlib.sha256(text.encode()).hexdigest(), 1)


def test_what_is_sealed_anew_is_read(saved):
    folder, file, content, read = saved
    file.write_text(sealed(content))
    assert read(folder) is not None


@given(data=st.data())
@settings(max_examples=30)
def test_damaged_settings_are_read_or_refused(saved, data):
    folder, file, content, read = saved
    file.write_text(sealed(data.draw(damaged_json(content))))
    read_or_refused(read, folder)
