"""The run that a comparison tells of: what its report says and shows, and the figures beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from scssl.report.compare import draw
from scssl.report.compare_ranking import by_type
from scssl.report.run import Run, Section

if TYPE_CHECKING:
    from pathlib import Path

    from scssl.tasks.compare import Comparison

FIGURES: Final = {
    "answers": "overview.png",
    "shares": "composition.png", "share_changes": "composition_changes.png", "state_shifts": "state_shifts.png",
    "volcano": "volcano.png", "programme_shifts": "programmes.png",
}  # fmt: skip
"""Kinds of sections to the files of their figures."""
TABLE_OF: Final = {
    "answers": "answers",
    "shares": "shares", "share_changes": "composition", "state_shifts": "state", "volcano": "genes",
    "programme_shifts": "programmes",
}  # fmt: skip
NAMES: Final = ["cell_type", "donor", "condition", "gene", "symbol", "programme"]
_TEXT: Final = {
    "shares": "Each bar is a donor. Donors under one condition show how much composition differs anyway.",
    "share_changes": "Intervals that cross the line leave it open whether a share rises or falls. Shares are relative: "
    "they are compared as centred log-ratios, each type against the mean of all, so that one type that becomes "
    "frequent makes each of the others fall only a little; the sign may differ from that of the share itself.",
    "state_shifts": "How far cells move in the model's space, beyond what donors under one condition differ: 1 is as "
    "far as two cell types usually lie apart. Intervals say how large a shift may be, and are bootstraps over donors "
    "(three on each side at least); whether there is one is said by p, from permuting donors, so that a shift may be "
    "found although its interval touches 0. AUC: how well a classifier tells the condition of cells of donors that it "
    "has not seen; 0.5 is chance.",
    "volcano": "The counts of all cells of a donor and type are summed, and donors are compared (DESeq2, against "
    "Student's t). Types in the order of the overview, nine at most, those with genes found before others; genes that "
    "are found are coloured.",
    "programme_shifts": "Colour: the mean log2 ratio of the programme's genes; a dot: found; grey: too few of its "
    "genes are expressed. Behind a name: how many of its genes a type expresses, fewest to most; a mean of few genes "
    "may be one gene's. Which genes they have is in members.csv; those learned from the cells knew nothing of the "
    "conditions.",
}
_TITLES: Final = {
    "shares": "Composition of each donor", "share_changes": "Which shares change", "state_shifts": "Which cells move",
    "volcano": "Genes", "programme_shifts": "Programmes",
}  # fmt: skip


def run_of_comparison(found: Comparison, *, command: str = "", timings: dict[str, float] | None = None) -> Run:
    """Put together the `Run` of a comparison whose tables lie in a folder (`Comparer.save`).

    Parameters
    ----------
    found
        The comparison.
    command
        What repeats it.
    timings
        Step to seconds.
    """
    from scssl.tasks.compare.brief import brief

    settings, fdr = found.settings, float(found.settings["fdr"])
    shown = _shown(found)
    sections = [
        Section(
            kind="answers", title="What changes, in which cells, and how sure", file="answers.csv",
            text="Numbers: change of the log2 share against the mean of all types; state shift (1 is the usual "
            "distance between two cell types); genes and programmes found. q: false discovery rate across all of "
            "these. In the table what is found comes first, and numbers after names are log2 ratios; answers.csv has "
            "the numbers as well.",
            options={"names": NAMES, "fdr": fdr},
        )
    ] if "answers" in shown else []  # fmt: skip
    for kind in (name for name in shown if name != "answers"):
        options: dict[str, Any] = {"fdr": fdr, "names": NAMES}
        text = _TEXT[kind]
        if kind == "volcano":
            options["types"] = by_type(found.answers)
        if kind == "volcano" and len(found.genes) > 1000:
            text += " The table has the first thousand by p-value; all are in genes.csv."
        sections.append(
            Section(kind=kind, title=_TITLES[kind], file=f"{TABLE_OF[kind]}.csv", text=text, options=options)  # type: ignore[arg-type]
        )
    if len(found.left_out):
        text = "What could not be tested, and samples that had too few cells."
        sections.append(Section(kind="table", title="Left out", file="left_out.csv", text=text))
    n = f"{settings['n_donors_control']} + {settings['n_donors_case']} samples of donors"
    return Run(
        title=f"{settings['case']} against {settings['control']}: what changes, in which cells, and how sure",
        command=command,
        summary=brief(found),
        sections=sections,
        settings={name: value for name, value in settings.items() if name != "versions"},
        data=[{"name": settings["file"], "role": f"compared, {n}", "cells": settings["n_cells"]}],
        timings=timings or {},
    )


def draw_all(found: Comparison, folder: Path) -> list[str]:
    """Draw what there is to draw.

    Parameters
    ----------
    found
        The comparison.
    folder
        Folder to make, for one PNG per figure.

    Returns
    -------
    list of str
        Names of the files.
    """
    folder.mkdir(parents=True)
    drawn = []
    for kind in _shown(found):
        table, fdr = getattr(found, TABLE_OF[kind]), float(found.settings["fdr"])
        figure = draw(kind, table, fdr=fdr, types=by_type(found.answers))
        figure.savefig(folder / FIGURES[kind])
        drawn.append(FIGURES[kind])
    return drawn


def _shown(found: Comparison) -> list[str]:
    """Return the kinds of figures for which there is something to draw, in the order of the report."""
    there = {
        "answers": len(found.answers) > 0,
        "state_shifts": bool(found.state["relative_shift"].notna().any()),
        "shares": len(found.shares) > 0,
        "share_changes": bool(found.composition["log2_ratio"].notna().any()),
        "volcano": bool(found.genes["p_value"].notna().any()),
        "programme_shifts": len(found.programmes) > 0,
    }
    return [kind for kind, is_there in there.items() if is_there]
