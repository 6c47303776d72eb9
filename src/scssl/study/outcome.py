"""From predictions to tables of scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scssl.errors import FormatError
from scssl.metrics.hierarchy import lift
from scssl.study.bootstrap import Interval, Metric, best_interval, choose_units, count, score, total
from scssl.study.methods import ANY
from scssl.study.plan import SMALLEST_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scssl.study.methods import Job, Method
    from scssl.study.plan import Plan
    from scssl.study.splits import Scheme, Split
    from scssl.study.store import Store
    from scssl.study.target import Target

NOT_PREDICTED = -1
METRICS: tuple[Metric, ...] = ("macro_f1", "accuracy", "balanced_accuracy")
NAMES: dict[Metric, str] = {"macro_f1": "macro_f1", "accuracy": "micro_f1", "balanced_accuracy": "balanced_accuracy"}
"""What scores are called in tables."""
BY_KIND = "hierarchical_"
"""Before the name of a score for which a kind of the true type counts as right."""


class Setting(NamedTuple):
    """What scores that can be compared have in common."""

    scheme: Scheme
    arm: str
    labels: int
    fraction: float


@dataclass(kw_only=True, eq=False)
class Results:
    """All predictions of a study."""

    target: Target
    splits: list[Split]
    plan: Plan
    methods: list[Method]
    jobs: pd.DataFrame
    """One row per fit."""
    predicted: dict[tuple[str, Setting], NDArray[np.int64]]
    """(n_seeds, n_cells) codes, by method and setting."""
    failed: dict[str, str] = field(default_factory=dict)
    """Methods of other packages that failed, and why; they are in no table."""
    best: dict[tuple[str, Setting], str] = field(default_factory=dict)
    """Per setting the method that scores highest of its kind."""
    descends: NDArray[np.bool_] | None = None
    """(n_classes, n_classes) which label is a kind of which; None where hierarchical scores are left out."""

    def rows(self, scheme: Scheme, *, by_kind: bool = False) -> NDArray[np.int64]:
        """Cells that are scored in a scheme; by kind also those of types of which only kinds were learned from."""
        splits = [split for split in self.splits if split.scheme == scheme]
        found = [split.test for split in splits]
        if by_kind and self.descends is not None:
            found += [split.reached(self.target.codes, descends=self.descends) for split in splits]
        return np.sort(np.concatenate(found))

    def of(self, method: str, setting: Setting) -> NDArray[np.int64]:
        """(n_seeds, n_cells) predictions of a method; those that see no corpus are the same in all arms."""
        for arm in (setting.arm, ANY):
            for fraction in (setting.fraction, 1.0):
                key = (method, setting._replace(arm=arm, fraction=fraction))
                if key in self.predicted:
                    return self.predicted[key]
        raise KeyError(method)

    def has(self, method: str, setting: Setting) -> bool:
        """Say whether a method was run in a setting."""
        try:
            self.of(method, setting)
        except KeyError:
            return False
        return True


def gather(
    store: Store,
    jobs: Sequence[Job],
    *,
    target: Target,
    splits: list[Split],
    plan: Plan,
    methods: list[Method],
    descends: NDArray[np.bool_] | None = None,
) -> Results:
    """Read all results of a study.

    Parameters
    ----------
    store
        Where they are.
    jobs
        Those of the plan.
    target, splits, plan, methods
        What was studied.
    descends
        See `Results`.
    """
    titles = {method.name: method for method in methods}
    predicted: dict[tuple[str, Setting], NDArray[np.int64]] = {}
    failures = {job.method: store.failure(job) for job in jobs if store.failure(job) is not None}
    failed = {name: str(why) for name, why in failures.items() if name in plan.extras}
    table = []
    for job in jobs:
        if job.method in failed:
            continue
        split, result = splits[job.split], store.read(job)
        if result is None or len(result["predicted"]) != len(split.named):
            message = f"{store.path(job)}: missing or damaged; run the study again, and it will be made anew"
            raise FormatError(message)
        setting = Setting(split.scheme, job.arm, job.labels, job.fraction)
        shape = (len(plan.seeds), target.n_cells)
        codes = predicted.setdefault((job.method, setting), np.full(shape, NOT_PREDICTED, dtype=np.int64))
        codes[plan.seeds.index(job.seed), split.named] = result["predicted"]
        table.append(_row(job, titles[job.method], split, result, target, descends))
    return Results(
        target=target,
        splits=splits,
        plan=plan,
        methods=[method for method in methods if method.name not in failed],
        jobs=pd.DataFrame(table),
        predicted=predicted,
        failed=failed,
        descends=descends,
    )


def _row(
    job: Job,
    method: Method,
    split: Split,
    result: dict[str, Any],
    target: Target,
    descends: NDArray[np.bool_] | None,
) -> dict[str, Any]:
    truth, predicted = target.codes[split.test], result["predicted"][: len(split.test)]
    ways = {"": (truth, predicted)}
    if descends is not None:
        scored = np.isin(split.named, np.concatenate([split.test, split.reached(target.codes, descends=descends)]))
        truth = target.codes[split.named[scored]]
        ways[BY_KIND] = (truth, lift(result["predicted"][scored], truth, descends=descends))
    counts = {way: total(*pair, n_classes=len(target.classes)) for way, pair in ways.items()}
    scores = {
        f"{way}{NAMES[metric]}": round(float(score(counts[way], metric=metric)), 5)
        for way in counts
        for metric in METRICS
    }
    return {
        "method": job.method,
        "title": method.title,
        "group": method.group,
        "arm": job.arm,
        "scheme": split.scheme,
        "split": split.name,
        "seed": job.seed,
        "labels_per_type": job.labels or "all",
        "corpus_share": job.fraction,
        **scores,
        "n_train": result["n_train"],
        "n_test": result["n_test"],
        "seconds": result["seconds"],
    }


def settings_of(results: Results) -> list[Setting]:
    """List the settings that were run, the one of the verdict first."""
    plan = results.plan
    most = max(plan.labels, key=lambda n: float("inf") if n is None else n) or 0
    main = results.splits[0].scheme
    found = {setting for _, setting in results.predicted if setting.arm != ANY}

    def order(setting: Setting) -> tuple[Any, ...]:
        few = setting.labels or 10**9
        return (setting.scheme != main, plan.arms.index(setting.arm), setting.labels != most, few, -setting.fraction)

    return sorted(found, key=order)


def table_of_scores(results: Results) -> pd.DataFrame:
    """Score every method in every setting, pooled over folds, as mean over seeds with its interval."""
    table = []
    for setting in settings_of(results):
        rows = results.rows(setting.scheme)
        for method in results.methods:
            # On a share of the corpus only what was trained on it: what stands for the others is of the whole.
            whole = setting.fraction == 1.0
            if not (results.has(method.name, setting) if whole else (method.name, setting) in results.predicted):
                continue
            codes = results.of(method.name, setting)[:, rows]
            entry: dict[str, Any] = {
                "method": method.name,
                "title": method.title,
                "group": method.group,
                **plain(setting),
            }
            found = measure(results, [results.of(method.name, setting)], [], rows)
            entry |= {"macro_f1": found.estimate, "low": found.low, "high": found.high, "unit": found.unit}
            each = [pooled(results, row, rows) for row in codes]
            entry["micro_f1"] = float(np.mean([scores["accuracy"] for scores in each]))
            entry["balanced_accuracy"] = float(np.mean([scores["balanced_accuracy"] for scores in each]))
            if results.descends is not None:
                entry |= _by_kind(results, results.of(method.name, setting), setting.scheme)
            entry["sd_over_seeds"] = (
                float(np.std([scores["macro_f1"] for scores in each], ddof=1)) if len(each) > 1 else np.nan
            )
            table.append(entry)
    return pd.DataFrame(table)


def _by_kind(results: Results, predicted: NDArray[np.int64], scheme: Scheme) -> dict[str, float]:
    """Score with a kind of the true type counted as right, under names of their own."""
    rows = results.rows(scheme, by_kind=True)
    found = measure(results, [predicted], [], rows, by_kind=True)
    each = [pooled(results, codes, rows, by_kind=True) for codes in predicted[:, rows]]
    return {
        f"{BY_KIND}macro_f1": found.estimate,
        f"{BY_KIND}low": found.low,
        f"{BY_KIND}high": found.high,
        **{f"{BY_KIND}{NAMES[name]}": float(np.mean([scores[name] for scores in each])) for name in METRICS[1:]},
        f"{BY_KIND}cells": len(rows),
    }


def table_per_type(results: Results) -> pd.DataFrame:
    """Score every type in the setting of the verdict, as means over seeds."""
    setting, target = settings_of(results)[0], results.target
    rows = results.rows(setting.scheme)
    truth = target.codes[rows]
    table = []
    for method in results.methods:
        if not results.has(method.name, setting):
            continue
        predicted = results.of(method.name, setting)[:, rows]
        scores, support = _of_types(predicted, truth, n_classes=len(target.classes))
        if results.descends is not None:
            others = results.rows(setting.scheme, by_kind=True)
            lifted = lift(results.of(method.name, setting)[:, others], target.codes[others], descends=results.descends)
            by_kind, _ = _of_types(lifted, target.codes[others], n_classes=len(target.classes))
            scores |= {f"{BY_KIND}{name}": values for name, values in by_kind.items()}
        for code, name in enumerate(target.classes):
            n = int(support[code])
            if n:
                table.append(
                    {
                        "type": name,
                        "method": method.name,
                        "title": method.title,
                        "test_cells": n,
                        "donors": len(np.unique(target.donors[rows][truth == code])),
                        "few_cells": n < SMALLEST_TYPE,
                        **{score: float(values[code]) for score, values in scores.items()},
                    }
                )
    return pd.DataFrame(table)


def _of_types(
    predicted: NDArray[np.int64], truth: NDArray[np.int64], *, n_classes: int
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
    """Return F1, precision and recall of every type, means over seeds, and its cells."""
    counts = [total(truth, codes, n_classes=n_classes) for codes in predicted]
    hits, support, given = np.stack(counts).transpose(1, 0, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1, recall = 2 * hits / (support + given), hits / support
        precision = np.where(given > 0, hits / np.maximum(given, 1), 0.0)
    return {"f1": f1.mean(axis=0), "precision": precision.mean(axis=0), "recall": recall.mean(axis=0)}, support[0]


def measure(
    results: Results,
    first: Sequence[NDArray[np.int64]],
    second: Sequence[NDArray[np.int64]],
    rows: NDArray[np.int64],
    *,
    metric: Metric = "macro_f1",
    by_kind: bool = False,
) -> Interval:
    """Return the score of the best of some methods, or its difference from the best of others, with its interval.

    Parameters
    ----------
    results
        What was studied.
    first, second
        Predictions of methods, each (n_seeds, n_cells of the target); nothing as `second` for a score.
    rows
        Cells.
    metric
        See `bootstrap.score`.
    by_kind
        Count a kind of the true type as right.
    """
    target, plan = results.target, results.plan
    truth, n_classes = target.codes[rows], len(target.classes)
    sides = [
        [_counted(results, codes[:, rows], truth, by_kind=by_kind) for codes in side]
        for side in (first, second)
        if side
    ]
    units = choose_units(target.donors[rows], truth, np.concatenate([codes for side in sides for codes in side]))
    counts = [
        [np.stack([count(truth, of_seed, units, n_classes=n_classes) for of_seed in codes]) for codes in side]
        for side in sides
    ]
    return best_interval(counts, units, metric=metric, level=plan.level, n_resamples=plan.n_resamples)


def pooled(
    results: Results, codes: NDArray[np.int64], rows: NDArray[np.int64], *, by_kind: bool = False
) -> dict[Metric, float]:
    """Return all scores of some predictions, cells of all folds pooled."""
    truth = results.target.codes[rows]
    counted = _counted(results, codes, truth, by_kind=by_kind)
    counts = total(truth, counted, n_classes=len(results.target.classes))
    return {metric: float(score(counts, metric=metric)) for metric in METRICS}


def _counted(
    results: Results, codes: NDArray[np.int64], truth: NDArray[np.int64], *, by_kind: bool
) -> NDArray[np.int64]:
    if not by_kind or results.descends is None:
        return codes
    return lift(codes, truth, descends=results.descends)


def plain(setting: Setting) -> dict[str, Any]:
    """Return a setting as the columns of a table."""
    return {
        "scheme": setting.scheme,
        "arm": setting.arm,
        "labels_per_type": setting.labels or "all",
        "corpus_share": setting.fraction,
    }
