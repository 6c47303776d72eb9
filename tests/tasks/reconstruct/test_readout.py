"""What is read from a decoder, against the networks' own outputs, and the traps on the way."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import torch

import scssl
from scssl.errors import DataError, SettingsError
from scssl.tasks import Reconstructor


def by_hand(model, adata):
    """Output of the decoder with the source of no cell known, and each cell's total over all genes."""
    (batch,) = model.batches(adata)
    with torch.no_grad():
        code = model.encoder.embed(batch)
        out = model.task.decoder(code, torch.full((batch.n_cells,), -1))
    return out, (batch.size_factor / batch.measured_share[0]).unsqueeze(1)


def test_counts_are_the_mean_and_spread_of_the_likelihood(models, cells):
    model, query = models["nb"], cells[1]
    out, total = by_hand(model, query)
    share = torch.sigmoid(out)
    theta = torch.exp(model.task.reconstruction.log_theta.detach())
    wanted = ["expression", "sd", "counts", "counts_sd"]
    found = Reconstructor(model).reconstruct(query, wanted=wanted)
    learned = found.genes["learned"].to_numpy()
    assert learned.mean() > 0.9
    mean = (total * share).numpy()
    np.testing.assert_allclose(found.counts[:, learned], mean[:, learned], rtol=1e-4)
    sd = np.sqrt(mean + mean**2 / theta.numpy())
    np.testing.assert_allclose(found.counts_sd[:, learned], sd[:, learned], rtol=1e-4)
    np.testing.assert_allclose(found.expression[:, learned], np.log1p(1e4 * share.numpy())[:, learned], rtol=1e-4)
    assert (found.sd[:, learned] > 0).all()
    assert np.isnan(found.expression[:, ~learned]).all()
    # On the scale of the counts: a cell of twice the total is expected to have twice the counts of each gene.
    deep = query.copy()
    deep.X = deep.X * 2
    twice = Reconstructor(model).reconstruct(deep, wanted=["counts", "sd"])
    np.testing.assert_allclose(twice.counts, 2 * found.counts, rtol=1e-3, equal_nan=True)
    assert np.nanmean(twice.sd) < np.nanmean(found.sd)


@pytest.mark.parametrize("loss", ["poisson", "zinb"])
def test_other_likelihoods_of_counts(cells, loss):
    few = cells[0][:150].copy()
    model = scssl.pretrain(
        few, preset="small", genes="union", overrides=[f"task.loss={loss}"], max_epochs=1, device="cpu",
        loggers=["csv"], split_by="cell",
    )  # fmt: skip
    out, total = by_hand(model, cells[1])
    mean, variance = (total * torch.sigmoid(out)).numpy(), None
    if loss == "zinb":
        # An extra zero in a third of the cells, for one gene.
        head = model.task.reconstruction.zero
        with torch.no_grad():
            head.weight.zero_()
            head.bias.fill_(-30.0)
            head.bias[4] = -np.log(2)
        theta = torch.exp(model.task.reconstruction.log_theta.detach()).numpy()
        variance = mean + mean**2 / theta
        variance[:, 4] = (variance[:, 4] + mean[:, 4] ** 2 / 3) * 2 / 3
        mean[:, 4] *= 2 / 3
    found = Reconstructor(model).reconstruct(cells[1], wanted=["expression", "sd", "counts", "counts_sd"])
    known = found.genes["learned"].to_numpy()
    assert known[4]
    np.testing.assert_allclose(found.counts[:, known], mean[:, known], rtol=1e-4)
    sd = np.sqrt(mean if variance is None else variance)
    np.testing.assert_allclose(found.counts_sd[:, known], sd[:, known], rtol=1e-4)
    np.testing.assert_allclose(np.expm1(found.expression[:, 4]), 1e4 * (mean / total.numpy())[:, 4], rtol=1e-3)
    assert np.isfinite(found.sd[:, known]).all()


def test_log_values_have_the_spread_of_a_reference_or_none(models, cells, caplog):
    model, query = models["mse"], cells[1]
    out, _ = by_hand(model, query)
    plain = Reconstructor(model).reconstruct(query)
    learned = plain.genes["learned"].to_numpy()
    np.testing.assert_allclose(plain.expression[:, learned], out.clamp(min=0).numpy()[:, learned], atol=1e-5)
    assert plain.sd is None
    assert plain.settings["uncertainty"] == "none"
    assert "so no uncertainty is given" in caplog.text
    fitted = Reconstructor(model).fit(cells[0])
    found = fitted.reconstruct(query)
    assert "hidden entries" in found.settings["uncertainty"]
    row = found.sd[0, learned]
    assert np.isfinite(row).all()
    np.testing.assert_array_equal(found.sd[:, learned], np.tile(row, (query.n_obs, 1)))
    # About as far as measurements really stray: the residuals of cells of the same kind.
    error = np.log1p(1e4 * query.X.toarray() / query.X.sum(axis=1)) - found.expression
    ratio = np.sqrt(np.nanmean(np.square(error[:, learned]), axis=0)).mean() / row.mean()
    assert 0.7 < ratio < 1.3
    with pytest.raises(SettingsError, match=r"predicts log values .* --loss nb"):
        fitted.reconstruct(query, wanted=["counts"])


