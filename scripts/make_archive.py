"""Write tests/archives/VERSION: a corpus, a model and every saved task as this version of scssl writes them.

Run once per release, and commit what it writes: later versions must read it for ever.
Usage: python scripts/make_archive.py [FOLDER]
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

import scssl
from scssl.model import capsule as model_capsule

ARCHIVES = Path(__file__).parents[1] / "tests" / "archives"


def main(folder: Path) -> None:
    """Write the archive."""
    if folder.exists():
        sys.exit(f"{folder} is there: archives are never made again")
    cells = scssl.datasets.simulate_atlas(200, 80, n_types=3, n_donors=6, n_studies=2, unmeasured=0.1, seed=1)
    folder = folder.absolute()
    # Not where and on what the archive was made.
    model_capsule.machine, model_capsule.command_line = dict, str
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        source, programmes = Path("atlas.h5ad"), Path("sets.gmt")
        cells.write_h5ad(source)
        genes = list(cells.var_names)
        lines = ["\t".join([f"MADE_UP_{i}", "https://example.org", *genes[20 * i : 20 * i + 35]]) for i in range(3)]
        programmes.write_text("\n".join(lines))
        build = {"genes": "union", "obs": ["cell_type"], "source": "study", "split_by": "donor"}
        build |= {"measured": "uns:measured"}
        corpus = scssl.Corpus.build(source, folder / "corpus", **build)
        common = {"max_epochs": 2, "device": "cpu", "loggers": ["csv"]}
        shape = ["architecture.hidden=[16]", "architecture.n_latent=4", "training.precision=fp32"]
        model = scssl.pretrain(corpus, overrides=shape, out=folder / "model", **common)
        rate = ["task.masking=programme", f"task.programmes={programmes}", "task.rate=0.2"]
        scssl.pretrain(corpus, overrides=[*shape, *rate], out=folder / "programmes", **common)
        annotator = scssl.tasks.Annotator(model, mode="zero_shot").fit(cells, labels="cell_type", donor="donor")
        annotator.save(folder / "annotator")
    for name in ("model", "programmes"):
        shutil.rmtree(folder / name / "logs", ignore_errors=True)
        # What it ran on, and where: of no use to those who read it.
        (folder / name / "capsule.json").unlink()
        (folder / name / "settings.json").unlink()
        codes = scssl.load(folder / name).embed_corpus(corpus, split="val", device="cpu")
        np.save(folder / f"{name}.npy", codes)
    batches = list(corpus.loader(split="val", batch_size=64, shuffle=False))
    counts = sp.vstack([sp.csr_matrix((b.values, b.indices, b.indptr), shape=(b.n_cells, b.n_genes)) for b in batches])
    query = ad.AnnData(counts.astype(np.float32), var=pd.DataFrame(index=corpus.panel.ids))
    save_tasks(folder, query)
    known = {
        "fingerprint": corpus.fingerprint,
        "cells": {split: corpus.n_cells(split) for split in ("train", "val", "test")},
        "counts": [int(n) for batch in batches for n in batch.size_factor],
        "genes": genes,
        "sources": list(corpus.sources),
        "measured": corpus.measured.astype(int).tolist(),
        "cell_type": corpus.obs("val")["cell_type"].astype(str).tolist(),
        "labels": [str(label) for label in annotator.annotate(query).labels],
    }
    (folder / "known.json").write_text(json.dumps(known, indent=0) + "\n", encoding="utf-8")


def save_tasks(folder: Path, query: ad.AnnData) -> None:
    """Write the other saved tasks, and what they say of the cells of the archive."""
    model, out = scssl.load(folder / "model"), folder / "tasks"
    cells = scssl.datasets.simulate_atlas(
        300, 80, n_types=2, n_donors=6, n_studies=2, n_proteins=3, batches_per_study=1, composition_effect=1.5, seed=1
    )
    # Not where the model was.
    model_capsule.machine, model_capsule.command_line = dict, str
    asked = {"condition": "condition", "control": "healthy", "case": "disease", "donor": "donor"}
    asked["cell_type"] = "cell_type"
    tasks, on = scssl.tasks, {"device": "cpu"}
    probe = tasks.Annotator(model, mode="probe").fit(cells, labels="cell_type", **on)
    translator = tasks.Translator(model, to="protein", mode="zero_shot", k=3).fit(cells[:60].copy(), **on)
    head = tasks.Translator(model, to="protein").fit(cells, **on)
    reconstructor = tasks.Reconstructor(model).fit(cells, **on)
    integrator = tasks.Integrator(model, batch="study").fit(cells[::2].copy(), **on)
    similar = tasks.SimilarCells(model, k=2).fit(cells[::4].copy(), **on)
    simulator = tasks.Simulator(model).fit(cells, **asked, **on)
    cells.obsm["X_rep"] = model.embed(cells, **on)
    comparer = tasks.Comparer(use_rep="X_rep", kinds=("composition", "state")).fit(cells, **asked)
    saved = {
        "annotator": probe, "translator": translator, "translator_head": head, "reconstructor": reconstructor,
        "integrator": integrator, "similar": similar, "simulator": simulator, "comparison": comparer,
    }  # fmt: skip
    for name, task in saved.items():
        task.save(out / name)
    query.obs["study"] = "study_1"
    said = {
        "annotator": probe.scores(query, **on)[0],
        "translator": translator.translate(query, **on).values["scaled"],
        "translator_head": head.translate(query, **on).values["scaled"],
        "reconstructor": reconstructor.reconstruct(query, **on).sd,
        "integrator": integrator.integrate(query, **on).embedding,
        "similar": similar.predict(query, **on)["distance"].to_numpy(),
        "simulator": next(iter(simulator.fitted.learned.values())).change,
        "comparison": comparer.comparison.state["relative_shift"].to_numpy(dtype=float),
    }
    for name, values in said.items():
        np.save(out / f"{name}.npy", np.asarray(values, dtype=np.float32))


if __name__ == "__main__":
    version = ".".join(scssl.__version__.split(".")[:2])
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ARCHIVES / version)
