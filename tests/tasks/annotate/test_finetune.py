"""Fine-tuning starts at the probe, goes as far as held-out cells say, and says how far that was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import scssl
from scssl.errors import SettingsError
from scssl.tasks import Annotator, FineTuning
from scssl.tasks.annotate.blend import Choice
from scssl.tasks.annotate.finetune import _said
from scssl.tasks.annotate.labelled import gather_labelled

QUICK = {"epochs": 2, "min_steps": 40, "precision": "fp32"}


@pytest.fixture(scope="module")
def cells():
    adata = scssl.datasets.simulate_atlas(500, 150, n_types=3, n_studies=1, type_effect=3.0, seed=3)
    held_out = adata.obs["donor"].isin(adata.obs["donor"].cat.categories[::3]).to_numpy()
    return adata[~held_out].copy(), adata[held_out].copy()


@pytest.fixture(scope="module")
def model(cells):
    return scssl.pretrain(cells[0], preset="small", genes="union", max_epochs=2)


@pytest.fixture(scope="module")
def untrained(cells):
    return scssl.pretrain(cells[0], preset="small", pretext="none", genes="union", max_epochs=1)


def fit(model, cells, **settings):
    return Annotator(model, mode="finetune", finetuning=FineTuning(**{**QUICK, **settings})).fit(cells[0])


@pytest.fixture(scope="module")
def spoilt(model, cells):
    """Fine-tuned at a rate that destroys the encoder."""
    return fit(model, cells, learning_rate=0.5, encoder_rate=1.0)


@pytest.mark.parametrize("cross_fitted", [1000, 100])
def test_the_probe_is_kept_where_fine_tuning_is_not_better(model, cells, caplog, cross_fitted):
    annotator = fit(model, cells, learning_rate=0.5, encoder_rate=1.0, cross_fitted=cross_fitted)
    assert "fine-tuning is not better than the linear probe on held-out donors" in caplog.text
    probe = Annotator(model, mode="probe").fit(cells[0])
    expected, found = probe.annotate(cells[1]), annotator.annotate(cells[1])
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
    np.testing.assert_array_equal(found.labels.codes, expected.labels.codes)
    assert found.unknown.tolist() == expected.unknown.tolist()
    assert annotator.fitted.trust.novelty.power == probe.fitted.trust.novelty.power
    np.testing.assert_array_equal(annotator.fitted.model.embed(cells[1]), model.embed(cells[1]))


def test_what_was_kept_is_said_in_uns_and_in_the_folder(spoilt, cells, tmp_path):
    training = spoilt.predict(cells[1].copy()).uns["scssl"]["annotate"]["training"]
    assert (training["share"], training["used"]) == (0.0, "the probe on the frozen encoder")
    assert min(training["held_out_loss"], key=training["held_out_loss"].get) == "0"
    spoilt.save(tmp_path / "a")
    kept = json.loads((tmp_path / "a" / "annotator.json").read_text())
    assert kept["mode"] == "finetune"
    assert kept["training"] == training
    again = Annotator.load(tmp_path / "a")
    assert not again.fitted.trained
    expected, found = spoilt.annotate(cells[1]), again.annotate(cells[1])
    np.testing.assert_array_equal(expected.probabilities, found.probabilities)
    assert expected.settings == {**found.settings, "model": expected.settings["model"]}


def test_the_fine_tuned_network_is_kept_where_it_is_better(untrained, cells, caplog, tmp_path):
    caplog.set_level("INFO", logger="scssl")
    annotator = fit(untrained, cells, min_steps=200)
    training = annotator.fitted.training
    assert training["share"] > 0
    assert training["used"] in ("a blend of both", "the fine-tuned network")
    assert f"{training['used']} is used" in caplog.text
    assert "not better" not in caplog.text
    losses = training["held_out_loss"]
    assert losses[f"{training['share']:g}"] < losses["0"]
    assert annotator.fitted.trained
    assert not np.allclose(annotator.fitted.model.embed(cells[1]), untrained.embed(cells[1]), atol=1e-2)
    probe = Annotator(untrained, mode="probe").fit(cells[0])
    assert annotator.evaluate(cells[1]).macro_f1 > probe.evaluate(cells[1]).macro_f1
    annotator.save(tmp_path / "a")
    again = Annotator.load(tmp_path / "a")
    assert again.fitted.training == training
    np.testing.assert_array_equal(again.annotate(cells[1]).probabilities, annotator.annotate(cells[1]).probabilities)


@pytest.mark.parametrize("donor", [None, "cell"])
def test_what_held_out_cells_cannot_tell_is_said(untrained, cells, caplog, donor):
    caplog.set_level("INFO", logger="scssl")
    settings = FineTuning(**QUICK, blends=(0.0, 1.0), cross_fitted=0)
    annotator = Annotator(untrained, mode="finetune", finetuning=settings, calibrate="never")
    training = annotator.fit(cells[0], donor=donor).fitted.training
    assert training["judged_by"] == ("donors" if donor is None else "cells")
    assert training["share"] == 1
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING" and "is used" in r.getMessage()]
    if donor is None:
        assert not warned
    else:
        (message,) = warned
        assert "by held-out cells, the fine-tuned network is used" in message
        assert "could not be checked: compare with modes 'probe' and 'scratch'" in message


def test_where_nothing_could_be_held_out_that_is_said(caplog):
    said = _said(Choice(0.5, {}), unit="", competed=True, name="reference")
    assert (said["judged_by"], said["used"]) == ("", "a blend of both")
    assert "with no cell that could be held out, a blend of both is used" in caplog.text
    assert "could not be checked" in caplog.text
    caplog.clear()
    # What was asked for needs no excuse.
    _said(Choice(0.5, {}), unit="", competed=False, name="reference")
    assert not caplog.text


def test_a_share_alone_is_taken_as_it_is(model, cells):
    ends = {share: fit(model, cells, blends=(share,)).fitted for share in (0.0, 0.25, 1.0)}
    for name, start in ends[0.0].model.encoder.state_dict().items():
        assert torch.equal(start, model.encoder.state_dict()[name])
        end, between = (ends[share].model.encoder.state_dict()[name] for share in (1.0, 0.25))
        torch.testing.assert_close(between, 0.75 * start + 0.25 * end, rtol=1e-4, atol=1e-6)
    # Fine-tuning starts from the probe's scores, made smaller.
    head = 0.75 * FineTuning().softened * ends[0.0].classifier.weight + 0.25 * ends[1.0].classifier.weight
    np.testing.assert_allclose(ends[0.25].classifier.weight, head, rtol=1e-3, atol=1e-5)
    assert ends[0.25].training["share"] == 0.25


@pytest.mark.parametrize("mode", ["finetune", "scratch"])
@pytest.mark.parametrize("settings", [{}, {"cross_fitted": 50}, {"patience": 2}], ids=["folds", "once", "stopping"])
def test_who_is_judged_and_who_is_learned_from(model, cells, mode, settings):
    chosen = FineTuning(**{**QUICK, "blends": (0.5,), **settings})
    fitted = Annotator(model, mode=mode, finetuning=chosen).fit(cells[0]).fitted
    n, judged = cells[0].n_obs, fitted.trust.held_out["n_cells"]
    assert fitted.training["cells"] == {"train": n - judged if "patience" in settings else n, "val": judged}
    assert judged == n if not settings else 0 < judged < n / 2
    assert fitted.training["times_held_out"] == (5 if not settings else 1)
    assert ("share" in fitted.training) == (mode == "finetune")


def test_scratch_trains_once_where_nothing_is_to_be_judged(model, cells):
    settings = FineTuning(**QUICK)
    kept = [Annotator(model, mode="scratch", calibrate=c, finetuning=settings).fit(cells[0]) for c in ("auto", "never")]
    assert [a.fitted.training["times_held_out"] for a in kept] == [5, 0]
    # What is held out to be judged by changes nothing in what is learned in the end.
    scores = [a.scores(cells[1]).log_scores for a in kept]
    np.testing.assert_array_equal(scores[0], scores[1])
    # Twice the 40 steps, and no fewer passes than 4.
    assert kept[0].fitted.training["epochs"] == max(4, -(-80 // (cells[0].n_obs // max(16, cells[0].n_obs // 10))))


def test_cells_divided_anew_are_those_read_so(cells, model):
    rng = np.random.default_rng(0)
    n = cells[0].n_obs
    codes, share = rng.integers(0, 3, n), np.full(len(model.panel), 1 / len(model.panel), dtype=np.float32)
    validation = rng.random(n) < 0.3

    def gather(chosen):
        return gather_labelled(
            model.batches(cells[0]), model.panel, kept=np.ones(n, dtype=bool), codes=codes, classes=list("abc"),
            validation=chosen, share=share, name="cells", seed=4,
        )  # fmt: skip

    expected = gather(validation)
    for before in (gather(np.zeros(n, dtype=bool)), gather(rng.random(n) < 0.5)):
        found = before.divided(train=~validation, validation=validation, seed=4)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.gene_counts, expected.gene_counts)
        for mine, theirs in zip(found.shards, expected.shards, strict=True):
            assert mine.split == theirs.split
            for name in ("values", "indices", "indptr", "n_counts", "names"):
                np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), err_msg=name)
            for name in mine.codes:
                np.testing.assert_array_equal(mine.codes[name], theirs.codes[name])
    part = gather(validation).divided(train=codes == 0, validation=codes == 1, seed=0)
    assert sorted(part.rows[: (codes == 0).sum()]) == np.flatnonzero(codes == 0).tolist()
    assert len(part.rows) == (codes < 2).sum()


@pytest.mark.parametrize(
    "change", [{"blends": ()}, {"blends": (0.5, 1.5)}, {"cross_fitted": -1}, {"scratch_passes": 0}]
)
def test_settings_are_checked(change):
    with pytest.raises(SettingsError, match=f"finetuning.{next(iter(change))}"):
        FineTuning(**change)
