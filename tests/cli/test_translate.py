"""`scssl translate` from file to file."""

from __future__ import annotations

import json

import anndata
import mudata
import numpy as np
import pytest

import scssl
from scssl.cli.app import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translate")
    adata = scssl.datasets.simulate_atlas(400, 150, n_types=3, n_proteins=6, n_peaks=20, type_effect=3.0)
    held_out = adata.obs["donor"].isin(adata.obs["donor"].cat.categories[::3]).to_numpy()
    adata[~held_out].copy().write_h5ad(folder / "reference.h5ad")
    adata[held_out].copy().write_h5ad(folder / "query.h5ad")
    scssl.pretrain(adata[~held_out].copy(), preset="small", genes="union", max_epochs=1).save(folder / "model")
    return folder


def command(folder, out, *more, to="protein", reference=True, model="model", same=False):
    given = ["--reference", str(folder / f"{'query' if same else 'reference'}.h5ad"), "--to", to] if reference else []
    return ["translate", str(folder / "query.h5ad"), "--model", str(folder / model), *given, "--out", str(out), *more]


def test_file_to_file_and_again_with_what_was_saved(folder, tmp_path, capsys):
    before = (folder / "query.h5ad").read_bytes()
    more = ("--save", str(tmp_path / "t"), "--truth", "obsm:protein", "--figures", str(tmp_path / "s"))
    assert main(command(folder, tmp_path / "o.h5ad", "--mode", "zero_shot", *more)) == 0
    printed = capsys.readouterr()
    assert "6 proteins predicted" in printed.out
    assert "PCA + ridge" in printed.out
    assert "GB of memory" in printed.err
    assert (folder / "query.h5ad").read_bytes() == before
    out = anndata.read_h5ad(tmp_path / "o.h5ad")
    assert (out.obsm["scssl_protein"].dtype, out.obsm["scssl_protein"].shape) == (np.float32, (out.n_obs, 6))
    assert out.uns["scssl"]["translate"]["reference"] == str(folder / "reference.h5ad")
    assert {p.name for p in (tmp_path / "s").iterdir()} == {
        "overall.csv", "features.csv", "donors.csv", "scatter.png", "correlations.png", "capsule.json"
    }  # fmt: skip
    again = ["translate", str(folder / "query.h5ad"), "--model", str(tmp_path / "t"), "--out", str(tmp_path / "p.h5ad")]
    assert main(again) == 0
    np.testing.assert_array_equal(
        anndata.read_h5ad(tmp_path / "p.h5ad").obsm["scssl_protein"], out.obsm["scssl_protein"]
    )
    capsys.readouterr()
    assert main([*again, "--overwrite", "--to", "protein"]) == 2
    assert "--to cannot be chosen for the translator" in capsys.readouterr().err


def test_json_and_mudata(folder, tmp_path, capsys):
    more = ("--json", "--mode", "zero_shot", "--truth", "obsm:atac", "--key-added", "mine")
    assert main(command(folder, tmp_path / "o.h5mu", *more, to="atac")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["likelihood"] == "bernoulli"
    assert result["scores"]["methods"][0]["method"] == "translator"
    assert "auroc" in result["scores"]["methods"][0]
    whole = mudata.read_h5mu(tmp_path / "o.h5mu")
    query = anndata.read_h5ad(folder / "query.h5ad")
    assert list(whole.mod) == ["rna", "mine_atac"]
    assert list(whole["mine_atac"].var_names) == list(query.uns["peak_names"])
    assert list(whole["mine_atac"].obs_names) == list(query.obs_names)
    assert np.isfinite(whole["mine_atac"].X).all()


MISTAKES = {
    "no reference": (("--mode", "probe"), {"reference": False}, "is not a saved translator, so give --reference"),
    "no such target": (("--target", "obsm:nope"), {}, "has no obsm['nope']"),
    "no such truth": (("--truth", "mod:prot"), {}, "has no modality 'prot'"),
    "figures without truth": (("--figures", "s"), {}, "needs --truth"),
    "scored on itself": (("--truth", "obsm:protein"), {"same": True}, "--reference is the same file"),
    "k without neighbours": (("--k", "3"), {}, "--k has no effect in --mode probe"),
    "likelihood": (("--likelihood", "poisson"), {}, "likelihood 'poisson' is not one of protein"),
    "donor": (("--donor", "nope"), {}, "no column 'nope'"),
    "missing model": ((), {"model": "nope"}, "nope"),
    "key": (("--key-added", "a/b"), {}, "give a name without '/'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_before_anything_is_written(folder, tmp_path, capsys, name):
    more, options, message = MISTAKES[name]
    assert main(command(folder, tmp_path / "o.h5ad", *more, **options)) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_endings_are_refused(folder, tmp_path, capsys):
    assert main(command(folder, tmp_path / "o.csv")) == 2
    assert "written as .h5ad or .h5mu" in capsys.readouterr().err
