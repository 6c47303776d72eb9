"""The page of an annotation: labels, how sure they are, what was rejected, and how they hold against the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from scssl import keys
from scssl.metrics import classification_scores, confusion_table, reliability_curve
from scssl.report.style import category_order
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scssl.report.file_tasks import FileContent, FileTask
    from scssl.report.file_told import Told

UNKNOWN, NO_LABEL = "unknown", "(no label)"
DOUBTFUL = 0.5
"""Labels with less confidence than this are more likely wrong than right, if confidence means what it says."""
DONORS = ("donor", "donor_id", "patient", "sample")
MOST_TYPES = 60
"""A confusion of more types than this cannot be read."""


def tell_annotate(told: Told, task: FileTask, content: FileContent, *, truth: str | None) -> None:
    """Add what there is to say of an annotation.

    Parameters
    ----------
    told
        To be added to.
    task, content
        What was written, and the file.
    truth
        Column of obs with the true labels; that of the command by default.
    """
    obs, name = content.obs, task.named(keys.LABEL)
    if name not in obs:
        told.summary.append(f"obs[{name!r}] is no longer in the file, so its labels cannot be shown.")
        return
    truth = truth or task.record.get("truth")
    truth = truth if truth in obs else None
    columns = [
        name,
        *([truth] if truth else []),
        *(task.named(k) for k in (keys.CONFIDENCE, keys.LABEL_SET, keys.UNKNOWN)),
    ]
    told.columns = [column for column in columns if column in obs]
    labels = obs[name].astype(object).where(obs[name].notna(), NO_LABEL).astype(str)
    confidence = obs[task.named(keys.CONFIDENCE)].astype(float) if task.named(keys.CONFIDENCE) in obs else None
    unknown = obs[task.named(keys.UNKNOWN)].astype(str) if task.named(keys.UNKNOWN) in obs else None
    if confidence is not None:
        # A cell without a label has 0 in the file, which is nobody's confidence.
        confidence = confidence.where(labels != NO_LABEL)
    told.summary += _summary(task, labels, confidence=confidence, unknown=unknown)
    told.summary += [f"Mind: {line}." for line in _warnings(task)]
    told.section(
        _labels(labels, confidence), "labels", later=False, title="Labels",
        text="How many cells got which label. Confidence is the probability of the label"
        + (f", learned on held-out {_unit(task)} of the reference."
           if "calibrated" in str(task.settings.get("confidence", ""))
           else ". It was not calibrated, so take it as a ranking."),
    )  # fmt: skip
    if truth is not None:
        _against_truth(told, task, obs, truth=truth, labels=labels, confidence=confidence)
    donor = next((column for column in DONORS if column in obs and len(obs[column].dropna().unique()) > 1), None)
    if donor is not None:
        right = None if truth is None else _true(task, obs[truth]) == labels
        table = _by_donor(obs[donor], labels, confidence=confidence, right=right)
        text = f"By obs[{donor!r}]. A donor with much lower confidence, or many unknown cells, is unlike the reference."
        told.section(table, "donors", title="Donors", text=text, options={"names": [donor]})
    if task.named(keys.LABEL_SET) in obs:
        told.section(_sets(obs[task.named(keys.LABEL_SET)], labels), "sets", title="Label sets", text=_set_text(task))
        if truth is not None and task.record.get("truth") == truth and task.scores.get("coverage"):
            told.section(
                _coverage(task.scores), "coverage", title="Do label sets hold the true label?",
                text="The share of the cells of each donor whose label set holds the true label. The error rate is for "
                "donors like the reference's, on average: of donors from elsewhere more sets may miss it.",
            )  # fmt: skip
    rejected = labels == UNKNOWN
    if unknown is not None and rejected.any():
        reasons = unknown[rejected].value_counts()
        table = pd.DataFrame({"why": reasons.index, "cells": reasons.to_numpy()})
        budget = _budget(task)
        text = "Cells that are unlike the reference's." + (
            f" By design about {budget:.0%} of the cells of known types are called so; here "
            f"{int(rejected.sum()):,} of {count(int((labels != NO_LABEL).sum()), 'cell')} with counts were"
            + (
                ", far more: most of them are of types that the reference lacks, or were measured in another way."
                if _beyond(task, labels)
                else "."
            )
            if budget is not None
            else ""
        )
        told.section(table, "unknown", title="Unknown cells", text=text)
    _held_out(told, task, names=labels.unique())


def _summary(
    task: FileTask, labels: pd.Series, *, confidence: pd.Series | None, unknown: pd.Series | None
) -> list[str]:
    settings = task.settings
    known = labels[~labels.isin([UNKNOWN, NO_LABEL])]
    how = {
        "zero_shot": f"each takes the label of its {settings.get('k', 5)} nearest labelled cells",
        "probe": "a logistic regression on the embedding says the label",
        "finetune": "encoder and classifier were trained on the labels",
        "scratch": "a network was trained on the labels from random weights",
    }.get(str(settings.get("mode")), "")
    reference = str(settings.get("reference", "a reference")).rsplit("/", 1)[-1]
    learned = count(int(settings.get("n_reference_cells", 0)), "labelled cell")
    first = (
        f"{count(len(labels), 'cell')} were named after {learned} of {reference}, "
        f"obs[{settings.get('labels', '?')!r}]: {how}."
    )
    top = known.value_counts()
    listed = ", ".join(f"{name} ({n / len(labels):.0%})" for name, n in top.head(3).items())
    second = f"{count(len(top), 'label')} were given; most often {listed}." if len(top) else "No cell got a label."
    if confidence is not None and len(known):
        doubtful = int((confidence[known.index] < DOUBTFUL).sum())
        second += f" Mean confidence is {confidence[known.index].mean():.2f}"
        second += (
            f"; {count(doubtful, 'label')} have less than {DOUBTFUL}: look at them before you use them."
            if doubtful
            else "."
        )
    if unknown is not None:
        n = int((labels == UNKNOWN).sum())
        share = n / max(int((labels != NO_LABEL).sum()), 1)
        second += f" {count(n, 'cell')} ({share:.1%}) were called unknown"
        second += f", far more than the {_budget(task):.0%} allowed for known types." if _beyond(task, labels) else "."
    if (labels == NO_LABEL).any():
        second += f" {count(int((labels == NO_LABEL).sum()), 'cell')} without counts on the model's genes got no label."
    return [first, second]


def _unit(task: FileTask) -> str:
    """Return what was held out to learn how far labels can be trusted; older files do not say it."""
    return str((task.settings.get("held_out") or {}).get("unit", "cells"))


def _budget(task: FileTask) -> float | None:
    budget = task.settings.get("error_budget")
    return None if budget is None else float(budget)


def _beyond(task: FileTask, labels: pd.Series) -> bool:
    """Tell whether many more cells were rejected than the budget is for."""
    from scssl.tasks.annotate.scores import many_rejected

    budget, n_labelled = _budget(task), int((labels != NO_LABEL).sum())
    return budget is not None and many_rejected(
        int((labels == UNKNOWN).sum()), n_labelled=n_labelled, error_budget=budget
    )


def _warnings(task: FileTask) -> list[str]:
    """Return what was warned of when the labels were made."""
    found = task.settings.get("warnings") or []
    return [str(line).rstrip(".") for line in ([found] if isinstance(found, str) else found)]


def _labels(labels: pd.Series, confidence: pd.Series | None) -> pd.DataFrame:
    table = labels.value_counts().rename_axis("label").reset_index(name="cells")
    table["share"] = (table["cells"] / len(labels)).round(4)
    if confidence is not None:
        by = confidence.groupby(labels)
        table["mean_confidence"] = table["label"].map(by.mean()).round(3)
        below = table["label"].map((confidence < DOUBTFUL).groupby(labels).sum()).astype("Int64")
        table[f"below_{DOUBTFUL}"] = below.where(table["label"] != NO_LABEL)
    return table


def _by_donor(
    donors: pd.Series, labels: pd.Series, *, confidence: pd.Series | None, right: pd.Series | None
) -> pd.DataFrame:
    by = donors.astype(str).to_numpy()
    donor = str(donors.name)
    table: pd.DataFrame = labels.groupby(by).size().rename_axis(donor).reset_index(name="cells")
    measures: dict[str, pd.Series | None] = {
        "mean_confidence": confidence,
        # What has no label cannot be rejected.
        "unknown_share": (labels == UNKNOWN).astype(float).where(labels != NO_LABEL),
        "accuracy": right,
    }  # fmt: skip
    for name, values in measures.items():
        if values is not None:
            table[name] = table[donor].map(values.astype(float).groupby(by).mean()).round(3)
    order = {donor: i for i, donor in enumerate(category_order(table[donor].tolist()))}
    return table.sort_values(donor, key=lambda column: column.map(order))


def _true(task: FileTask, column: pd.Series) -> pd.Series:
    """Return the true names, as the reference spells them; None for cells without one."""
    from scssl.tasks.annotate.labels import map_labels, read_labels

    obs = column.to_frame("truth").reset_index(drop=True)
    names = map_labels(read_labels(obs, "truth", file="the file"), task.record.get("label_map"))
    return names.set_axis(column.index)


def _against_truth(
    told: Told, task: FileTask, obs: pd.DataFrame, *, truth: str, labels: pd.Series, confidence: pd.Series | None
) -> None:
    from scssl.tasks.annotate.scores import in_words

    true = _true(task, obs[truth])
    known = true.notna()
    scores = classification_scores(true[known].to_numpy(), labels[known].to_numpy())
    # What a rejected cell would have been called is known to the command alone.
    best = task.scores if task.record.get("truth") == truth else None
    rejected = bool((labels[known] == UNKNOWN).any())
    sentence = (
        f"Against obs[{truth!r}], {count(scores.n_cells, 'cell')} of {count(len(scores.per_class), 'type')}: "
        f"{in_words(scores.summary(), rejected=rejected, best=best)}."
    )
    if hierarchical := task.scores.get("hierarchical"):
        sentence += (
            " Where a kind of the true type counts as right, by the Cell Ontology: accuracy "
            f"{hierarchical['accuracy']:.3f}, macro F1 {hierarchical['macro_f1']:.3f}"
            + (" by the best guess for all." if rejected else ".")
        )
    told.summary.append(sentence)
    if best and (missing := best.get("missing_classes")):
        told.summary.append(f"Mind: not in the reference, so counted as wrong: {', '.join(map(str, missing))}.")
    table = confusion_table(true[known].astype(str), labels[known])
    if len(table.columns) <= MOST_TYPES:
        table = table.reindex(index=category_order(list(table.index)), columns=category_order(list(table.columns)))
        text = "Each row is a true type; the shade says which share of its cells got which label."
        told.section(table, "confusion", index=True, kind="confusion", title="What is taken for what", text=text)
    per_class = scores.per_class.drop(columns="in_reference").round(4).reset_index()
    told.section(per_class, "types", title="Types", text="Precision, recall and F1 of each true type.")
    kept = known & ~labels.isin([UNKNOWN, NO_LABEL])
    if confidence is not None and kept.any():
        right = (true[kept] == labels[kept]).to_numpy(dtype=bool)
        curve = reliability_curve(right, confidence=confidence[kept].to_numpy(dtype=float))
        text = (
            "How often a label is right, by its confidence. On the dashed line a confidence of 0.8 is right in 80 % of "
            "the cells; below it labels are surer than they should be. Unknown cells are left out."
        )
        if hierarchical and best:
            text += (
                " By names alone: where a kind of the true type counts as right, the expected calibration error of all "
                f"cells is {hierarchical['calibration']['ece']:.3f}."
                if "calibration" in hierarchical
                else ""
            )
        told.section(curve, "reliability", kind="reliability", title="Does confidence mean what it says?", text=text)


def _sets(sets: pd.Series, labels: pd.Series) -> pd.DataFrame:
    names = sets.astype(object).where(sets.notna(), "").astype(str)
    table = names[labels != NO_LABEL].value_counts().rename_axis("label_set").reset_index(name="cells")
    table["share"] = (table["cells"] / max(int((labels != NO_LABEL).sum()), 1)).round(4)
    return table[table["label_set"] != ""]


def _coverage(scores: dict[str, Any]) -> pd.DataFrame:
    """Return how often label sets hold the truth, per donor (``all`` without donors); by kind too, where scored so."""
    columns = {"donor": "donor", "n_cells": "cells", "coverage": "held", "size": "labels_per_set"}
    table = pd.DataFrame(scores["coverage"])[list(columns)].rename(columns=columns)
    by_kind = {row["donor"]: row["coverage"] for row in scores.get("hierarchical", {}).get("coverage", [])}
    if by_kind:
        table.insert(3, "held_by_kind", table["donor"].map(by_kind))
    order = {donor: i for i, donor in enumerate(category_order(table["donor"].astype(str).tolist()))}
    return table.sort_values("donor", key=lambda column: column.astype(str).map(order)).round(3)


def _set_text(task: FileTask) -> str:
    rate = task.settings.get("error_rate")
    text = (
        "Which labels cannot be ruled out for a cell: one where the data settle it; where not, several, or their kin."
    )
    if rate is not None:
        held = task.settings.get("held_out", {})
        unit = {"cells": "cells", "few donors": "donors, of which the reference has few,"}.get(
            str(held.get("rate_holds_for")), "donors"
        )
        text += f" Made to miss the true label of {float(rate):.0%} of the cells, for {unit} like the reference's."
    return text


def _by_type(values: Mapping[str, Any], *, names: Iterable[str]) -> dict[str, float]:
    """Return numbers by type, as types are called: files have no slash in a name, older ones tables within tables."""
    called = {name.replace("/", "|"): name for name in names}
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{rest}": number for rest, number in _by_type(value, names=()).items()}
        else:
            found[called.get(name, name)] = float(value)
    return found


def _held_out(told: Told, task: FileTask, *, names: Iterable[str]) -> None:
    held: dict[str, Any] = dict(task.settings.get("held_out") or {})
    if "accuracy" not in held:
        return
    told.summary.append(
        f"Tried on {count(int(held['n_cells']), 'cell')} of the reference whose {_unit(task)} were held out: accuracy "
        f"{held['accuracy']:.2f} at a mean confidence of {held['confidence']:.2f}. New data may do worse."
    )
    columns = {"rejected_wrongly": "called unknown though known", "found_when_unknown": "called unknown when taken out"}
    table = pd.DataFrame(
        {new: pd.Series(_by_type(held[old], names=names), dtype=float) for old, new in columns.items() if old in held}
    )
    if len(table):
        text = (
            "From held-out cells of the reference: the share of a type that is called unknown by mistake, and the "
            "share that would be if the reference did not have the type. Where the latter is low, a new type of that "
            "kind will get the name of another."
        )
        told.section(
            table.rename_axis("type").reset_index(), "rejection", title="Would a new type be noticed?", text=text
        )
