"""The run that the folder of a study tells of: verdict, scores, differences, curves, types, leakage audit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from scssl.errors import FormatError
from scssl.report.run import Run, Section
from scssl.study.store import SETTINGS, read_settings
from scssl.words import count

if TYPE_CHECKING:
    from pathlib import Path

_SETTING = ("scheme", "arm", "labels_per_type", "corpus_share")
_SHOWN = 8
"""Pairs of labels that are named."""


def run_of_study(folder: Path) -> Run:
    """Put together the `Run` of a study from what its folder holds.

    Parameters
    ----------
    folder
        Folder of a study.

    Raises
    ------
    FormatError
        If the study is not finished, or a file of it is damaged.
    """
    settings = read_settings(folder)
    file = folder / "verdict.json"
    if not file.is_file() or "plan" not in settings:
        message = f"{folder}: the study is not finished; go on with it by the same scssl study command"
        raise FormatError(message)
    try:
        verdict = json.loads(file.read_text(encoding="utf-8"))
        scores = pd.read_csv(folder / "scores.csv", keep_default_na=False)
        audit, plan, target = settings["audit"], settings["plan"], settings["target"]
        return Run(
            title=f"Study: did pre-training help on {target['file'].rsplit('/', 1)[-1]}?",
            command=settings.get("command", ""),
            summary=[*verdict["sentences"], _how(settings), *settings["notes"]],
            sections=_sections(scores, settings, min_effect=float(verdict["min_effect"])),
            settings={
                "plan": plan,
                "splits": {s["name"]: _split(s) for s in settings["splits"]},
                "audit": audit["excluded"],
            },
            data=_data(settings),
            timings={"study": float(settings["seconds"])},
            # Those of the study, not of the page: one that did not note them has none.
            versions=settings.get("versions", {}),
            machine=settings.get("machine", {}),
            created=settings.get("created", ""),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        message = f"{folder}: a file of the study is damaged ({error}); run it again, and it will be made anew"
        raise FormatError(message) from error


def _how(settings: dict[str, Any]) -> str:
    plan, target = settings["plan"], settings["target"]
    folds = [split for split in settings["splits"] if split["scheme"] == settings["splits"][0]["scheme"]]
    by = {"donor": "donors, none of which were learned from", "cell": "held-out cells of the same donor"}
    n = len(plan["seeds"])
    return (
        f"{count(target['cells'], 'labelled cell')} of {count(len(target['types']), 'type')} and "
        f"{count(len(target['donors']), 'donor')}, {target['genes']:,} genes. Every method was given the same "
        f"labelled cells and genes, and scored on {by[folds[0]['scheme']]}, in {len(folds)} folds, with {n} "
        f"seed{'' if n == 1 else 's'}. Where the best of several methods is compared with the best of others, "
        f"its interval allows for the choice. Differences below {plan['min_effect']:g} are taken not to matter."
    )


def _sections(scores: pd.DataFrame, settings: dict[str, Any], *, min_effect: float) -> list[Section]:
    main = {name: str(scores.iloc[0][name]) for name in _SETTING}
    unit = str(scores.iloc[0]["unit"])
    over = f"Intervals are {settings['plan']['level']:.0%} bootstrap intervals over {unit}s and seeds"
    over += (
        ", a little wider than plain ones where donors are few."
        if unit == "donor"
        else "; they say nothing of new donors."
    )
    sections = [
        Section(
            kind="differences",
            title="Differences",
            file="differences.csv",
            text=f"Pairs on the same cells, in macro F1. {over} Within the grey band a difference does not matter.",
            options={"where": main, "min_effect": min_effect},
        ),
        Section(
            kind="methods",
            title="Scores",
            file="scores.csv",
            text=f"Macro F1 over the folds, mean over seeds. {over} Methods are to be compared by their differences.",
            options={"where": main},
        ),
    ]
    if settings.get("hierarchy", {}).get("scored"):
        sections += _by_kind(settings["hierarchy"], main, min_effect=min_effect)
    if len(set(scores["labels_per_type"])) > 1:
        where = {name: main[name] for name in ("scheme", "arm", "corpus_share")}
        text = "How many labelled cells per type each method needs. All are told the same labels."
        options = {"where": where, "x": "labels_per_type", "x_label": "labelled cells per type"}
        sections.append(Section(kind="curves", title="Labels", file="scores.csv", text=text, options=options))
    if len(set(scores["corpus_share"])) > 1:
        where = {name: main[name] for name in ("scheme", "arm", "labels_per_type")} | {"group": "pre-trained"}
        text = "What more cells in pre-training are worth."
        options = {"where": where, "x": "corpus_share", "x_label": "share of the corpus in pre-training"}
        sections.append(
            Section(kind="curves", title="Cells in pre-training", file="scores.csv", text=text, options=options)
        )
    others = scores[[*_SETTING[:2]]].drop_duplicates()
    for scheme, arm in others.itertuples(index=False):
        if (str(scheme), str(arm)) == (main["scheme"], main["arm"]):
            continue
        title = {"data set": "Data sets left out"}.get(str(scheme), "Scores") + f", target {arm} in pre-training"
        where = {**main, "scheme": str(scheme), "arm": str(arm)}
        sections.append(Section(kind="methods", title=title, file="scores.csv", options={"where": where}))
        shown: dict[str, Any] = {"where": where, "min_effect": min_effect}
        sections.append(
            Section(kind="differences", title=f"Differences: {title}", file="differences.csv", options=shown)
        )
        if settings.get("hierarchy", {}).get("scored"):
            sections += _by_kind(settings["hierarchy"], where, min_effect=min_effect, of=f": {title}")
    few = "* marks types with fewer than 20 test cells: their scores are mostly chance."
    sections.append(Section(kind="types", title="Types", file="per_type.csv", text=f"F1, means over seeds. {few}"))
    audit = settings["audit"]
    text = " ".join([audit["verdict"], _excluded(audit["excluded"])])
    sections.append(Section(kind="table", title="Leakage audit", file="leakage.csv", text=text))
    return sections


def _by_kind(hierarchy: dict[str, Any], where: dict[str, str], *, min_effect: float, of: str = "") -> list[Section]:
    """Show scores for which a kind of the true type counts as right, beside those by names."""
    pairs = [f"{one} is a kind of {other}" for one, other in hierarchy["kinds"]]
    listed = "; ".join(pairs[:_SHOWN]) + (f"; and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")
    text = (
        "As above, but a prediction that is a kind of the true type counts as right: where the truth is less fine, it "
        f"cannot say that the prediction is wrong. By the Cell Ontology ({hierarchy['ontology']}): {listed}. "
        "The verdict is by names alone."
    )
    options = {"where": where, "prefix": "hierarchical_"}
    title = f"Scores that know the Cell Ontology{of}"
    return [
        Section(kind="methods", title=title, file="scores.csv", text="" if of else text, options=options),
        Section(
            kind="differences",
            title=f"Differences: {title}",
            file="differences.csv",
            options={**options, "min_effect": min_effect},
        ),
    ]


def _excluded(excluded: dict[str, Any]) -> str:
    named = [f"{kind} {', '.join(excluded[kind])}" for kind in ("donors", "sources") if excluded[kind]]
    return f"Left out of pre-training: {'; '.join(named)}." if named else "Nothing had to be left out of pre-training."


def _split(split: dict[str, Any]) -> str:
    donors = split["test_donors"]
    listed = ", ".join(donors[:12]) + (", ..." if len(donors) > 12 else "")
    return f"{count(split['train'], 'cell')} to learn from, {split['test']:,} of donors {listed} to name"


def _data(settings: dict[str, Any]) -> list[dict[str, Any]]:
    target, corpus = settings["target"], settings["corpus"]
    rows = [{"name": target["file"], "role": "target, labelled", "cells": target["cells"]}]
    rows.append({"name": corpus["path"] or "in memory", "role": "corpus", "cells": corpus["cells"]})
    rows += [{"name": name, "role": "pre-trained on", "cells": n} for name, n in corpus["used"].items()]
    return rows


def is_study_folder(folder: Path) -> bool:
    """Say whether a folder is that of a study.

    Parameters
    ----------
    folder
        The folder.
    """
    from scssl.study.store import is_study

    return (folder / SETTINGS).is_file() and is_study(folder)
