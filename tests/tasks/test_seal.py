"""Saved annotators: no byte of what they are read from can change, be cut off or be lost without a word."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

import scssl
from scssl.cli.app import main
from scssl.errors import FormatError
from scssl.tasks import Annotator
from scssl.tasks.annotate.files import KIND

FILES = {
    "annotator.json", "reference.safetensors", "classifier.safetensors", "trust.safetensors", "model/config.json",
    "model/genes.tsv", "model/model.safetensors",
}  # fmt: skip


@pytest.fixture(scope="module")
def cells():
    return scssl.datasets.simulate_atlas(400, 100, n_types=3, type_effect=3.0, seed=3)


@pytest.fixture(scope="module")
def saved(cells, tmp_path_factory):
    model = scssl.pretrain(cells, preset="small", pretext="none", genes="union", max_epochs=1)
    path = tmp_path_factory.mktemp("seal") / "annotator"
    Annotator(model, mode="probe").fit(cells, labels="cell_type").save(path)
    return path


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_every_file_but_the_card_is_sealed(saved):
    there = {file.relative_to(saved).as_posix() for file in saved.rglob("*") if file.is_file()}
    assert there == FILES | {"model/README.md"}
    assert set(json.loads((saved / KIND.settings).read_text())["files"]) == FILES - {KIND.settings}
    Annotator.load(saved)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_flipped_bit_is_noticed_and_the_file_named(copy, name):
    file = copy / name
    whole = file.read_bytes()
    rng = np.random.default_rng(len(whole))
    # The first and last byte, some in between, and in the settings those of the version and the checksum's name.
    places = {0, len(whole) - 1, *rng.integers(0, len(whole), 6).tolist()}
    if name == KIND.settings:
        places |= {whole.index(b'"format_version": 3') + 18, whole.index(b"sha256"), whole.index(b"files")}
    for place in sorted(places):
        bit = 1 << int(rng.integers(0, 7))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        with pytest.raises(FormatError, match=rf"{name}\b"):
            Annotator.load(copy)
    file.write_bytes(whole)
    Annotator.load(copy)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_truncated_or_lost_file_is_named(copy, name):
    file = copy / name
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(FormatError, match=name):
        Annotator.load(copy)
    file.unlink()
    with pytest.raises(FormatError, match=name):
        Annotator.load(copy)


def test_arrays_that_fit_but_are_others_are_noticed(copy):
    from safetensors.numpy import load_file, save_file

    arrays = load_file(copy / "classifier.safetensors")
    save_file({**arrays, "bias": arrays["bias"] + 1}, copy / "classifier.safetensors")
    with pytest.raises(FormatError, match=r"classifier\.safetensors: altered"):
        Annotator.load(copy)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("../../etc/passwd", {"bytes": 1, "sha256": "0"}),
        ("/etc/passwd", {"bytes": 1, "sha256": "0"}),
        ("a\0b", {"bytes": 1, "sha256": "0"}),
        ("trust.safetensors", {"bytes": "many", "sha256": "0"}),
        ("trust.safetensors", {"sha256": "0"}),
        ("trust.safetensors", 3),
    ],
)
def test_entries_that_somebody_made_up_are_refused(copy, name, entry):
    """Also with a checksum that fits, which anybody can compute."""
    content = json.loads((copy / KIND.settings).read_text())
    content["files"][name] = entry
    text = json.dumps({**content, "sha256": "0" * 64})
    text = text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest(), 1)
    (copy / KIND.settings).write_text(text)
    with pytest.raises(FormatError, match="is no file of a saved annotator"):
        Annotator.load(copy)


def test_people_may_write_in_the_card_and_leave_files(copy):
    (copy / "model" / "README.md").write_text("Ours. CC-BY.")
    (copy / "notes.txt").write_text("x")
    Annotator.load(copy)


def test_the_command_says_so_in_one_line(copy, cells, tmp_path, capsys):
    cells.write_h5ad(tmp_path / "query.h5ad")
    file = copy / "reference.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    words = ["annotate", str(tmp_path / "query.h5ad"), "--model", str(copy), "--out", str(tmp_path / "o.h5ad")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"{file}: altered" in said
    assert "Traceback" not in said
    assert not (tmp_path / "o.h5ad").exists()
