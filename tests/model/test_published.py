"""The paper's networks: codes equal to those of plain torch, and whatever does not fit is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch

import scssl
from scssl.cli.app import main
from scssl.errors import DataError, FormatError, ScsslError, SettingsError
from scssl.genes import GenePanel
from tests.published import Barlow, Byol, Masked, lightning

N_GENES = 120


@pytest.fixture(scope="module")
def adata():
    return scssl.datasets.simulate_atlas(300, N_GENES, seed=2)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Masked(N_GENES)


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    file = tmp_path_factory.mktemp("published") / "best.ckpt"
    torch.save(lightning(network), file)
    return file


@pytest.fixture(scope="module")
def genes(adata, tmp_path_factory):
    """The genes in an order of their own, as the network reads them."""
    file = tmp_path_factory.mktemp("genes") / "genes.txt"
    order = np.random.default_rng(0).permutation(N_GENES)
    file.write_text("\n".join(adata.var_names[order]) + "\n")
    return file


@pytest.fixture(scope="module")
def model(checkpoint, genes):
    return scssl.CellModel.from_published(checkpoint, genes=genes)


@torch.no_grad()
def plain_codes(encoder, adata, names):
    """Scale to 10,000 counts, log1p, zeros for genes that are not there; nothing else."""
    counts = adata.to_df().reindex(columns=names, fill_value=0).to_numpy(dtype=np.float64)
    x = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    return encoder.eval()(torch.tensor(x, dtype=torch.float32)).numpy()


def test_codes_are_those_of_the_plain_network(model, network, adata, genes):
    names = genes.read_text().split()
    expected = plain_codes(network.encoder, adata, names)
    np.testing.assert_allclose(model.embed(adata, device="cpu"), expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1


def test_codes_of_files_that_measured_fewer_genes_are_too(model, network, adata, genes):
    part = adata[:, ::2].copy()
    expected = plain_codes(network.encoder, part, genes.read_text().split())
    np.testing.assert_allclose(model.embed(part, device="cpu"), expected, atol=1e-5)


def test_genes_preprocessing_and_origin_are_kept(model, adata, genes, checkpoint, tmp_path):
    model.save(tmp_path / "m")
    again = scssl.load(tmp_path / "m")
    np.testing.assert_array_equal(again.embed(adata), model.embed(adata))
    assert again.panel.ids.tolist() == genes.read_text().split()
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    said = {"input": "raw counts", "transform": "log1p", "target_sum": 10000.0, "centred": False}
    assert config["preprocessing"] == said
    card = (tmp_path / "m" / "README.md").read_text()
    for words in ("10.1038/s42256-024-00934-3", "best.ckpt", "genes.txt", "not centred", "sigmoid", "masked"):
        assert words in card
    assert "imported from best.ckpt" in repr(again)
    assert len(repr(again).splitlines()) == 3


def test_it_annotates_and_knows_unknown_cells(model, adata, tmp_path):
    annotator = scssl.tasks.Annotator(model, mode="zero_shot").fit(adata, labels="cell_type", donor="donor")
    annotator.save(tmp_path / "annotator")
    found = scssl.tasks.Annotator.load(tmp_path / "annotator").annotate(adata)
    assert (found.labels.to_numpy() == adata.obs["cell_type"].to_numpy()).mean() > 0.6
    assert found.unknown is None or not (np.asarray(found.unknown) == "too few genes measured").any()


def test_pretraining_goes_on_from_it(model, adata):
    adapted = scssl.pretrain(adata, init=model, max_epochs=1, overrides=["training.min_steps=1"])
    assert adapted.config.pretext == "masked"
    assert adapted.panel == model.panel
    assert not torch.equal(adapted.encoder.code.weight, model.encoder.code.weight)
    np.testing.assert_allclose(adapted.encoder.code.weight.detach(), model.encoder.code.weight.detach(), atol=0.05)


@pytest.mark.parametrize(
    ("make", "trunk", "kind"), [(Byol, "inner_model", "BYOL"), (Barlow, "backbone", "Barlow Twins")]
)
def test_two_view_networks_have_other_names(make, trunk, kind, adata, tmp_path):
    network = make(N_GENES)
    torch.save(network.state_dict(), tmp_path / "last.ckpt")
    model = scssl.CellModel.from_published(tmp_path / "last.ckpt", genes=list(adata.var_names))
    expected = plain_codes(getattr(network, trunk), adata, adata.var_names)
    np.testing.assert_allclose(model.embed(adata, device="cpu"), expected, atol=1e-5)
    assert model.card["origin"]["kind"] == kind
    assert "public code of the paper" in model.card["limits"]


def test_the_list_may_come_with_the_checkpoint(network, adata, tmp_path):
    names = list(adata.var_names)
    torch.save(lightning(network, hyper_parameters={"gene_ids": names}), tmp_path / "own.ckpt")
    model = scssl.CellModel.from_published(tmp_path / "own.ckpt")
    assert model.panel.ids.tolist() == names
    assert model.card["origin"]["genes"] == "the checkpoint"
    scssl.CellModel.from_published(tmp_path / "own.ckpt", genes=names)
    with pytest.raises(DataError, match=f"number 1, {names[0]} there and {names[1]} here"):
        scssl.CellModel.from_published(tmp_path / "own.ckpt", genes=[names[1], names[0], *names[2:]])


def test_lists_in_other_forms(checkpoint, adata, tmp_path):
    names = list(adata.var_names)
    GenePanel.of_species(names, species="human", name="mine").save(tmp_path / "genes.tsv")
    (tmp_path / "genes.csv").write_text("feature_name,feature_id\n" + "".join(f"x,{name}.3\n" for name in names))
    for given in (tmp_path / "genes.tsv", tmp_path / "genes.csv", names):
        assert scssl.CellModel.from_published(checkpoint, genes=given).panel.ids.tolist() == names


def test_a_list_of_another_length_is_refused_with_both_numbers(checkpoint, real_data):
    with pytest.raises(DataError, match=r"reads 120 genes, but .*scTab_features.parquet lists 19,357"):
        scssl.CellModel.from_published(checkpoint, genes=real_data / "genes" / "scTab_features.parquet")


def test_no_gene_is_merged_with_another(real_data):
    """IDs in scTab's list are retired by now; to follow one to its heir would shift all genes behind it."""
    from scssl.genes import harmonise
    from scssl.model.genes import read_ordered

    panel = read_ordered(real_data / "genes" / "scTab_features.parquet")
    assert len(panel) == 19_357
    # Files of that time are matched gene by gene: 12 of the genes, SOD2 among them, have other IDs now.
    same = harmonise(pd.DataFrame(index=panel.ids), panel)
    np.testing.assert_array_equal(same.index, np.arange(len(panel)))


