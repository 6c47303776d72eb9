"""The comparisons of a study, and its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.study.methods import SCRATCH
from scssl.study.outcome import NOT_PREDICTED, Results, Setting, measure, plain, pooled, settings_of
from scssl.study.verdict import Comparison, Verdict, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.study.bootstrap import Interval

BEST_PRETRAINED: Final = "best pre-trained"
BEST_BASELINE: Final = "best simple baseline"


def compare(results: Results) -> tuple[pd.DataFrame, Verdict]:
    """Make all comparisons, and the verdict from the first two.

    The best pre-trained method and the best simple baseline are chosen fold by fold on all other folds, so that being
    chosen is no advantage.
    """
    plan, table, verdict = results.plan, [], None
    for setting in settings_of(results):
        if setting.fraction != 1.0:
            continue
        rows = results.rows(setting.scheme)
        candidates = {
            BEST_PRETRAINED: [m.name for m in results.methods if m.name.startswith(f"{plan.pretexts[0]}:")],
            BEST_BASELINE: [
                m.name
                for m in results.methods
                if (m.group == "baseline" and m.name not in plan.extras) or m.name.startswith("none:")
            ],
        }
        best = {}
        for name, methods in candidates.items():
            best[name], results.chosen[(name, setting)] = choose_best(results, methods, setting)
        against = {SCRATCH: results.of(SCRATCH, setting), BEST_BASELINE: best[BEST_BASELINE]}
        headline = []
        for other, codes in against.items():
            found = measure(results, best[BEST_PRETRAINED][:, rows], codes[:, rows], rows)
            title = "the same network from scratch" if other == SCRATCH else f"the {other}"
            headline.append(Comparison(method="The pre-trained network", against=title, interval=found))
            table.append(_line(results, setting, BEST_PRETRAINED, other, found))
        if verdict is None:
            verdict = judge(
                scratch=headline[0], baseline=headline[1], min_effect=plan.min_effect, limits=limits(results, headline)
            )
        for first, second in _pairs(results, setting):
            found = measure(results, results.of(first, setting)[:, rows], results.of(second, setting)[:, rows], rows)
            table.append(_line(results, setting, first, second, found))
        table += _arms(results, setting, rows)
    assert verdict is not None
    return pd.DataFrame(table), verdict


def _pairs(results: Results, setting: Setting) -> list[tuple[str, str]]:
    """Pairs that differ in one thing."""
    main = results.plan.pretexts[0]
    pairs = [
        (f"{main}:zero_shot", "pca_knn"),
        (f"{main}:probe", "pca_logistic"),
        (f"{main}:probe", "logistic"),
        (f"{main}:finetune", SCRATCH),
        *(
            (f"{main}:{mode}", f"{control}:{mode}")
            for control in results.plan.controls
            for mode in ("zero_shot", "probe")
        ),
        *(
            (f"{other}:{mode}", f"{main}:{mode}")
            for other in results.plan.pretexts[1:]
            for mode in ("zero_shot", "probe", "finetune")
        ),
        *((f"{main}:finetune", extra) for extra in results.plan.extras),
    ]
    return [pair for pair in pairs if all(results.has(name, setting) for name in pair)]


def _arms(results: Results, setting: Setting, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Compare the arm with the target's cells in pre-training to the one without."""
    other = setting._replace(arm="excluded")
    if setting.arm == "excluded" or "excluded" not in results.plan.arms:
        return []
    lines = []
    for method in results.methods:
        if method.group == "pre-trained" and results.has(method.name, setting) and results.has(method.name, other):
            with_it, without = (results.of(method.name, place)[:, rows] for place in (setting, other))
            found = measure(results, with_it, without, rows)
            lines.append(_line(results, setting, method.name, f"{method.name} (excluded)", found))
    return lines


def choose_best(results: Results, methods: list[str], setting: Setting) -> tuple[NDArray[np.int64], list[str]]:
    """Take for every fold the predictions of the method that scores highest on all other folds.

    Parameters
    ----------
    results
        All predictions.
    methods
        Names to choose from, the preferred first where they are level.
    setting
        Where.

    Returns
    -------
    predicted : numpy.ndarray
        (n_seeds, n_cells) codes.
    chosen : list of str
        Name of the method taken, per fold.
    """
    there = [name for name in methods if results.has(name, setting)]
    folds = [split for split in results.splits if split.scheme == setting.scheme]
    everything = results.rows(setting.scheme)
    best = np.full((len(results.plan.seeds), results.target.n_cells), NOT_PREDICTED, dtype=np.int64)
    chosen = []
    for fold in folds:
        others = np.setdiff1d(everything, fold.test)
        rest = others if others.size else everything
        scores = [
            np.mean([pooled(results, codes, rest)["macro_f1"] for codes in results.of(name, setting)[:, rest]])
            for name in there
        ]
        chosen.append(there[int(np.argmax(scores))])
        best[:, fold.test] = results.of(chosen[-1], setting)[:, fold.test]
    return best, chosen


def limits(results: Results, headline: list[Comparison]) -> list[str]:
    """Say what the numbers do not cover."""
    found = []
    scheme = results.splits[0].scheme
    first = headline[0].interval
    if scheme == "cell":
        found.append("There is one donor: cells of it were held out, so nothing here is known about other donors.")
    elif first.unit == "cell":
        n = len(np.unique(results.target.donors))
        found.append(f"With {n} donors the intervals are over cells: they do not say what to expect of a new donor.")
    if "excluded" not in results.plan.arms:
        found.append("The target's cells were in pre-training, without their labels: new donors may fare worse.")
    return found


def _line(results: Results, setting: Setting, first: str, second: str, found: Interval) -> dict[str, Any]:
    titles = {method.name: method.title for method in results.methods}
    titles |= {f"{name} (excluded)": f"{title}, target excluded" for name, title in titles.items()}
    return {
        **plain(setting),
        "method": first,
        "against": second,
        "title": titles.get(first, first),
        "against_title": titles.get(second, second),
        "difference": found.estimate,
        "low": found.low,
        "high": found.high,
        "unit": found.unit,
        "n_units": found.n_units,
    }
