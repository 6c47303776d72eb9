import numpy as np

import scssl
from scssl.training import gene_mean


def test_gene_mean_equals_a_loop_over_cells_that_measured_the_gene():
    adata = scssl.datasets.simulate_atlas(150, 80, n_studies=2, unmeasured=0.3, seed=3)
    corpus = scssl.Corpus.from_anndata(
        adata, genes="union", source="study", measured="uns:measured", split_by="cell", val=0.0, test=0.0
    )
    genes, share = list(corpus.panel.ids), corpus.gene_share()
    measured = dict(zip(corpus.sources, corpus.measured, strict=True))
    sums, cells = np.zeros(len(genes)), np.zeros(len(genes))
    where = [genes.index(gene) for gene in adata.var_names]
    for c in range(adata.n_obs):
        counts = np.zeros(len(genes))
        counts[where] = adata.X[c].toarray().ravel()
        there = measured[adata.obs["study"].iloc[c]]
        counts[~there] = 0
        if counts.sum() == 0:
            continue
        x = np.log1p(1e4 * share[there].sum() * counts / counts.sum())
        sums[there] += x[there]
        cells[there] += 1
    expected = np.divide(sums, cells, out=np.zeros_like(sums), where=cells > 0)
    assert (~corpus.measured).any()
    np.testing.assert_allclose(gene_mean(corpus).numpy(), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gene_mean(corpus, max_cells=100).numpy(), expected, atol=1.5)
