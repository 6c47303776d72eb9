"""`scssl study`: whether pre-training helps here, against honest baselines, and by how much."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from scssl.cli.common import Common, Device, Outcome, Whole, divided

if TYPE_CHECKING:
    import pandas as pd

    from scssl.study import StudyResult

Arms = Literal["excluded", "included", "both"]


def study(
    data: Path,
    /,
    *,
    target: Path,
    labels: str,
    donor: str,
    out: Path,
    plan: str = "quick",
    arm: Arms = "excluded",
    source: str | None = None,
    layer: str | None = None,
    unlabelled: str | None = None,
    genes: str | None = None,
    ontology: str | None = None,
    terms: Path | None = None,
    preset: str | None = None,
    pretext: str | None = None,
    epochs: Whole | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    extras: str | None = None,
    seeds: Whole | None = None,
    seed: Whole = 0,
    folds: Whole | None = None,
    effect: float | None = None,
    workers: Whole | None = None,
    threads: Whole = 1,
    device: Device = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Say whether pre-training helps on your own labelled cells, and by how much.

    The same network is pre-trained or not, used in four ways, and compared with baselines on donors that none of them
    learned from. Asked for again with the same OUT, an interrupted study goes on; more seeds, or the full plan with the
    same --folds, add to what is there.

    Parameters
    ----------
    data
        Folder of a corpus (`scssl corpus build`), or a file with raw counts, to pre-train on.
    target
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts, labels and donors. It is not changed.
    labels
        Column of the target's obs with the cell types.
    donor
        Column of the target's obs with the donors. With one donor, cells are held out instead, which is said.
    out
        Folder for models, results, tables, verdict.json and report.html.
    plan
        quick: one pretext task, four modes, four baselines and a random network, three seeds. full: five pretext
        tasks, curves over the number of labels and of cells, other packages where installed.
    arm
        Whether pre-training may see the target's cells, without labels: excluded (its donors are left out of the corpus
        too), included, or both.
    source
        Column of the target's obs with its data sets: each is then left out once as well.
    layer
        Where the target's counts are: a layer, or "raw"; X without it.
    unlabelled
        Labels that mean "not known", separated by commas. Without it: unknown, unassigned, nan.
    genes
        For a file to pre-train on: human (the default), mouse, union, intersection, hvg:N, a file of genes, or the
        folder of a model or corpus.
    ontology
        Cell Ontology (.obo file) in which labels are looked up, for scores with a kind of the true type counted as
        right beside the raw ones; "none" leaves them out. Without it: that of the extra `ontology`, if installed.
    terms
        .csv with the columns label and term, as `scssl labels --terms-out` writes it: terms that are already decided.
    preset
        Settings of the networks, see `scssl presets`. Without it: default.
    pretext
        Pretext tasks, separated by commas; the verdict is about the first. `scssl pretexts` lists them.
    epochs
        Passes of pre-training. Without it: the preset's.
    set_
        One setting of the networks, e.g. --set task.rate=0.25; may be repeated.
    extras
        Baselines of other packages, separated by commas: xgboost, celltypist, scvi, scanvi.
    seeds
        Number of seeds. Without it: 3.
    seed
        The first of them.
    folds
        Folds over donors. Without it: 3 (quick) or 5 (full).
    effect
        Smallest difference in macro F1 that matters. Without it: 0.01.
    workers
        Processes to work with; results do not depend on it. Without it: as many as the cores have room for with
        --threads each, and one with a GPU.
    threads
        Threads of each process.
    device
        Where networks are trained.
    overwrite
        Replace a study with other settings at OUT.
    common
        Options that every command takes.
    """
    from scssl.environment import command_line
    from scssl.study import run

    _check_inputs(data, target)
    changes: dict[str, Any] = {
        "arms": {"both": ("excluded", "included")}.get(arm, (arm,)),
        "preset": preset,
        "pretexts": _words(pretext),
        "epochs": epochs,
        "overrides": None if set_ is None else tuple(set_),
        "extras": _words(extras),
        "seeds": None if seeds is None and seed == 0 else tuple(range(seed, seed + (3 if seeds is None else seeds))),
        "folds": folds,
        "min_effect": effect,
    }
    for name in changes["extras"] or ():
        from scssl.study.baselines import get_baseline

        get_baseline(name, must_run=True)
    result = run(
        data,
        target=target,
        labels=labels,
        donor=donor,
        out=out,
        plan=plan,
        source=source,
        layer=layer,
        genes=genes,
        unlabelled=_words(unlabelled),
        ontology=ontology,
        terms=terms,
        workers=_workers(workers, threads, device),
        threads=threads,
        device=device,
        overwrite=overwrite,
        command=command_line(),
        **changes,
    )
    page = _page(out)
    return Outcome(result={**result.to_dict(), "report": None if page is None else str(page)}, text=_text(result, page))


def _check_inputs(data: Path, target: Path) -> None:
    from scssl.errors import SettingsError

    for path, what in ((data, "corpus or file"), (target, "file")):
        if not path.exists():
            message = f"{path}: no such {what}"
            raise SettingsError(message)


def _words(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(divided(text))


def _workers(workers: int | None, threads: int, device: Device) -> int:
    """Choose as many processes as the cores have room for; more would wait for each other."""
    if workers is not None:
        return workers
    from scssl.cores import n_cores
    from scssl.training import resolve_device

    # A number of threads that is none is refused later, with all other settings.
    return max(1, n_cores() // max(threads, 1)) if resolve_device(device).type == "cpu" else 1


def _page(folder: Path) -> Path | None:
    from scssl.errors import MissingExtraError
    from scssl.log import logger

    try:
        from scssl.report import render

        return render(folder)
    except MissingExtraError as error:
        logger.warning("report.html was not written: %s", error)
        return None


def _text(result: StudyResult, page: Path | None) -> str:
    from rich.markup import escape

    scores = result.scores
    # The setting of the verdict comes first.
    setting = ["scheme", "arm", "labels_per_type", "corpus_share"]
    same = (scores[setting] == scores[setting].iloc[0]).all(axis=1)
    lines = [f"[bold]{escape(result.verdict.sentences[0])}[/bold]", *map(escape, result.verdict.sentences[1:]), ""]
    lines += _table(scores[same].sort_values("macro_f1", ascending=False, kind="stable"))
    lines += ["", *(f"Note: {escape(note)}" for note in result.settings["notes"])]
    lines.append(f"\nTables: {escape(str(result.folder))}")
    if page is not None:
        lines.append(f"Report: {escape(str(page))}")
    return "\n".join(lines)


def _table(scores: pd.DataFrame) -> list[str]:
    from rich.markup import escape

    width = max(len(title) for title in scores["title"])
    by_kind = "hierarchical_macro_f1" in scores
    lines = [f"{'':<{width}}  macro F1  interval        micro F1  balanced{'  with kinds*' if by_kind else ''}"]
    for row in scores.itertuples():
        numbers = f"{row.macro_f1:8.3f}  {row.low:.3f} to {row.high:.3f}  {row.micro_f1:8.3f}"
        also = f"  {row.hierarchical_macro_f1:11.3f}" if by_kind else ""
        lines.append(escape(f"{row.title:<{width}}  {numbers}  {row.balanced_accuracy:8.3f}{also}"))
    if by_kind:
        lines.append("* macro F1 with a kind of the true type counted as right, by the Cell Ontology")
    return lines
