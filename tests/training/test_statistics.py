import numpy as np

import scssl
from scssl.training import gene_moments


def test_gene_moments_equal_a_loop_over_cells_that_measured_the_gene():
    adata = scssl.datasets.simulate_atlas(150, 80, n_studies=2, unmeasured=0.3, seed=3)
    corpus = scssl.Corpus.from_anndata(
        adata, genes="union", source="study", measured="uns:measured", split_by="cell", val=0.0, test=0.0
    )
    genes, share = list(corpus.panel.ids), corpus.gene_share()
    measured = dict(zip(corpus.sources, corpus.measured, strict=True))
    values = [[] for _ in genes]
    where = [genes.index(gene) for gene in adata.var_names]
    for c in range(adata.n_obs):
        counts = np.zeros(len(genes))
        counts[where] = adata.X[c].toarray().ravel()
        there = measured[adata.obs["study"].iloc[c]]
        counts[~there] = 0
        if counts.sum() == 0:
            continue
        x = np.log1p(1e4 * share[there].sum() * counts / counts.sum())
        for g in np.flatnonzero(there):
            values[g].append(x[g])
    expected = np.array([np.mean(v) if v else 0 for v in values])
    spread = np.array([np.var(v) if v else 0 for v in values])
    assert (~corpus.measured).any()
    mean, variance = gene_moments(corpus)
    np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance.numpy(), spread, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(gene_moments(corpus, max_cells=100)[0].numpy(), expected, atol=1.5)
