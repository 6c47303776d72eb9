"""Proteins among the features of X, as 10x writes them: found, read apart from the genes, and asked for by name."""

from __future__ import annotations

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from scipy import sparse

import scssl
from scssl.errors import DataError, SettingsError
from scssl.genes.matching import other_features
from scssl.tasks import Translator
from scssl.tasks.translate.targets import read_target

ANTIBODIES = "Antibody Capture"


def joined(cells):
    """Counts of genes and of proteins side by side, names and types."""
    counts = sparse.hstack([cells.X, sparse.csr_matrix(cells.obsm["protein"])], format="csr").astype(np.int32)
    names = [*cells.var_names, *cells.uns["protein_names"]]
    types = ["Gene Expression"] * cells.n_vars + [ANTIBODIES] * cells.obsm["protein"].shape[1]
    return counts, names, types


def write(cells, folder, kind):
    """Write what is joined as one of the kinds of input; an AnnData is returned."""
    counts, names, types = joined(cells)
    if kind == "mtx":
        scipy.io.mmwrite(folder / "matrix.mtx", counts.T)
        pd.DataFrame([names, names, types]).T.to_csv(folder / "features.tsv", sep="\t", header=False, index=False)
        (folder / "barcodes.tsv").write_text("\n".join(cells.obs_names) + "\n")
        return folder
    if kind == "h5":
        with h5py.File(folder / "f.h5", "w") as file:
            group = file.create_group("matrix")
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(counts, name)
            group["shape"] = np.array(counts.shape[::-1])
            group["barcodes"] = np.array(cells.obs_names, dtype="S")
            for name, texts in (("id", names), ("name", names), ("feature_type", types)):
                group[f"features/{name}"] = np.array(texts, dtype="S")
        return folder / "f.h5"
    adata = anndata.AnnData(counts, obs=cells.obs[["donor"]].copy(), var=pd.DataFrame(index=names))
    adata.var["feature_types"] = types
    if kind == "memory":
        return adata
    adata.write_h5ad(folder / "f.h5ad")
    return folder / "f.h5ad"


@pytest.mark.parametrize("kind", ["memory", "h5ad", "h5", "mtx"])
def test_proteins_are_learned_from_as_if_they_were_apart(model, cells, tmp_path, kind):
    given = write(cells[0], tmp_path, kind)
    found = read_target(given, None, to="protein")
    assert found.spec == f"features:{ANTIBODIES}"
    assert found.names == list(cells[0].uns["protein_names"])
    np.testing.assert_array_equal(found.values.toarray(), cells[0].obsm["protein"])
    apart, among = (Translator(model, mode="zero_shot").fit(c, donor="cell") for c in (cells[0], given))
    expected = apart.translate(cells[1]).values["scaled"]
    np.testing.assert_array_equal(among.translate(cells[1]).values["scaled"], expected)


@pytest.mark.parametrize("genes", ["union", "hvg:60"])
def test_a_corpus_holds_the_genes_alone(cells, tmp_path, genes):
    cells[0].write_h5ad(tmp_path / "apart.h5ad")
    files = {"apart": tmp_path / "apart.h5ad", "among": write(cells[0], tmp_path, "h5ad")}
    found = {
        name: scssl.Corpus.build(file, tmp_path / name, genes=genes, split_by="cell", seed=0)
        for name, file in files.items()
    }
    assert set(found["among"].panel.ids) == set(found["apart"].panel.ids)
    first, second = (corpus.obs("train")["n_counts"].sort_values().to_numpy() for corpus in found.values())
    np.testing.assert_array_equal(first, second)


def test_what_there_is_is_said(cells, tmp_path):
    given = write(cells[0], tmp_path, "memory")
    with pytest.raises(DataError, match=r"name it with --target .*, of: features:Antibody Capture"):
        read_target(given, None, to="atac")
    with pytest.raises(DataError, match="no features of type 'Peaks'; there are: features:Antibody Capture"):
        read_target(given, "features:Peaks", to="atac")
    with pytest.raises(SettingsError, match="or features:TYPE"):
        read_target(given, "features", to="protein")
    plain = anndata.AnnData(given.X[:, :50], var=given.var.iloc[:50])
    with pytest.raises(DataError, match="no features but genes"):
        read_target(plain, None, to="protein")


def test_a_column_of_biotypes_says_nothing():
    table = pd.DataFrame({"feature_types": ["protein_coding", "lincRNA"]}, index=["A", "B"])
    assert other_features(table).tolist() == ["", ""]
    assert other_features(table.assign(feature_types=["Gene Expression", "Peaks"])).tolist() == ["", "Peaks"]
    assert other_features(table.assign(feature_types=[ANTIBODIES, ANTIBODIES])).tolist() == [ANTIBODIES, ANTIBODIES]


def test_scores_on_the_cells_that_were_learned_from_are_refused(model, cells, tmp_path):
    translator = Translator(model, mode="zero_shot").fit(cells[0])
    translator.save(tmp_path / "t")
    for one in (translator, Translator.load(tmp_path / "t")):
        with pytest.raises(DataError, match="adata: the translator learned from these very cells"):
            one.evaluate(cells[0])
    assert translator.evaluate(cells[0][::2].copy(), compare="mean").n_cells > 0
