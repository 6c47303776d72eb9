"""Surface proteins and accessible peaks that go with simulated expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scssl.datasets.counts import negative_binomial

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Readout:
    """Features of another modality, each following the activity of programmes through the gene it belongs to."""

    genes: NDArray[np.int64]
    """(n_features,) the gene of each feature."""
    names: list[str]
    base: NDArray[np.float32]
    """(n_features,) log mean count at zero activity."""
    gain: NDArray[np.float32]
    """(n_programmes, n_features) change of the log mean per unit of activity."""
    dispersion: NDArray[np.float32]

    def draw(
        self, activity: NDArray[np.float32], *, log_depth: NDArray[np.floating], rng: np.random.Generator
    ) -> sp.csr_matrix:
        """Draw counts, shape (n_cells, n_features), for cells with these activities and log depths around 0."""
        log_mean = activity @ self.gain + self.base + log_depth[:, None].astype(np.float32)
        return negative_binomial(np.exp(np.minimum(log_mean, 9.0)), dispersion=self.dispersion, rng=rng)


def protein_readout(
    n_proteins: int, *, loadings: NDArray[np.float32], symbols: NDArray[np.str_], rng: np.random.Generator
) -> Readout:
    """Proteins of the genes that programmes move most: abundant, overdispersed, with a background."""
    ranked = np.argsort(-np.abs(loadings).sum(0), kind="stable")
    genes = np.sort(ranked[:n_proteins])
    return Readout(
        genes=genes,
        names=[f"{symbols[g]}_protein" for g in genes],
        base=rng.normal(2.5, 0.8, n_proteins).astype(np.float32),
        # Proteins follow their gene loosely: translation and decay differ from gene to gene.
        gain=(loadings[:, genes] * rng.uniform(0.5, 1.5, n_proteins)).astype(np.float32),
        dispersion=rng.lognormal(np.log(0.15), 0.3, n_proteins).astype(np.float32),
    )


def peak_readout(
    n_peaks: int, *, loadings: NDArray[np.float32], symbols: NDArray[np.str_], rng: np.random.Generator
) -> Readout:
    """Peaks near genes, about half of them near programme genes: rarely open, counts of 0, 1 or 2."""
    n_genes = loadings.shape[1]
    linked = np.flatnonzero(np.abs(loadings).sum(0))
    near = rng.choice(linked, size=n_peaks // 2)
    genes = np.sort(np.concatenate([near, rng.integers(n_genes, size=n_peaks - len(near))]))
    number = np.arange(n_peaks) - np.searchsorted(genes, genes)
    return Readout(
        genes=genes,
        names=[f"{symbols[g]}_peak{i + 1}" for g, i in zip(genes, number, strict=True)],
        base=rng.normal(-3.0, 1.0, n_peaks).astype(np.float32),
        gain=(loadings[:, genes] * rng.uniform(0.3, 1.0, n_peaks)).astype(np.float32),
        dispersion=np.full(n_peaks, 0.05, dtype=np.float32),
    )
