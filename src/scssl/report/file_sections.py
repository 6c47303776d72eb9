"""What the page of a file says of each task: sentences for the summary, and tables with how to show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scssl.report.file_annotate import tell_annotate
from scssl.report.file_simulate import tell_simulate
from scssl.report.file_told import Told
from scssl.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from scssl.report.file_tasks import FileContent, FileTask


def tell(task: FileTask, content: FileContent, *, folder: Path, truth: str | None) -> Told:
    """Return what one task adds to the page.

    Parameters
    ----------
    task
        What it wrote.
    content
        The file.
    folder
        For tables.
    truth
        Column of obs with the true labels.
    """
    told = Told(folder=folder, stem="".join(c if c.isalnum() else "_" for c in task.name))
    if task.kind == "annotate":
        tell_annotate(told, task, content, truth=truth)
        return told
    {"embed": _embed, "integrate": _integrate, "reconstruct": _reconstruct, "translate": _translate,
     "simulate": tell_simulate}.get(task.kind, _other)(told, task, content)  # fmt: skip
    return told


def _model_name(task: FileTask) -> str:
    return repr(str(task.settings.get("model", "?")).rstrip("/").rsplit("/", 1)[-1])


def _embed(told: Told, task: FileTask, content: FileContent) -> None:
    width = content.obsm.get(str(task.embedding), 0)
    also = ", after going on with its pre-training on these cells" if task.settings.get("adapted") else ""
    if n := task.settings.get("pca"):
        also += f", beside {n} principal components of their own"
    told.summary += [
        f"{count(len(content.obs), 'cell')} were embedded by the model {_model_name(task)}{also}: {width} numbers "
        f"each, in obsm[{task.embedding!r}].",
        "Good: cells of one type lie together below, and donors and batches mix within a type.",
    ]


def _integrate(told: Told, task: FileTask, content: FileContent) -> None:
    batch, labels = task.record.get("batch") or task.settings.get("batch"), task.record.get("labels")
    told.columns = [str(column) for column in (batch, labels) if column is not None and column in content.obs]
    n = content.obs[batch].nunique() if batch in content.obs else 0
    told.summary.append(
        f"{count(len(content.obs), 'cell')} of {count(n, 'batch').replace('batchs', 'batches')} (obs[{batch!r}]) were "
        f"brought together, from the code of the model {_model_name(task)}. Labels guided nothing."
    )
    scores = task.scores
    if not scores:
        told.summary.append("Nothing was scored: add --labels COL to the command to see whether types were kept.")
        return
    told.summary += [str(scores["verdict"]), *(f"Mind: {note}." for note in scores["notes"])]
    table = pd.DataFrame.from_dict(scores["scores"], orient="index").rename_axis("method").reset_index()
    text = (
        "Type: whether cells of one type lie together; mixing: whether batches do, within types. Raw means of the "
        "scores of scib-metrics, 1 is best. The limits show what can be had: shuffled cells mix perfectly and keep "
        "nothing."
    )
    long = table.melt("method", [c for c in ("type_score", "mixing_score") if c in table], "score", "value")
    long["score"] = long["score"].map({"type_score": "types kept", "mixing_score": "batches mixed"})
    bars = {"value": "value", "label": "method", "group": "score"}
    told.section(
        long.dropna(subset=["value"]), "scores", kind="scores", title="Scores", text=text, later=False, options=bars
    )
    told.section(table, "all_scores", title="All scores")


def _reconstruct(told: Told, task: FileTask, content: FileContent) -> None:
    told.summary.append(
        f"The expression of {count(len(content.obs), 'cell')} was reconstructed by the model {_model_name(task)} "
        f"({task.settings.get('mode', 'zero_shot')}). Uncertainty: {task.settings.get('uncertainty', 'not known')}."
    )
    if warning := task.settings.get("warning"):
        told.summary.append(f"Mind: {warning}.")
    scores = task.scores
    if not scores:
        told.summary.append("Nothing was scored: add --evaluate thinned to the command to see how good it is.")
        return
    # 0.0 is added as -0.0 would be read as something.
    table = pd.DataFrame.from_dict(scores["methods"], orient="index").round(4) + 0.0
    table = table.rename_axis("method").reset_index()
    mine, best = table.iloc[0], table.iloc[1:].sort_values("weighted_explained_variance").iloc[-1]
    ahead = mine["weighted_explained_variance"] > best["weighted_explained_variance"]
    told.summary.append(
        f"On held-out counts it explains {mine['weighted_explained_variance']:.3f} of the variance of the genes, "
        f"weighted; the best baseline, {best['method']}, {best['weighted_explained_variance']:.3f}"
        + ("." if ahead else ": the baseline is as good or better here.")
    )
    text = (
        f"Weighted explained variance of held-out values ({scores['scale']}), {count(int(scores['n_cells']), 'cell')} "
        "and all scores below it. 0: as good as each gene's mean. Deviance: lower is better."
    )
    told.section(
        table, "scores", kind="scores", title="Against baselines", text=text, later=False,
        options={"value": "weighted_explained_variance", "label": "method"},
    )  # fmt: skip


def _translate(told: Told, task: FileTask, content: FileContent) -> None:
    what = "proteins" if task.settings.get("to") == "protein" else "peaks"
    key = str(task.settings.get("key", ""))
    told.summary.append(
        f"{content.obsm.get(key, 0):,} {what} of {count(len(content.obs), 'cell')} were predicted from their RNA, in "
        f"obsm[{key!r}]: predictions, not measurements."
    )
    training = task.settings.get("training")
    if isinstance(training, dict) and "held_out_pearson" in training:
        told.summary.append(
            f"On held-out {training.get('held_out_by', 'cells')} of the reference the median correlation of a feature "
            f"was {float(training['held_out_pearson']):.2f}."
        )
    scores = task.scores
    if not scores:
        return
    told.summary.append(f"Against {count(int(scores['n_cells']), 'measured cell')}, it {scores['verdict']}.")
    text = "Pearson correlation over cells, median over features; all scores below it. Higher is better, RMSE lower."
    told.section(
        pd.DataFrame(scores["methods"]), "scores", kind="scores", title="Against baselines", text=text, later=False,
        options={"value": "pearson", "label": "method"},
    )  # fmt: skip
    if scores.get("donors"):
        told.section(pd.DataFrame(scores["donors"]), "donors", title="Donors", text="The same, donor by donor.")


def _other(told: Told, task: FileTask, content: FileContent) -> None:
    told.summary.append(f"{count(len(content.obs), 'cell')} with results of {task.name}; its settings are below.")