def test_an_unmeasured_gene_is_predicted_and_a_small_panel_does_not_inflate(models, cells):
    model, query = models["nb"], cells[1]
    few = query[:, 60:].copy()
    whole = Reconstructor(model).reconstruct(query)
    found = Reconstructor(model).reconstruct(few)
    measured = found.genes["measured"].to_numpy()
    assert (~measured).sum() == 60
    known = found.genes["learned"].to_numpy() & ~measured
    assert np.isfinite(found.expression[:, known]).all()
    # Without the share of the missing genes' counts in the total, all would come out higher by its inverse.
    lost = 1 - few.X.sum() / query.X.sum()
    assert lost > 0.2
    both = found.genes["learned"].to_numpy()
    shift = float(np.median(found.expression[:, both] - whole.expression[:, both]))
    assert abs(shift) < 0.1
    # A gene's own value cannot have been copied: it was not there.
    truth = np.log1p(1e4 * query.X.toarray() / query.X.sum(axis=1))
    means = np.corrcoef(truth[:, known].mean(axis=0), found.expression[:, known].mean(axis=0))[0, 1]
    assert means > 0.8


def test_the_source_of_a_cell_matters_only_where_it_is_said(models, cells):
    model = models["nb"]
    query = cells[1]
    with torch.no_grad():
        kept = model.task.decoder.source.weight.clone()
        model.task.decoder.source.weight += 1.0
    try:
        unseen = Reconstructor(model).reconstruct(query).expression
        told = Reconstructor(model, source=model.sources[0]).reconstruct(query).expression
    finally:
        with torch.no_grad():
            model.task.decoder.source.weight.copy_(kept)
    np.testing.assert_allclose(unseen, Reconstructor(model).reconstruct(query).expression, equal_nan=True)
    assert np.nanmax(np.abs(told - unseen)) > 0.1
    with pytest.raises(SettingsError, match=r"source 'mars' is none of the model; .* 'study_1'"):
        Reconstructor(model, source="mars").reconstruct(query)


def test_cells_without_counts_have_no_expression(models, cells, caplog):
    query = cells[1].copy()
    query.X.data[query.X.indptr[3] : query.X.indptr[4]] = 0
    query.X.eliminate_zeros()
    found = Reconstructor(models["nb"]).reconstruct(query, wanted=["expression", "sd", "counts"])
    for values in (found.expression, found.sd, found.counts):
        assert np.isnan(values[3]).all()
        assert np.isfinite(values[4][found.genes["learned"]]).all()
    assert "1 cell without counts on the model's genes: nothing is said of their expression" in caplog.text


def test_genes_can_be_named_by_symbol_or_id_and_come_in_the_order_given(models, cells):
    model, query = models["nb"], cells[1]
    whole = Reconstructor(model).reconstruct(query)
    symbol, other = model.panel.symbols[5], model.panel.ids[2]
    found = Reconstructor(model).reconstruct(query, genes=[symbol, other, symbol.lower()])
    assert found.genes.index.tolist() == [model.panel.ids[5], other]
    np.testing.assert_allclose(found.expression, whole.expression[:, [5, 2]], rtol=1e-5)
    with pytest.raises(DataError, match=r"1 of 2 genes are not on the model's panel \(.*\): NOPE; leave them out"):
        Reconstructor(model).reconstruct(query, genes=[symbol, "NOPE"])
    with pytest.raises(DataError, match="no gene is given"):
        Reconstructor(model).reconstruct(query, genes=[])


def test_chunks_and_files_say_the_same_as_memory(models, cells, tmp_path, monkeypatch):
    from scssl.tasks.reconstruct import apply

    query, reconstructor = cells[1], Reconstructor(models["nb"])
    whole = reconstructor.reconstruct(query)
    query.write_h5ad(tmp_path / "q.h5ad")
    monkeypatch.setattr(apply, "VALUES", 150 * 20)
    parts = list(reconstructor.read(tmp_path / "q.h5ad").chunks())
    assert len(parts) > 3
    assert parts[-1][0].stop == query.n_obs
    joined = np.concatenate([values["expression"] for _, values in parts])
    np.testing.assert_allclose(joined, whole.expression, atol=1e-5, equal_nan=True)


def test_an_anndata_of_all_genes(models, cells):
    found = Reconstructor(models["nb"]).reconstruct(cells[1], wanted=["expression", "counts"])
    adata = found.to_anndata()
    assert isinstance(adata, anndata.AnnData)
    assert adata.shape == (cells[1].n_obs, len(models["nb"].panel))
    assert set(adata.layers) == {"counts"}
    assert list(adata.obs_names) == list(cells[1].obs_names)
    assert adata.var["measured"].all()


@pytest.mark.parametrize(
    ("overrides", "pretext", "message"),
    [
        ((), "byol", "pretext task 'byol' has no decoder, .*--mode finetune"),
        (["task.loss=bce"], "masked", "predicts whether a gene is seen"),
    ],
)
def test_models_without_expression_are_refused_with_the_fix(cells, overrides, pretext, message):
    few = cells[0][:150].copy()
    model = scssl.pretrain(
        few, preset="small", genes="union", pretext=pretext, overrides=overrides, max_epochs=1, device="cpu",
        loggers=["csv"], split_by="cell",
    )  # fmt: skip
    with pytest.raises(SettingsError, match=message):
        Reconstructor(model)
    tuned = Reconstructor(model, mode="finetune", epochs=1).fit(few)
    assert tuned.fitted.training["loss"] == "nb"
    assert np.isfinite(tuned.reconstruct(cells[1]).expression).mean() > 0.9
