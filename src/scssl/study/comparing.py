"""The comparisons of a study, and its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.study.methods import SCRATCH
from scssl.study.outcome import BY_KIND, Results, Setting, measure, plain, pooled, settings_of
from scssl.study.verdict import Comparison, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scssl.study.bootstrap import Interval

BEST_PRETRAINED: Final = "best pre-trained"
BEST_BASELINE: Final = "best simple baseline"


def compare(results: Results) -> tuple[pd.DataFrame, Verdict]:
    """Make all comparisons, and the verdict from the first two.

    The first is fixed beforehand: the fine-tuned network against the same one from scratch. In the second the best is
    compared with the best, and which those are is found anew in each resample: the interval knows of the choice.
    """
    plan, table, verdict = results.plan, [], None
    for setting in settings_of(results):
        if setting.fraction != 1.0:
            continue
        rows = results.rows(setting.scheme)
        networks = [m.name for m in results.methods if m.name.startswith(f"{plan.pretexts[0]}:")]
        simple = [m.name for m in results.methods if m.group == "baseline" and m.name not in plan.extras]
        simple += [m.name for m in results.methods if m.name.startswith("none:")]
        tuned = f"{plan.pretexts[0]}:finetune"
        first = tuned if tuned in networks else BEST_PRETRAINED
        pairs: list[tuple[str, str, Sequence[str], Sequence[str]]] = [
            (first, SCRATCH, [tuned] if tuned in networks else networks, [SCRATCH]),
            (BEST_PRETRAINED, BEST_BASELINE, networks, simple),
            *(
                (one, other, [one], [other])
                for one, other in _pairs(results, setting)
                if one != first or other != SCRATCH
            ),
        ]
        for kind, names in ((BEST_PRETRAINED, networks), (BEST_BASELINE, simple)):
            results.best[(kind, setting)] = _highest(results, names, setting)
        found = []
        for one, other, mine, theirs in pairs:
            sides = [[results.of(name, setting) for name in names] for names in (mine, theirs)]
            found.append(measure(results, sides[0], sides[1], rows))
            table.append(_line(results, setting, one, other, found[-1]) | _by_kind(results, *sides, setting=setting))
        if verdict is None:
            verdict = _judged(results, setting, fixed=first == tuned, scratch=found[0], baseline=found[1])
        table += _arms(results, setting, rows)
    assert verdict is not None
    return pd.DataFrame(table), verdict


def _judged(results: Results, setting: Setting, *, fixed: bool, scratch: Interval, baseline: Interval) -> Verdict:
    titles = {method.name: method.title for method in results.methods}
    mine, theirs = (titles[results.best[(kind, setting)]] for kind in (BEST_PRETRAINED, BEST_BASELINE))
    network = "The pre-trained network, fine-tuned," if fixed else "The pre-trained network in its best mode"
    return judge(
        scratch=Comparison(method=network, against="the same network from scratch", interval=scratch),
        baseline=Comparison(
            method=f"The best pre-trained mode ({mine})",
            against=f"the best simple baseline ({theirs})",
            interval=baseline,
        ),
        min_effect=results.plan.min_effect,
        limits=limits(results, scratch),
    )


def _highest(results: Results, names: Sequence[str], setting: Setting) -> str:
    rows = results.rows(setting.scheme)
    scores = [
        np.mean([pooled(results, codes, rows)["macro_f1"] for codes in results.of(name, setting)[:, rows]])
        for name in names
    ]
    return names[int(np.argmax(scores))]


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
            with_it, without = ([results.of(method.name, place)] for place in (setting, other))
            found = measure(results, with_it, without, rows)
            line = _line(results, setting, method.name, f"{method.name} (excluded)", found)
            lines.append(line | _by_kind(results, with_it, without, setting=setting))
    return lines


def limits(results: Results, first: Interval) -> list[str]:
    """Say what the numbers do not cover."""
    found = []
    scheme = results.splits[0].scheme
    if scheme == "cell":
        found.append("There is one donor: cells of it were held out, so nothing here is known about other donors.")
    elif first.unit == "cell":
        n = len(np.unique(results.target.donors))
        found.append(f"With {n} donors the intervals are over cells: they do not say what to expect of a new donor.")
    if "excluded" not in results.plan.arms:
        found.append("The target's cells were in pre-training, without their labels: new donors may fare worse.")
    return found


def _by_kind(
    results: Results,
    first: list[NDArray[np.int64]],
    second: list[NDArray[np.int64]],
    *,
    setting: Setting,
) -> dict[str, Any]:
    """Return the same difference with a kind of the true type counted as right; what is best is found anew."""
    if results.descends is None:
        return {}
    found = measure(results, first, second, results.rows(setting.scheme, by_kind=True), by_kind=True)
    names = {"difference": found.estimate, "low": found.low, "high": found.high}
    return {f"{BY_KIND}{name}": value for name, value in names.items()}


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
