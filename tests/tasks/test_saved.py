"""Folders of saved tasks: whole or not there, and nothing that does not fit is read."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from scssl.errors import FormatError, SettingsError
from scssl.tasks.saved import Kind, read_arrays, take, write_arrays

KIND = Kind(named="an oracle", format="scssl-oracle", version=2, sealed=2, settings="oracle.json", holds={"k": int})


def written(path, *, overwrite=False, k=3):
    with KIND.new(path, overwrite=overwrite) as folder:
        write_arrays(folder / "arrays.safetensors", {"x": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1]})
        KIND.close(folder, {"k": k})
    return path


def test_what_is_written_is_read(tmp_path):
    path = written(tmp_path / "not" / "there" / "o")
    assert KIND.is_at(path)
    assert KIND.read(path)["k"] == 3
    np.testing.assert_array_equal(read_arrays(path / "arrays.safetensors")["x"], [[2, 1, 0], [5, 4, 3]])


def test_a_folder_takes_its_place_only_when_complete(tmp_path):
    path = written(tmp_path / "o")

    def fails():
        with KIND.new(path, overwrite=True) as folder:
            (folder / "half").touch()
            raise OSError(28, "No space left")

    with pytest.raises(OSError, match="No space left"):
        fails()
    assert KIND.read(path)["k"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["o"]
    assert KIND.read(written(path, overwrite=True, k=4))["k"] == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_overwrite_that_is_interrupted_leaves_the_old_folder(tmp_path, monkeypatch, error):
    path, rename = written(tmp_path / "o"), os.replace

    def stop(source, target):
        if os.fspath(target) == os.fspath(path) and not (path.exists() or monkeypatch.undo()):
            raise error
        rename(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(error):
        written(path, overwrite=True, k=4)
    assert os.replace is rename, "it was not interrupted where nothing is at the place"
    assert KIND.read(path)["k"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["o"]


@pytest.mark.parametrize(
    ("option", "there", "other"),
    [
        ("", "exists already; choose another folder, or overwrite it", "it is not an oracle, choose another folder"),
        (
            "--save",
            "exists already; choose another folder for --save, or add --overwrite",
            "it is not an oracle, choose another folder for --save",
        ),
    ],
)
def test_nothing_else_is_replaced(tmp_path, option, there, other):
    path = written(tmp_path / "o")
    KIND.check_place(path, overwrite=True, option=option)
    with pytest.raises(SettingsError) as caught:
        KIND.check_place(path, overwrite=False, option=option)
    assert str(caught.value) == f"{path} {there}"
    (path / KIND.settings).unlink()
    with pytest.raises(SettingsError) as caught:
        KIND.check_place(path, overwrite=True, option=option)
    assert str(caught.value) == f"{path} exists already; {other}"


def test_a_place_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot be written: .*file is not a folder"):
        KIND.check_place(tmp_path / "file" / "o", overwrite=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": "3"}, "malformed: 'k' is missing, or is no int"),
        ({"format": "scssl-sage"}, "does not describe an oracle of scssl"),
        ({"format_version": 3}, r"format version 3; this scssl reads up to 2\. Run: pip install -U scssl"),
        ({"sha256": "0", "files": {}}, "its checksum does not fit its content"),
        ({"format_version": 2}, "its checksum does not fit its content"),
    ],
)
def test_settings_that_are_not_possible_are_refused(tmp_path, change, words):
    own = {"format": KIND.format, "format_version": 1, "k": 3}
    (tmp_path / KIND.settings).write_text(json.dumps(own))
    assert KIND.read(tmp_path) == own
    (tmp_path / KIND.settings).write_text(json.dumps(own | change))
    with pytest.raises(FormatError, match=words):
        KIND.read(tmp_path)


@pytest.mark.parametrize(
    ("array", "fits"),
    [
        (np.zeros((4, 2), dtype=np.float32), True),
        (np.zeros((0, 2), dtype=np.float32), True),
        (np.zeros((4, 3), dtype=np.float32), False),
        (np.zeros(2, dtype=np.float32), False),
        (np.zeros((4, 2)), False),
        (np.full((4, 2), np.inf, dtype=np.float32), False),
        (None, False),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, array, fits):
    arrays = {} if array is None else {"x": array}
    if fits:
        assert take(arrays, "x", shape=(None, 2)) is array
        return
    words = r"a\.safetensors does not fit .*oracle\.json: altered, or of another oracle"
    with pytest.raises(FormatError, match=words), KIND.using(tmp_path / "a.safetensors"):
        take(arrays, "x", shape=(None, 2))
