"""Commands where files are awkward: read-only, among spaces and accents, for users without rights; always the same."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import scssl
from scssl.cli.app import main
from tests.faults.commands import TINY_RUN, content, refused, without_privileges

pytestmark = pytest.mark.usefixtures("brief_finetuning")

STUDY = (*TINY_RUN, "--set", "training.min_steps=4", "--seeds", "1", "--folds", "2", "--workers", "1")
AWKWARD = "a folder, with 'quotes' é 細胞 [1] %20 $HOME"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with cells of two conditions and with proteins, some of new donors, a corpus and a model."""
    folder = tmp_path_factory.mktemp("inputs")
    atlas = scssl.datasets.simulate_atlas(240, 64, n_types=2, n_donors=6, n_proteins=3, type_effect=3.0, seed=3)
    del atlas.uns["simulation"]
    held_out = atlas.obs["donor"].isin(atlas.obs["donor"].cat.categories[::2]).to_numpy()
    atlas.write_h5ad(folder / "all.h5ad")
    atlas[held_out].copy().write_h5ad(folder / "query.h5ad")
    atlas[~held_out].copy().write_h5ad(folder / "reference.h5ad")
    new = atlas[:60].copy()
    new.obs_names = "new " + new.obs_names
    new.obs["donor"] = new.obs["donor"].cat.rename_categories("new {}".format)
    new.write_h5ad(folder / "new.h5ad")
    corpus = scssl.Corpus.build(folder / "all.h5ad", folder / "corpus", genes="union", obs=["cell_type", "donor"])
    scssl.pretrain(
        corpus, preset="small", max_epochs=1, overrides=["architecture.hidden=[8]"], out=folder / "model", device="cpu"
    )
    return folder


def commands(here, out):
    """Return every command that reads something, by name; what they write goes into the folder `out`."""
    model, query, cells = ("--model", here / "model"), here / "query.h5ad", here / "all.h5ad"
    labels = ("--labels", "cell_type")
    pair = ("--condition", "condition", "--control", "healthy", "--case", "disease", "--donor", "donor")
    brief = ("--cell-type", "cell_type", "--skip", "genes,programmes", "--min-cells", "2")
    reference = ("--reference", here / "reference.h5ad")
    return {
        "check": ["check", cells],
        "build": ["corpus", "build", cells, "--out", out / "c", "--genes", "union", "--obs", "cell_type,donor"],
        "append": ["corpus", "append", out / "c", here / "new.h5ad"],
        "info": ["corpus", "info", here / "corpus"],
        "verify": ["corpus", "verify", here / "corpus"],
        "audit": ["corpus", "audit", here / "corpus", "--against", cells],
        "pretrain": ["pretrain", here / "corpus", "--out", out / "m", *TINY_RUN],
        "embed": ["embed", query, *model, "--out", out / "o.h5ad"],
        "annotate": ["annotate", query, *model, *reference, *labels, "--out", out / "o.h5ad", "--save", out / "a"],
        "similar": ["similar", query, *model, "--reference", here / "corpus", "--out", out / "o.csv"],
        "integrate": ["integrate", query, *model, "--batch", "donor", "--out", out / "o.h5ad"],
        "reconstruct": ["reconstruct", query, *model, "--out", out / "o.h5ad"],
        "translate": ["translate", query, *model, *reference, "--to", "protein", "--out", out / "o.h5ad"],
        "compare": ["compare", cells, *model, *pair, *brief, "--out", out / "compared"],
        "simulate": ["simulate", cells, *model, *pair, "--out", out / "o.h5ad"],
        "study": ["study", here / "corpus", "--target", query, *labels, *pair[-2:], "--out", out / "study", *STUDY],
        "report": ["report", here / "model", "--out", out / "report.html"],
        "verify run": ["verify", here / "model", "--corpus", here / "corpus"],
        "labels": ["labels", cells, *labels, "--out", out / "o.csv"],
        "programmes": ["programmes", "modules:2", "--corpus", here / "corpus", "--out", out / "p.gmt"],
    }  # fmt: skip


NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name == "study" else name
    for name in commands(Path("here"), Path("out"))
]


def begin(name, inputs, out):
    """Make the folder that a command writes to; what it adds to is there already."""
    out.mkdir()
    if name == "append":
        shutil.copytree(inputs / "corpus", out / "c")


TIMES = {"seconds", "train_seconds", "cells_per_second"}


def outcome(folder):
    """Return what commands wrote, as far as it must be the same each time: no times, no places."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if file.suffix == ".h5ad":
            cells = anndata.read_h5ad(file)
            parts = {"X": cells.X, **cells.layers, **cells.obsm}
            found |= {f"{name} {key}": np.asarray(getattr(x, "toarray", lambda x=x: x)()) for key, x in parts.items()}
            found |= {f"{name} {key}": getattr(cells, key).to_csv() for key in ("obs", "var")}
        elif file.suffix == ".csv":
            table = pd.read_csv(file)
            found[name] = table.drop(columns=[column for column in table if column in TIMES]).to_csv()
        elif file.suffix in (".safetensors", ".npy", ".gmt") or "/X/" in name:
            found[name] = file.read_bytes()
    return found


def ran(capsys, argv):
    code = main([*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def awkward(inputs, tmp_path):
    """A copy of the inputs that nobody may write to, in a folder with a name that shells, URLs and markup dislike."""
    here = tmp_path / AWKWARD
    shutil.copytree(inputs, here)
    places = [here, *here.rglob("*")]
    for place in reversed(places):
        place.chmod(0o555 if place.is_dir() else 0o444)
    yield here
    for place in places:
        if place.is_dir():
            place.chmod(0o755)


@pytest.mark.parametrize("name", NAMES)
def test_read_only_among_odd_names_and_the_same_again(inputs, awkward, tmp_path, capsys, name):
    first, again = tmp_path / "first", tmp_path / f"again {AWKWARD}"
    begin(name, inputs, first)
    begin(name, inputs, again)
    expected = ran(capsys, commands(inputs, first)[name])
    before = content(awkward)
    found = without_privileges(lambda: ran(capsys, commands(awkward, again)[name]))
    assert found.keys() == expected.keys()
    assert content(awkward) == before
    assert {stat.S_IMODE(place.stat().st_mode) for place in awkward.rglob("*")} == {0o555, 0o444}
    written, other = outcome(first), outcome(again)
    assert written.keys() == other.keys()
    assert written or "--out" not in commands(inputs, first)[name] or name == "report"
    for key, values in written.items():
        np.testing.assert_array_equal(other[key], values, err_msg=key)


@pytest.mark.parametrize("locked", ["corpus", "corpus/train", "."])
def test_a_corpus_that_one_may_not_write_to_is_not_added_to(inputs, tmp_path, capsys, locked):
    shutil.copytree(inputs / "corpus", tmp_path / "c" / "corpus")
    (tmp_path / "c" / locked).chmod(0o555)
    before, out = content(tmp_path / "c"), tmp_path / "c" / "corpus"
    words = ["corpus", "append", out, inputs / "new.h5ad"]
    try:
        without_privileges(lambda: refused(capsys, words, words="is not a folder that you may write to", names=[out]))
    finally:
        (tmp_path / "c" / locked).chmod(0o755)
    assert content(tmp_path / "c") == before
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"corpus"}


def test_privileges_are_taken_away(tmp_path):
    """Or the tests of permissions would pass whatever happens."""
    (tmp_path / "locked").mkdir(mode=0o555)
    assert without_privileges(lambda: os.access(tmp_path / "locked", os.W_OK)) is False
    with pytest.raises(PermissionError):
        without_privileges((tmp_path / "locked" / "a").touch)
    (tmp_path / "hidden").touch(mode=0)
    with pytest.raises(PermissionError):
        without_privileges((tmp_path / "hidden").read_bytes)
