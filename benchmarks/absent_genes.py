"""Reconstruction of genes that a file has not measured, scored on real counts: genes are taken out of a file whole.

A fifth of the genes that a target measured is taken out of its query before any method sees it. What methods say of
them is compared with what was measured. Two cases: nobody but the corpus has these genes (fine-tuned models learn from
a reference without them, neighbours are looked up in the corpus), and a reference of the same study has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors

from scssl.genes import harmonise
from scssl.metrics.reconstruction import ReconstructionScores, ReconstructionTally
from scssl.tasks.reconstruct.baselines import Components, Given
from scssl.tasks.reconstruct.readout import Readout
from scssl.tasks.reconstruct.sample import counts_of, draw

if TYPE_CHECKING:
    import anndata as ad

    import scssl

SHARE = 0.2
"""Of the measured genes that are taken out."""
NEIGHBOURS, COMPONENTS = 30, 20


class Absent:
    """A query without some of its genes, and what was measured of them.

    Parameters
    ----------
    query
        Cells with all their genes.
    model
        Any model on the panel.
    seed
        Of the draw of genes.
    """

    def __init__(self, query: ad.AnnData, model: scssl.CellModel, *, seed: int) -> None:
        self.sample = draw(model, query, layer=None, max_cells=query.n_obs, seed=seed).sample
        self.totals = np.asarray(self.sample.counts.sum(axis=1), dtype=np.float64).ravel()
        known = self.sample.measured & (model.encoder.gene_share.cpu().numpy() > 0)
        rng = np.random.default_rng([seed, 0xAB])
        self.genes = np.sort(rng.choice(np.flatnonzero(known), round(SHARE * known.sum()), replace=False))
        self.panel = model.panel
        self.query = self.without(query)

    def without(self, cells: ad.AnnData) -> ad.AnnData:
        """Return cells without the genes, as a file that has not measured them."""
        found = harmonise(cells.var, self.panel, file="query").index
        return cells[:, ~np.isin(found, self.genes)].copy()

    def score(self, log: np.ndarray, expected: np.ndarray) -> ReconstructionScores:
        """Score log values and counts, (n_cells, n_absent)."""
        counts = self.sample.counts[:, self.genes].toarray()
        tally = ReconstructionTally(len(self.genes))
        scale = 1e4 * self.sample.measured_share / self.totals[:, None]
        tally.add(np.log1p(scale * counts), log, counts=counts, expected=expected)
        return tally.scores()

    def by_model(self, model: scssl.CellModel) -> ReconstructionScores:
        """Score a model that reads the query without the genes."""
        readout = Readout(model, genes=self.genes, device="cpu")
        logs, counts = [], []
        for batch in model.batches(self.query, batch_size=256):
            total = (batch.size_factor / batch.measured_share[0]).numpy()
            decoded = readout.decode(batch)
            log = readout.quantities(decoded, total=total, wanted=("measured",))["measured"]
            share = np.expm1(log) / 1e4 if decoded.share is None else decoded.expected_share().cpu().numpy()
            logs.append(log)
            counts.append(share * total[:, None])
        kept = np.flatnonzero(np.asarray(self._seen().sum(axis=1)).ravel() > 0)
        assert len(kept) == len(self.totals), "a cell has counts on the genes taken out only"
        return self.score(np.concatenate(logs), np.concatenate(counts))

    def by_neighbours(self, counts: sp.csr_matrix, measured: np.ndarray, *, seed: int) -> ReconstructionScores:
        """Score the mean of the nearest of some cells that have the genes.

        Parameters
        ----------
        counts, measured
            (n, n_genes) of those cells, and which of the genes each of them measured.
        seed
            Of the components.
        """
        n, seen = counts.shape[0], np.tile(self.sample.measured, (len(self.totals), 1))
        seen[:, self.genes] = False
        both, there = sp.vstack([counts, self._seen()], format="csr"), np.concatenate([measured, seen])
        shared = np.flatnonzero(seen[0])
        # Totals over the genes that all have, in which the depths of a small panel and of a full one compare.
        total = np.asarray(both[:, shared].sum(axis=1), dtype=np.float64).ravel()
        kept = np.flatnonzero(total[:n] > 0)
        rows = np.concatenate([kept, np.arange(n, len(total))])
        both, there, total = both[rows], there[rows], total[rows]
        codes = Components(Given(both[:, shared], total, there[:, shared], 1e4), n=COMPONENTS, seed=seed).codes
        near = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(codes[: len(kept)])
        index = near.kneighbors(codes[len(kept) :], return_distance=False)
        place = (np.repeat(np.arange(len(index)), NEIGHBOURS), index.ravel())
        weights = sp.csr_matrix((np.ones(index.size), place), shape=(len(index), len(rows)))
        own = total[len(kept) :]
        # From counts per those of the shared genes to counts per those of all that the query measured.
        scale = 1e4 * self.sample.measured_share * float(np.median(own / self.totals))
        found = Given(both[:, self.genes], total, there[:, self.genes], scale).averaged(weights)(slice(0, len(index)))
        return self.score(found.log, found.share * own[:, None])

    def _seen(self) -> sp.csr_matrix:
        keep = np.ones(self.sample.counts.shape[1], dtype=np.float32)
        keep[self.genes] = 0
        return sp.csr_matrix(self.sample.counts @ sp.diags_array(keep))


def cells_of(corpus: scssl.Corpus) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return the training cells of a corpus: counts, and which genes each measured."""
    parts = [(counts_of(b), b.measured.numpy()[b.measured_row.numpy()]) for b in corpus.loader(batch_size=4096)]
    return sp.vstack([p[0] for p in parts], format="csr"), np.concatenate([p[1] for p in parts])


def cells_like(cells: ad.AnnData, panel: scssl.GenePanel) -> tuple[sp.csr_matrix, np.ndarray]:
    """Return the same for the cells of a reference."""
    genes = harmonise(cells.var, panel, file="reference")
    counts = sp.csr_matrix(genes.apply(sp.csr_matrix(cells.X)), dtype=np.float32)
    return counts, np.tile(genes.measured, (counts.shape[0], 1))
