"""Pre-train on files of your own: gather them into one corpus, train, embed, score on new donors, write the report.

    python examples/own_files.py

Takes about a minute. Two simulated files stand for yours; put your own paths in their place.
docs/tutorials/own_files.md goes through it step by step, with the commands for a shell.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

import scssl


def write_files(folder: Path, *, n_cells: int, n_genes: int) -> list[Path]:
    """Write two studies that did not measure quite the same genes."""
    cells = scssl.datasets.simulate_atlas(n_cells, n_genes, n_studies=2, n_donors=20)
    paths = []
    for i, study in enumerate(cells.obs["study"].cat.categories):
        measured = np.arange(n_genes) % 10 != i
        paths.append(folder / f"{study}.h5ad")
        cells[cells.obs["study"] == study, measured].write_h5ad(paths[-1])
    return paths


def main(folder: Path, n_cells: int = 4000, n_genes: int = 1000, epochs: int = 10) -> dict[str, float]:
    files = write_files(folder, n_cells=n_cells, n_genes=n_genes)

    corpus = scssl.Corpus.build(
        files,
        folder / "corpus",
        genes="union",
        obs=["cell_type", "donor"],
        split_by="donor",
        val=0.1,
        test=0.2,
    )
    for split in ("train", "val", "test"):
        donors = corpus.obs(split)["donor"]
        print(f"{split}: {corpus.n_cells(split):,} cells of {donors[donors.notna()].nunique()} donors")

    # No labels are used here.
    model = scssl.pretrain(corpus, max_epochs=epochs, out=folder / "model")
    print(model.card["metrics"])

    # Here they are: donors of the test split were in neither training nor reference.
    known, new = corpus.obs("train"), corpus.obs("test")
    neighbours = KNeighborsClassifier(5).fit(model.embed_corpus(corpus, split="train"), known["cell_type"].astype(str))
    called = neighbours.predict(model.embed_corpus(corpus, split="test"))
    score = scssl.metrics.classification_scores(new["cell_type"].astype(str), called).macro_f1
    print(f"macro F1 on new donors: {score:.3f}")

    page = scssl.pl.render(folder / "model")
    print(f"open {page.name} in a browser")

    same = scssl.load(folder / "model")
    assert np.array_equal(same.embed_corpus(corpus, split="test"), model.embed_corpus(corpus, split="test"))
    return {"macro F1": score}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
