"""scDataset on one backed h5ad file; delivers CSR as tensors, as counts are stored, and the two labels."""

from __future__ import annotations

import os

import harness

args = harness.arguments(block_size=16, fetch_factor=16, processes=0, seed=0)

import anndata as ad  # noqa: E402
import h5py  # noqa: E402
import torch  # noqa: E402
from scdataset import BlockShuffling, scDataset  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

torch.set_num_threads(1)


class Cells:
    """An h5ad file that each process opens for itself."""

    def __init__(self, path: str) -> None:
        self.path, self.owner, self.X = path, None, None
        with h5py.File(path) as file:
            obs = ad.io.read_elem(file["obs"])
        self.donor, self.cell_type = harness.codes(obs["donor"]), harness.codes(obs["cell_type"])

    def __len__(self) -> int:
        return len(self.donor)

    def __getitem__(self, rows):
        if self.owner != os.getpid():
            self.owner, self.X = os.getpid(), ad.io.sparse_dataset(h5py.File(self.path)["X"])
        return Fetched(self.X[rows], self.donor[rows], self.cell_type[rows])


class Fetched:
    """Fetched cells, from which batches are taken."""

    def __init__(self, X, donor, cell_type) -> None:
        self.X, self.donor, self.cell_type = X, donor, cell_type

    def __getitem__(self, rows):
        return Fetched(self.X[rows], self.donor[rows], self.cell_type[rows])


def to_tensors(batch: Fetched):
    """Convert to tensors, which go between processes through shared memory."""
    X = batch.X
    parts = (X.data, X.indices, X.indptr, batch.donor, batch.cell_type)
    return tuple(torch.from_numpy(part) for part in parts)


def open_data():
    """Open the file."""
    dataset = scDataset(
        Cells(args.data),
        BlockShuffling(block_size=args.block_size),
        batch_size=args.batch_size,
        fetch_factor=args.fetch_factor,
        batch_transform=to_tensors,
        seed=args.seed,
    )
    options = {}
    if args.processes:
        # Their advice is fetch_factor + 1, which with batches of thousands of cells asks for too much memory.
        options = {"prefetch_factor": min(args.fetch_factor + 1, 4), "persistent_workers": True}
    loader = DataLoader(dataset, batch_size=None, num_workers=args.processes, **options)
    return lambda _epoch: iter(loader)


harness.measure(open_data, args, n_genes=19_331)
