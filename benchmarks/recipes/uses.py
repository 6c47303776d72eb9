"""What the code of the default recipe is worth if its numbers are changed at use, on the real development data.

    OMP_NUM_THREADS=1 python -m benchmarks.recipes.uses --work FOLDER

Reads the codes that `python -m benchmarks.recipes development` keeps in the work folder, and writes
`results/recipes_uses.json`: macro F1 by number of labels, mean over draws of the labels and over data sets. Everything
is fitted on all cells of a data set, without labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np

from benchmarks import protocol
from benchmarks.recipes import roles, scoring
from benchmarks.recipes.jobs import OWN_COMPONENTS, READOUTS, Job, codes_of
from benchmarks.recipes.simple import own_pca
from scssl.tasks.embed import beside

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CORPUS, VARIANT = "development-real", "code of 128"
FEWER = 20
"""Principal components of the code, of the 128 there are."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    work = parser.parse_args().work
    found: dict[str, list[float]] = {}
    for target in roles.targets_of(CORPUS):
        adata = ad.read_h5ad(target.path(work))
        cells = scoring.labelled(target, adata.obs)
        code = np.load(codes_of(Job(CORPUS, VARIANT, 0, str(work)), target))
        pca = own_pca(adata, n=OWN_COMPONENTS)
        for name, change in CHANGES.items():
            for beside_pca in (False, True):
                values = change(code)
                values = beside(values, pca) if beside_pca else values
                for row in scoring.score_embedding(values[cells.rows], cells, readouts=READOUTS):
                    use = f"{name}{', beside own PCA' if beside_pca else ''}"
                    key = f"{use} · {row['readout']} · {row['n_labels']}"
                    found.setdefault(key, []).append(float(np.mean(row["draws"])))
    names = [target.name for target in roles.targets_of(CORPUS)]
    table = {
        key: {**dict(zip(names, np.round(scores, 4).tolist(), strict=True)), "mean": round(float(np.mean(scores)), 4)}
        for key, scores in found.items()
    }
    command = "OMP_NUM_THREADS=1 python -m benchmarks.recipes.uses --work FOLDER"
    protocol.write("recipes_uses", command=command, result={"variant": VARIANT, "scores": table})
    for key, row in table.items():
        print(f"{key}: {row}")


def as_it_is(code: NDArray[np.float32]) -> NDArray[np.float32]:
    """Change nothing."""
    return code


def of_length_one(code: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide each cell's code, of which the mean cell is taken off, by its length."""
    centred = code - code.mean(0)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)


def components(code: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first principal components."""
    centred = code - code.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    found: NDArray[np.float32] = (centred @ directions[:FEWER].T).astype(np.float32)
    return found


def whitened(code: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn and scale the code, so that its numbers are uncorrelated and vary the same (ZCA: turned back at the end).

    Directions that vary less than a hundredth of the first would be scaled-up noise: they are scaled as if they did.
    """
    centred = code - code.mean(0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    scale = np.sqrt(len(code)) / np.maximum(spread, 0.01 * spread[0])
    found: NDArray[np.float32] = (centred @ (directions.T * scale) @ directions).astype(np.float32)
    return found


CHANGES: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "as it is": as_it_is,
    "length one": of_length_one,
    "whitened": whitened,
    f"{FEWER} components": components,
}


if __name__ == "__main__":
    main()
