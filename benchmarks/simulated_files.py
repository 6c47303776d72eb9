"""Simulated atlases of any size as h5ad files: what the loader and build benchmarks read.

    python -m benchmarks.simulated_files FOLDER --cells 200000

Each file is one source of 20,000 cells x 19,331 genes, about a tenth of them above zero: log-normal gene abundances and
cell depths, 40 cell types that change a tenth of the genes each, shifts of all genes per source and donor, negative
binomial counts. As in files that people publish, cells are sorted by donor and, within a donor, by cell type; counts
are float32 and compressed with gzip. One file is in memory at a time per process. A file depends on the seed and its
number only, so that a larger atlas starts with the files of a smaller one.
"""

from __future__ import annotations

import argparse
from multiprocessing import get_context
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from scssl.datasets.counts import negative_binomial
from scssl.genes import GenePanel

GENES = 19_331
CELLS_PER_FILE = 20_000
TYPES = 40
DONORS_PER_FILE = 5
MEDIAN_DEPTH = 5_000
_CHUNK = 256


def paths(folder: Path, n_cells: int) -> list[Path]:
    """Return the files that make an atlas of `n_cells`."""
    n_files = -(-n_cells // CELLS_PER_FILE)
    return [folder / f"source_{number:03d}.h5ad" for number in range(n_files)]


def simulate(folder: Path, *, n_cells: int, seed: int = 0, processes: int = 2) -> list[Path]:
    """Write the files that are not there yet.

    Parameters
    ----------
    folder
        Where to.
    n_cells
        A multiple of `CELLS_PER_FILE`.
    seed
        The same seed gives the same files.
    processes
        Each holds one file (about 1 GB).
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = paths(folder, n_cells)
    missing = [(path, number, seed) for number, path in enumerate(files) if not path.exists()]
    with get_context("spawn").Pool(processes) as pool:
        for path in pool.imap_unordered(_write_file, missing):
            print(path, flush=True)
    return files


def _write_file(job: tuple[Path, int, int]) -> Path:
    path, number, seed = job
    cells = draw_file(number, seed=seed)
    part = path.with_suffix(".part")
    cells.write_h5ad(part, compression="gzip")
    part.rename(path)
    return path


def draw_file(number: int, *, seed: int = 0, n_cells: int = CELLS_PER_FILE) -> ad.AnnData:
    """Draw the cells of one source.

    Parameters
    ----------
    number
        Which source.
    seed
        With `number` it determines the cells; what types and genes are like comes from the seed alone.
    n_cells
        Cells to draw.
    """
    common, own = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1, number])
    base = common.normal(0, 2.2, GENES).astype(np.float32)
    changed = common.random((TYPES, GENES)) < 0.1
    types = base + np.where(changed, common.normal(0, 1.0, (TYPES, GENES)), 0).astype(np.float32)
    dispersion = common.lognormal(np.log(0.3), 0.4, GENES)
    source = own.normal(0, 0.3, GENES).astype(np.float32)
    donors = source + own.normal(0, 0.1, (DONORS_PER_FILE, GENES)).astype(np.float32)

    donor = np.sort(own.integers(DONORS_PER_FILE, size=n_cells))
    shares = own.dirichlet(np.full(TYPES, 0.5), DONORS_PER_FILE)
    cell_type = np.concatenate(
        [np.sort(own.choice(TYPES, size=(donor == d).sum(), p=shares[d])) for d in range(DONORS_PER_FILE)]
    )
    depth = own.lognormal(np.log(MEDIAN_DEPTH), 0.4, n_cells).astype(np.float32)

    pieces = []
    for start in range(0, n_cells, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        mean = np.exp(types[cell_type[chunk]] + donors[donor[chunk]])
        mean *= (depth[chunk] / mean.sum(axis=1))[:, None]
        drawn = negative_binomial(mean, dispersion=dispersion, rng=own)
        pieces.append(sp.csr_matrix((drawn.data.astype(np.float32), drawn.indices, drawn.indptr), shape=drawn.shape))
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(cell_type, [f"type {i:02d}" for i in range(TYPES)]),
            "donor": pd.Categorical([f"source {number:03d} donor {d}" for d in donor]),
        },
        index=pd.Index([f"s{number:03d}_{i:05d}" for i in range(n_cells)], dtype=object),
    )
    genes = pd.Index(GenePanel.builtin("human").ids[:GENES], dtype=object)
    return ad.AnnData(sp.vstack(pieces, format="csr"), obs=obs, var=pd.DataFrame(index=genes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    simulate(args.folder, n_cells=args.cells, seed=args.seed, processes=args.processes)


if __name__ == "__main__":
    main()
