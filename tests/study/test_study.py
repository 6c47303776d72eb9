"""A whole study: same splits for all, resumable, the same for any number of jobs, true where the truth is known."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest

import scssl
from scssl.errors import DataError, FormatError, SettingsError
from scssl.study import fitting, get_plan, list_baselines
from scssl.study.baselines import Baseline, get_baseline
from scssl.study.capsule import recheck
from scssl.study.comparing import BEST_BASELINE, BEST_PRETRAINED
from scssl.study.methods import Job, list_jobs, list_methods
from scssl.study.splits import make_splits
from scssl.study.store import Store, is_study, pack, read_settings, unpack
from scssl.training.finetuning import FineTuning

pytestmark = pytest.mark.usefixtures("brief_finetuning")

FILES = {
    "capsule.json",
    "verdict.json",
    "scores.csv",
    "differences.csv",
    "results.csv",
    "per_type.csv",
    "settings.json",
    "leakage.csv",
}


def study(two_studies, corpus, plan, out, **options):
    given = {"target": two_studies[1], "labels": "cell_type", "donor": "donor"} | options
    return scssl.study.run(corpus, out=out, plan=plan, device="cpu", **given)


@pytest.fixture(scope="module")
def done(two_studies, tiny_corpus, tiny_plan, tmp_path_factory):
    return study(two_studies, tiny_corpus, tiny_plan, tmp_path_factory.mktemp("study") / "out")


def test_tables_hold_every_method_on_the_same_cells(done, two_studies):
    assert {path.name for path in done.folder.iterdir() if path.is_file()} == FILES
    methods = {
        "masked:zero_shot", "masked:probe", "masked:finetune", "scratch", "none:zero_shot", "none:probe",
        "pca_knn", "pca_logistic", "pca_target", "logistic",
    }  # fmt: skip
    assert set(done.scores["method"]) == methods
    assert len(done.results) == len(methods) * 2
    for _, fold in done.results.groupby("split"):
        assert fold["n_train"].nunique() == fold["n_test"].nunique() == 1
    assert done.results.drop_duplicates("split")["n_test"].sum() == two_studies[1].n_obs
    assert done.scores["macro_f1"].between(done.scores["low"] - 1e-9, done.scores["high"] + 1e-9).all()
    assert set(done.scores["unit"]) == {"donor"}
    assert set(done.per_type["type"]) == set(two_studies[1].obs["cell_type"].astype(str))
    assert (done.per_type["few_cells"] == (done.per_type["test_cells"] < 20)).all()


def test_scores_come_out_again_from_the_predictions(done, two_studies, tmp_path):
    folder, target = shutil.copytree(done.folder, tmp_path / "copy"), tmp_path / "target.h5ad"
    assert {finding.state for finding in recheck(folder)} == {"unknown"}
    two_studies[0].write_h5ad(tmp_path / "cells.h5ad")
    two_studies[1].write_h5ad(target)
    same = {"genes": "union", "obs": ["cell_type"], "source": "study", "split_by": "donor", "test": 0.0}
    scssl.Corpus.build(tmp_path / "cells.h5ad", tmp_path / "corpus", **same)
    capsule = json.loads((folder / "capsule.json").read_text())
    capsule["data"] |= {"path": str(tmp_path / "corpus"), "target_path": str(target)}
    (folder / "capsule.json").write_text(json.dumps(capsule))
    assert [(finding.what, finding.state) for finding in recheck(folder)] == [("data", "same"), ("metrics", "same")]
    scores = pd.read_csv(folder / "results.csv")
    scores.assign(macro_f1=scores["macro_f1"] + 0.01).to_csv(folder / "results.csv", index=False)
    assert recheck(folder)[1].state == "differs"
    two_studies[1][:-5].write_h5ad(target)
    assert [(finding.what, finding.state) for finding in recheck(folder)] == [("data", "differs")]


def test_scores_are_those_of_the_predictions_pooled_over_folds(done, two_studies):
    from sklearn.metrics import f1_score

    truth = two_studies[1].obs["cell_type"].astype(str)
    classes, codes = np.unique(truth, return_inverse=True)
    donors = two_studies[1].obs["donor"].astype(str)
    settings = json.loads((done.folder / "settings.json").read_text())
    true, called = [], []
    for number, split in enumerate(settings["splits"]):
        rows = np.flatnonzero(donors.isin(split["test_donors"]))
        file = done.folder / "results" / f"pca_knn_excluded_seed0_split{number}_labels-all_cells-1.json"
        true.append(codes[rows])
        called.append(unpack(json.loads(file.read_text())["predicted"]))
    expected = f1_score(np.concatenate(true), np.concatenate(called), average="macro")
    row = done.scores.set_index("method").loc["pca_knn"]
    assert row["macro_f1"] == pytest.approx(expected)
    recall = done.per_type[done.per_type["method"] == "pca_knn"]["recall"]
    assert row["balanced_accuracy"] == pytest.approx(recall.mean())
    assert list(done.per_type["type"].unique()) == list(classes)


def test_the_verdict_is_that_of_its_numbers(done):
    verdict = json.loads((done.folder / "verdict.json").read_text())
    rows = done.differences.set_index(["method", "against"])
    pairs = {"against_scratch": ("masked:finetune", "scratch"), "against_baseline": (BEST_PRETRAINED, BEST_BASELINE)}
    for name, pair in pairs.items():
        row = rows.loc[pair]
        assert [verdict[name][key] for key in ("estimate", "low", "high")] == pytest.approx(
            [row["difference"], row["low"], row["high"]]
        )
    assert verdict["verdict"] == done.verdict.word
    json.dumps(done.to_dict(), allow_nan=False)


def test_a_second_run_fits_nothing_and_says_the_same(done, two_studies, tiny_corpus, tiny_plan, monkeypatch):
    for name in ("_predict", "_pretrained"):
        monkeypatch.setattr(fitting, name, lambda *_: pytest.fail("fitted again"))
    before = (done.folder / "verdict.json").read_text()
    again = study(two_studies, tiny_corpus, tiny_plan, done.folder)
    assert (done.folder / "verdict.json").read_text() == before
    pd.testing.assert_frame_equal(again.scores, done.scores)


def test_an_interrupted_study_goes_on(done, two_studies, tiny_corpus, tiny_plan, tmp_path, monkeypatch):
    real, calls = fitting._predict, []

    def stops(work, method, fit, network):
        if len(calls) == 7:
            raise KeyboardInterrupt
        calls.append(method.name)
        return real(work, method, fit, network)

    monkeypatch.setattr(fitting, "_predict", stops)
    with pytest.raises(KeyboardInterrupt, match=r"all is saved, go on with .*out by the same command"):
        study(two_studies, tiny_corpus, tiny_plan, tmp_path / "out")
    kept = sorted((tmp_path / "out" / "results").iterdir())
    assert len(kept) == 7
    kept[0].write_text(kept[0].read_text()[:100])
    short = json.loads(kept[1].read_text())
    kept[1].write_text(json.dumps({**short, "predicted": pack(unpack(short["predicted"])[:-1])}))
    monkeypatch.setattr(fitting, "_predict", lambda *given: calls.append("again") or real(*given))
    result = study(two_studies, tiny_corpus, tiny_plan, tmp_path / "out")
    assert calls.count("again") == len(done.results) - 5
    pd.testing.assert_frame_equal(result.scores, done.scores)


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_workers(
    two_studies, tiny_corpus, tiny_plan, tmp_path, monkeypatch, brief_finetuning
):
    # Other processes know nothing of a shorter fine-tuning.
    monkeypatch.setattr(FineTuning.__init__, "__kwdefaults__", brief_finetuning)
    with warnings.catch_warnings():
        # Of joblib's processes, when one is slow to end.
        warnings.simplefilter("ignore")
        one, two = (study(two_studies, tiny_corpus, tiny_plan, tmp_path / f"{n}", workers=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one.scores, two.scores)
    pd.testing.assert_frame_equal(one.differences, two.differences)


def test_another_study_is_not_mixed_in(done, two_studies, tiny_corpus, tiny_plan, tmp_path):
    with pytest.raises(SettingsError, match=r"folds \(was 2, is 3\).*--overwrite"):
        study(two_studies, tiny_corpus, get_plan(tiny_plan, folds=3), done.folder)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(SettingsError, match="not the folder of a study"):
        study(two_studies, tiny_corpus, tiny_plan, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "x"


def test_the_same_method_twice_differs_by_exactly_nothing(two_studies, tiny_corpus, tiny_plan, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "_predict", lambda work, method, fit, network: fit.target.codes[fit.test] * 0)
    result = study(two_studies, tiny_corpus, tiny_plan, tmp_path / "out")
    assert (result.differences[["difference", "low", "high"]] == 0).all().all()
    assert (result.verdict.word, result.verdict.conclusive) == ("made no difference", True)


def test_random_labels_make_no_difference(two_studies, tiny_corpus, tiny_plan, tmp_path):
    target = two_studies[1].copy()
    rng = np.random.default_rng(0)
    target.obs["cell_type"] = pd.Categorical(rng.permutation(target.obs["cell_type"].astype(str)))
    result = study((two_studies[0], target), tiny_corpus, tiny_plan, tmp_path / "out")
    assert result.verdict.word == "made no difference"
    scratch = result.verdict.scratch.interval
    assert scratch.low <= 0 <= scratch.high


def test_the_best_is_the_one_that_scores_highest(done):
    scores = done.scores.set_index("method")["macro_f1"]
    networks = [name for name in scores.index if name.startswith("masked:")]
    simple = [name for name in scores.index if name not in networks and name != "scratch"]
    best = {key.partition(",")[0]: name for key, name in done.settings["best"].items()}
    assert best == {BEST_PRETRAINED: scores[networks].idxmax(), BEST_BASELINE: scores[simple].idxmax()}
    row = done.differences.set_index(["method", "against"]).loc[(BEST_PRETRAINED, BEST_BASELINE)]
    assert row["difference"] == pytest.approx(scores[networks].max() - scores[simple].max())
    first = done.differences.iloc[0]
    assert (first["method"], first["against"]) == ("masked:finetune", "scratch")
    assert first["difference"] == pytest.approx(scores["masked:finetune"] - scores["scratch"])


def test_both_arms_and_the_target_inside_the_corpus(two_studies, tiny_plan, tmp_path):
    import anndata as ad

    corpus = scssl.Corpus.from_anndata(
        ad.concat(two_studies, merge="same"), genes="union", obs=["cell_type"], source="study", split_by="donor"
    )
    plan = get_plan(tiny_plan, arms=("excluded", "included"), modes=("zero_shot", "scratch"))
    result = study(two_studies, corpus, plan, tmp_path / "out")
    assert result.settings["audit"]["n_shared"] == two_studies[1].n_obs
    used = result.settings["corpus"]["used"]
    assert used["excluded, 100%"] < used["included, 100%"] <= corpus.n_cells()
    assert f"{two_studies[1].n_obs} of {corpus.n_cells()} cells of the corpus were left out" in " ".join(
        result.settings["notes"]
    )
    assert set(result.scores["arm"]) == {"excluded", "included"}
    assert "masked:zero_shot (excluded)" in set(result.differences["against"])
    with pytest.raises(DataError, match="--arm included"):
        study(two_studies, two_studies[1], tiny_plan, tmp_path / "same", genes="union")
    assert not (tmp_path / "same").exists()


def test_one_donor_and_a_rare_type(two_studies, tiny_corpus, tiny_plan, tmp_path):
    target = two_studies[1].copy()
    target.obs["donor"] = "me"
    target.obs["cell_type"] = target.obs["cell_type"].astype(str)
    target.obs.iloc[0, target.obs.columns.get_loc("cell_type")] = "seen once"
    plan = get_plan(tiny_plan, modes=("probe", "scratch"))
    result = study((None, target), tiny_corpus, plan, tmp_path / "out")
    assert set(result.scores["unit"]) == {"cell"}
    assert "one donor" in result.verdict.sentences[-1]
    assert any("seen once" in note for note in result.settings["notes"])


@pytest.mark.slow
def test_curves_data_sets_and_controls(two_studies, tiny_corpus, tiny_plan, tmp_path):
    target = two_studies[1].copy()
    target.obs["site"] = np.where(
        target.obs["donor"].astype(str) < sorted(set(target.obs["donor"].astype(str)))[3], "a", "b"
    )
    plan = get_plan(
        tiny_plan, labels=(1, None), fractions=(0.5, 1.0), modes=("probe", "scratch"), controls=("none", "autoencoder"),
    )  # fmt: skip
    result = study((None, target), tiny_corpus, plan, tmp_path / "out", source="site")
    scores = result.scores
    assert set(scores["labels_per_type"].astype(str)) == {"1", "all"}
    assert set(scores["scheme"]) == {"donor", "data set"}
    shares = scores[scores["corpus_share"] == 0.5]
    assert list(shares["method"]) == ["masked:probe"]
    few = scores[scores["labels_per_type"].astype(str) == "1"].set_index("method")["macro_f1"]
    many = scores[(scores["labels_per_type"].astype(str) == "all") & (scores["scheme"] == "donor")]
    assert many.drop_duplicates("method").set_index("method").loc["logistic", "macro_f1"] > few["logistic"]
    # Controls that are pre-training of another kind are compared, and are no simple baselines.
    assert ("masked:probe", "autoencoder:probe") in set(
        zip(result.differences["method"], result.differences["against"], strict=True)
    )
    assert not any("autoencoder" in name for name in result.settings["best"].values())


def test_extras_that_fail_are_left_out_and_said(done, two_studies, tiny_corpus, tiny_plan, monkeypatch):
    from scssl.study.baselines import base

    def fails(fit):
        message = "not with these\nversions"
        raise TypeError(message)

    record = Baseline(name="other", title="Other", summary="Fails.", predict=fails)
    monkeypatch.setitem(base._REGISTRY, "other", record)
    plan = get_plan(tiny_plan, extras=("other",))
    result = study(two_studies, tiny_corpus, plan, done.folder)
    assert "Left out: Other failed (TypeError: not with these versions)." in result.settings["notes"]
    pd.testing.assert_frame_equal(result.scores, done.scores)
    # Once it works it is there.
    works = Baseline(name="other", title="Other", summary="Works.", predict=lambda fit: fit.target.codes[fit.test])
    monkeypatch.setitem(base._REGISTRY, "other", works)
    again = study(two_studies, tiny_corpus, plan, done.folder)
    assert again.scores.set_index("method").loc["other", "macro_f1"] == 1
    assert not any("Other" in note for note in again.settings["notes"])


def test_every_job_of_the_full_plan_has_its_own_file():
    plan = get_plan("full")
    splits = make_splits(np.tile([0, 1], 50), np.repeat(np.arange(10), 10), folds=plan.folds)
    jobs = list_jobs(plan, list_methods(plan), splits)
    assert len({job.key for job in jobs}) == len(jobs)
    assert {job.labels for job in jobs} == {1, 10, 100, 0}


def test_the_full_plan_adds_to_the_quick_one_of_the_same_folds():
    splits = make_splits(np.tile([0, 1], 50), np.repeat(np.arange(10), 10), folds=3)
    quick, full = (get_plan(name, folds=3) for name in ("quick", "full"))
    keys = [{job.key for job in list_jobs(plan, list_methods(plan), splits)} for plan in (quick, full)]
    assert keys[0] < keys[1]
    assert all(getattr(quick, name) == getattr(full, name) for name in ("preset", "overrides", "epochs", "folds"))


def test_settings_of_the_pretext_task_are_for_the_first_alone(tiny_plan):
    plan = get_plan(tiny_plan, pretexts=("masked", "vicreg"), overrides=("task.rate=0.25", "training.min_steps=7"))
    main, *others = (fitting.network_config(plan, name, seed=3) for name in ("masked", "vicreg", "none"))
    assert main.task["rate"] == 0.25
    assert all("rate" not in config.task for config in others)
    assert {c.training.min_steps for c in (main, *others)} == {7}
    assert {c.training.seed for c in (main, *others)} == {3}
    assert {c.architecture for c in others} == {main.architecture}


@pytest.mark.parametrize("record", list_baselines(), ids=lambda record: record.name)
def test_baselines_say_what_they_are(record):
    assert isinstance(record, Baseline)
    assert record.summary.endswith(".")
    assert get_baseline(record.name) is record
    assert record.package == "" or "pip install" in record.fix


def test_mistakes_in_plans(two_studies, tiny_corpus, tmp_path):
    with pytest.raises(SettingsError, match="plan 'big' is not known"):
        study(two_studies, tiny_corpus, "big", tmp_path / "out")
    with pytest.raises(SettingsError, match="did you mean 'seeds'"):
        study(two_studies, tiny_corpus, "quick", tmp_path / "out", seed=(1,))
    with pytest.raises(SettingsError, match="needs scratch"):
        get_plan("quick", modes=("probe",))
    with pytest.raises(SettingsError, match="baseline 'pca2'"):
        list_methods(get_plan("quick", baselines=("pca2",)))
    with pytest.raises(SettingsError, match="workers is 0"):
        study(two_studies, tiny_corpus, "quick", tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


def test_damaged_settings_are_named(tmp_path, two_studies, tiny_corpus, tiny_plan):
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(FormatError, match=r"settings\.json does not describe a study"):
        study(two_studies, tiny_corpus, tiny_plan, tmp_path)
    kind = {"format": "scssl-study", "version": 1}
    for text, words in {"[" * 50_000: "is not JSON", json.dumps(kind | {"version": 2}): "reads up to 1",
                        json.dumps(kind): "does not say what results depend on"}.items():  # fmt: skip
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(FormatError, match=words):
            read_settings(tmp_path)
        assert not is_study(tmp_path)
    (tmp_path / "settings.json").unlink()
    assert not is_study(tmp_path)
    job = Job(method="a", arm="b", seed=0, split=0, labels=0, fraction=1.0)
    store = Store(tmp_path, fingerprint="f")
    store.write(job, predicted=np.array([1, 2]))
    assert store.has(job, n_test=2)
    store.path(job).write_text("[" * 50_000)
    assert store.read(job) is None
