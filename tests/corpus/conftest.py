"""Corpora in memory made of several shards, for tests of what reads them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scssl.corpus import Corpus
from scssl.corpus.format.shard import Shard
from scssl.genes import GenePanel


@pytest.fixture(scope="session")
def many_shards():
    """Make a corpus with shards of given sizes in train and in val, every cell another one than the others."""

    def make(sizes, *, types=(0.25, 0.25, 0.25), n_genes=50):
        shards, first = [], 0
        rng = np.random.default_rng(0)
        for split in ("train", "val"):
            for n in sizes:
                X = sp.random(n, n_genes, density=0.2, random_state=rng, format="csr")
                X.data = np.arange(1, X.nnz + 1)
                X = sp.csr_matrix(np.maximum(X.toarray(), np.eye(1, n_genes)))  # no empty shard
                shards.append(
                    Shard(
                        split=split,
                        first_cell=first,
                        values=X.data.astype(np.uint16),
                        indices=X.indices.astype(np.uint16),
                        indptr=X.indptr.astype(np.int64),
                        n_counts=np.asarray(X.sum(axis=1)).ravel().astype(np.int64),
                        codes={
                            "source": rng.integers(0, 2, n).astype(np.int32),
                            "cell_type": rng.choice(4, n, p=[1 - sum(types), *types]).astype(np.int32) - 1,
                            "donor": rng.integers(0, 3, n).astype(np.int32),
                        },
                        names=np.array([f"{first + i}" for i in range(n)], dtype=object),
                    )
                )
                first += n
        ids = np.array([f"g{i}" for i in range(n_genes)], dtype=object)
        return Corpus(
            panel=GenePanel(ids=ids, symbols=ids),
            sources=["a", "b"],
            categories={"cell_type": ["x", "y", "z"], "donor": ["p", "q", "r"]},
            measured=np.ones((2, n_genes), dtype=bool),
            gene_counts=np.ones((2, n_genes), dtype=np.int64),
            shards=shards,
            settings={},
            report={"sources": []},
        )

    return make


@pytest.fixture(scope="session")
def small_corpus(many_shards):
    return many_shards([13, 1, 40, 7, 22])