@pytest.mark.parametrize(
    ("genes", "error", "message"),
    [
        (None, SettingsError, "does not list its 120 genes, and they are never guessed"),
        (lambda n: n[:-1], DataError, "reads 120 genes, but a list lists 119"),
        (lambda n: [*n[:-1], n[0]], DataError, "more than once"),
        (lambda n: [*n[:-1], " "], DataError, "have no name"),
        ("nowhere.txt", DataError, "no such file of genes"),
    ],
)
def test_lists_that_do_not_fit(checkpoint, adata, genes, error, message):
    given = genes(list(adata.var_names)) if callable(genes) else genes
    with pytest.raises(error, match=message):
        scssl.CellModel.from_published(checkpoint, genes=given)


def altered(name, value):
    def change(weights):
        if value is None:
            del weights[name]
        else:
            weights[name] = value(weights.get(name))

    return change


def renamed(old, new):
    def change(weights):
        for name in list(weights):
            if name.startswith(old):
                weights[name.replace(old, new, 1)] = weights.pop(name)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (altered("encoder.6.weight", None), "lacks encoder.6.weight"),
        (altered("encoder.0.weight", None), "the first layer, encoder.0.weight, is missing"),
        (altered("encoder.15.weight", lambda _: torch.zeros(64, 64)), "more than the paper's networks: encoder.15"),
        (altered("encoder.3.weight", lambda w: w[:, :-1]), r"encoder.3.weight has the shape \(512, 511\)"),
        (altered("encoder.0.weight", lambda w: w[0]), r"encoder.0.weight, has the shape"),
        (altered("encoder.12.bias", lambda w: w * float("nan")), "encoder.12.bias holds values that are not finite"),
        (altered("encoder.12.bias", lambda w: w.long()), "encoder.12.bias holds no plain numbers"),
        (altered("decoder.0.3.bias", None), "lacks decoder.0.3.bias"),
        (altered("decoder.0.12.bias", lambda w: w[:-1]), "decoder.0.12.bias has the shape"),
        (altered("px_r", lambda _: torch.zeros(3)), "weights beside encoder"),
        (renamed("encoder.", "classifier."), "one of the paper's classifiers"),
        (renamed("encoder.", "vae."), "none of the paper's pre-trained networks"),
        (lambda weights: weights.clear(), "no 'state_dict'"),
        (lambda weights: weights.update(note="text"), "no 'state_dict' of tensors"),
    ],
)
def test_networks_that_do_not_fit(network, adata, tmp_path, change, message):
    weights = dict(network.state_dict())
    change(weights)
    torch.save({"state_dict": weights}, tmp_path / "other.ckpt")
    with pytest.raises(FormatError, match=message) as caught:
        scssl.CellModel.from_published(tmp_path / "other.ckpt", genes=list(adata.var_names))
    assert "other.ckpt" in str(caught.value)
    assert "\n" not in str(caught.value)


class Hostile:
    """Runs a command wherever it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


class Huge:
    """Takes a terabyte wherever it is unpickled, also by torch's own careful reader."""

    def __reduce__(self):
        return bytearray, (10**12,)


