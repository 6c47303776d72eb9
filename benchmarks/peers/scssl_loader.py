"""scssl's corpus loader; delivers a `CellBatch`: CSR counts as uint16 tensors, totals, sources, labels."""

from __future__ import annotations

import harness

args = harness.arguments(threads=0, seed=0)

import torch  # noqa: E402

import scssl.corpus  # noqa: E402

torch.set_num_threads(1)
LOADER = scssl.corpus.CorpusLoader  # imported before the clock starts


def open_data():
    """Open the corpus."""
    corpus = scssl.Corpus.open(args.data)
    options = {"workers": args.threads} if args.threads else {}
    loader = corpus.loader(batch_size=args.batch_size, seed=args.seed, labels=["donor", "cell_type"], **options)

    def epochs(epoch: int):
        loader.set_epoch(epoch)
        for batch in loader:
            yield batch.values, batch.indices, batch.indptr, batch.labels["donor"], batch.labels["cell_type"]

    return epochs


harness.measure(open_data, args, n_genes=19_331)
