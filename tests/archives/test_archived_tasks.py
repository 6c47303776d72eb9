"""Tasks saved by earlier versions are read for ever, say what they said, and are saved again as they were."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from safetensors.numpy import load_file

import scssl
from scssl import tasks

ARCHIVES = sorted(path.parent for path in Path(__file__).parent.glob("*/tasks"))
SAYS = {
    "annotator": (tasks.Annotator, lambda task, cells: task.scores(cells, device="cpu")[0]),
    "translator": (tasks.Translator, lambda task, cells: task.translate(cells, device="cpu").values["scaled"]),
    "translator_head": (tasks.Translator, lambda task, cells: task.translate(cells, device="cpu").values["scaled"]),
    "reconstructor": (tasks.Reconstructor, lambda task, cells: task.reconstruct(cells, device="cpu").sd),
    "integrator": (tasks.Integrator, lambda task, cells: task.integrate(cells, device="cpu").embedding),
    "similar": (tasks.SimilarCells, lambda task, cells: task.predict(cells, device="cpu")["distance"]),
    "simulator": (tasks.Simulator, lambda task, _: next(iter(task.fitted.learned.values())).change),
    "comparison": (tasks.Comparer, lambda task, _: task.comparison.state["relative_shift"]),
}
OF_THE_RUN = {"sha256", "files", "environment", "scssl_version", "format_version"}


def keeping(after, before):
    """Return of what was written now what was written then: later versions may say more."""
    if isinstance(before, dict):
        return {key: keeping(after[key], value) for key, value in before.items()}
    if isinstance(before, list) and len(after) == len(before):
        return [keeping(*pair) for pair in zip(after, before, strict=True)]
    return after


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name)
def archive(request):
    return request.param


@pytest.fixture(scope="module")
def cells(archive):
    corpus = scssl.Corpus.open(archive / "corpus")
    [b] = corpus.loader(split="val", batch_size=64, shuffle=False)
    counts = sp.csr_matrix((b.values.numpy(), b.indices.numpy(), b.indptr.numpy()), shape=(b.n_cells, b.n_genes))
    obs = pd.DataFrame({"study": "study_1"}, index=[str(i) for i in range(b.n_cells)])
    return ad.AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=corpus.panel.ids))


def test_there_are_archives_of_every_task():
    assert [path.name for path in ARCHIVES][:1] == ["0.1"]
    for archive in ARCHIVES:
        assert {path.name for path in (archive / "tasks").iterdir() if path.is_dir()} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_a_task_says_what_it_said(archive, cells, name):
    kind, says = SAYS[name]
    task = kind.load(archive / "tasks" / name)
    known = np.load(archive / "tasks" / f"{name}.npy")
    np.testing.assert_allclose(np.asarray(says(task, cells), dtype=float), known, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SAYS)
def test_a_task_is_saved_again_as_it_was(archive, name, tmp_path):
    old = archive / "tasks" / name
    SAYS[name][0].load(old).save(tmp_path / name)
    files = sorted(file.relative_to(old) for file in old.iterdir() if file.is_file())
    assert set(files) <= {file.relative_to(tmp_path / name) for file in (tmp_path / name).iterdir()}
    for file in files:
        if file.suffix == ".csv":
            assert (tmp_path / name / file).read_text() == (old / file).read_text()
        elif file.suffix == ".safetensors":
            before, after = load_file(old / file), load_file(tmp_path / name / file)
            for key, array in before.items():
                np.testing.assert_array_equal(after[key], array, err_msg=key)
        else:
            before, after = (json.loads((folder / file).read_text()) for folder in (old, tmp_path / name))
            kept = {key: value for key, value in before.items() if key not in OF_THE_RUN}
            assert keeping(after, kept) == kept
            assert set(before["files"]) <= set(after["files"])