def as_zip(path, content, *, compress=False):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/version", "3")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("form", ["torch", "protocol 4", "plain pickle", "old torch"])
def test_a_pickled_program_never_runs(network, adata, tmp_path, monkeypatch, form, force):
    if force:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    mark, file = tmp_path / "it ran", tmp_path / "bad.ckpt"
    content = {"state_dict": network.state_dict(), "hyper_parameters": Hostile(mark)}
    if form == "torch":
        torch.save(content, file)
    elif form == "old torch":
        torch.save(content, file, _use_new_zipfile_serialization=False)
    elif form == "plain pickle":
        file.write_bytes(pickle.dumps(Hostile(mark)))
    else:
        as_zip(file, pickle.dumps(Hostile(mark), protocol=4))
    with pytest.raises(FormatError) as caught:
        scssl.CellModel.from_published(file, genes=list(adata.var_names))
    assert "\n" not in str(caught.value)
    assert ("holds pickled objects" in str(caught.value)) == (form in ("torch", "protocol 4"))
    assert not mark.exists()
    # And it would have, had it been read as pickles usually are.
    if form == "plain pickle" and not force:
        pickle.loads(file.read_bytes())
        assert mark.exists()


def test_nothing_large_is_allocated(adata, tmp_path):
    for name, content, compress in (
        ("huge", pickle.dumps(Huge(), protocol=2), False),
        ("bomb", b"\0" * 100_000_000, True),
        ("long", b"(" * 70_000_000, False),
    ):
        as_zip(tmp_path / name, content, compress=compress)
        with pytest.raises(FormatError, match=r"pickled objects|is compressed|more than any network"):
            scssl.CellModel.from_published(tmp_path / name, genes=list(adata.var_names))


def test_damaged_files(checkpoint, adata, tmp_path):
    whole = checkpoint.read_bytes()
    buffer = io.BytesIO()
    torch.save([1, 2], buffer)
    for number, content in enumerate([b"", b"text", whole[:-5000], whole[: len(whole) // 2], buffer.getvalue()]):
        (tmp_path / f"{number}.ckpt").write_bytes(content)
        with pytest.raises(FormatError, match=f"{number}.ckpt"):
            scssl.CellModel.from_published(tmp_path / f"{number}.ckpt", genes=list(adata.var_names))
    with pytest.raises(FormatError, match="no such checkpoint"):
        scssl.CellModel.from_published(tmp_path / "none.ckpt", genes=list(adata.var_names))


def test_names_that_are_no_genes_are_said_and_refused_where_most_are(checkpoint, adata, genes, tmp_path, capsys):
    names, words = list(adata.var_names), ["models", "import", str(checkpoint), "--genes"]
    (tmp_path / "few.txt").write_text("\n".join([*names[:-2], "AKKGRA", "ENSG00000999999"]))
    assert (
        main(["models", "import", str(checkpoint), "--genes", str(tmp_path / "few.txt"), "--out", f"{tmp_path}/m"]) == 0
    )
    said = capsys.readouterr().err
    assert "few.txt: 2 of its 120 names are not known genes, such as 'AKKGRA', 'ENSG00000999999'" in said
    assert json.loads((tmp_path / "m" / "config.json").read_text())["card"]["origin"]["unknown_genes"] == 2
    assert main([*words, str(genes), "--out", str(tmp_path / "all")]) == 0
    assert "not known" not in capsys.readouterr().err
    most = [f"gene_{i}" for i in range(61)] + names[:59]
    (tmp_path / "most.txt").write_text("\n".join(most))
    assert (
        main(["models", "import", str(checkpoint), "--genes", str(tmp_path / "most.txt"), "--out", f"{tmp_path}/n"])
        == 2
    )
    assert "61 of its 120 names are no known genes of human or mouse, such as 'gene_0'" in capsys.readouterr().err
    assert not (tmp_path / "n").exists()
    panel = GenePanel.from_names(most)
    assert scssl.CellModel.from_published(checkpoint, genes=panel).panel == panel


def test_from_the_command_line(checkpoint, genes, tmp_path, capsys):
    words = ["models", "import", str(checkpoint), "--genes", str(genes), "--licence", "mit", "--out"]
    assert main([*words, str(tmp_path / "m"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["n_genes"], result["n_latent"]) == (N_GENES, 64)
    assert "license: mit" in (tmp_path / "m" / "README.md").read_text()
    assert main(["report", str(tmp_path / "m")]) == 0
    assert "imported from best.ckpt" in (tmp_path / "m" / "report.html").read_text()
    capsys.readouterr()
    assert main([*words, str(tmp_path / "m")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["models", "import", str(checkpoint), "--out", str(tmp_path / "n")]) == 2
    said = capsys.readouterr().err
    assert "--genes FILE" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "n").exists()


def test_errors_are_of_one_family(tmp_path):
    with pytest.raises(ScsslError):
        scssl.CellModel.from_published(tmp_path)
