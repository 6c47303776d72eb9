"""What `scssl annotate` says of its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scssl.cli.common import Outcome
from scssl.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from scssl.tasks import Annotation
    from scssl.tasks.annotate.explanation import Explanation
    from scssl.tasks.annotate.scores import AnnotationScores, TrustScores

SHOWN = 30
"""Labels shown in the table for people; all of them are in the JSON."""
SETS_SHOWN = 8
GENES_SHOWN = 8


def outcome(
    annotation: Annotation,
    scores: AnnotationScores | None,
    *,
    out: Path,
    keys: list[str],
    truth: str | None,
    save: Path | None,
    explanation: Explanation | None = None,
    explained: Path | None = None,
) -> Outcome:
    """Return labels, sets, rejections, scores and genes as plain values, and as text."""
    import numpy as np
    from rich.markup import escape

    called = annotation.called
    names = [str(name) for name in called.categories]
    codes = np.asarray(called.codes)
    labelled = codes >= 0
    cells = np.bincount(codes[labelled], minlength=len(names))
    total = np.bincount(codes[labelled], weights=annotation.confidence[labelled], minlength=len(names))
    order = [int(i) for i in np.argsort(-cells, kind="stable") if cells[i]]
    found = [(names[i], int(cells[i]), round(float(total[i] / cells[i]), 4)) for i in order]
    width = max([len(name) for name, _, _ in found] + [5])
    lines = [f"{'label':<{width}}  {'cells':>8}  mean confidence"]
    lines += [escape(f"{name:<{width}}  {n:>8,}  {mean:.2f}") for name, n, mean in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"... and {len(found) - SHOWN} more labels")
    n_empty = int((~labelled).sum())
    # As on the page: of the labels that were given, and "unknown" is none.
    named = labelled if annotation.unknown is None else labelled & (annotation.unknown == "")
    if n_empty:
        lines.append(f"{count(n_empty, 'cell')} without counts on the model's genes got no label")
    result: dict[str, Any] = {
        "out": str(out),
        "n_cells": len(annotation.labels),
        "n_without_counts": n_empty,
        "mean_confidence": round(float(annotation.confidence[named].mean()), 4) if named.any() else None,
        "labels": [{"label": name, "n_cells": n, "mean_confidence": mean} for name, n, mean in found],
        "keys": keys,
        "settings": annotation.settings,
    }
    lines.append(f"confidence: {annotation.settings['confidence']}")
    lines += _sets(annotation, result) + _rejected(annotation, result)
    if scores is not None:
        result["scores"] = scores.summary()
        lines += ["", *_scores(scores, truth=str(truth))]
    if explanation is not None:
        lines += _genes(explanation, result, folder=str(explained))
    lines.append(f"\nWritten: {escape(str(out))} ({', '.join(keys)})")
    if save is not None:
        result["annotator"] = str(save)
        lines.append(
            f"Annotator kept: {escape(str(save))}. Next: scssl annotate OTHER --model {escape(str(save))} --out O"
        )
    return Outcome(result=result, text="\n".join(lines))


def _genes(explanation: Explanation, result: dict[str, Any], *, folder: str) -> list[str]:
    from rich.markup import escape

    lines, labels = ["", f"genes that speak most for a label ({folder}):"], {}
    for label, table in explanation.per_type.groupby("label", sort=False, observed=True):
        shown = table.head(GENES_SHOWN)
        names = [str(symbol or gene) for symbol, gene in zip(shown["symbol"], shown["gene"], strict=True)]
        labels[str(label)] = names
        # A gene below its mean spoke for the label by its absence, and is no marker of it.
        absent = shown["mean_log1p"] < shown["baseline_log1p"]
        words = [f"without {name}" if gone else name for name, gone in zip(names, absent, strict=True)]
        lines.append(f"  {label}: {', '.join(words)}")
    result["genes"] = {"folder": folder, "labels": labels, "settings": explanation.settings}
    return [escape(line) for line in lines]


def _sets(annotation: Annotation, result: dict[str, Any]) -> list[str]:
    import numpy as np
    from rich.markup import escape

    if annotation.sets is None or annotation.set_names is None:
        return []
    inside = np.asarray(annotation.labels.codes) >= 0
    size = annotation.sets.sum(axis=1)[inside]
    if not size.size:
        return []
    wide, n_cells = np.unique(annotation.set_names[inside][size > 1].astype(str), return_counts=True)
    order = np.argsort(-n_cells, kind="stable")
    rate = annotation.settings["error_rate"]
    result["label_sets"] = {
        "error_rate": rate,
        "single": round(float((size == 1).mean()), 4),
        "labels_per_set": round(float(size.mean()), 3),
        "wide": [{"name": str(wide[i]), "n_cells": int(n_cells[i])} for i in order],
    }
    held = annotation.settings["held_out"]
    unit = "cells" if held["rate_holds_for"] == "cells" else "donors"
    few = ", of which there are few" if held["rate_holds_for"] == "few donors" else ""
    lines = [
        f"label sets, which miss the true label of {rate:.0%} of cells (rate for {unit} like the reference's{few}): "
        f"{(size == 1).mean():.0%} of cells have one label"
    ]
    lines += [escape(f"  {wide[i]}: {count(int(n_cells[i]), 'cell')}") for i in order[:SETS_SHOWN]]
    return lines + ([f"  ... and {len(order) - SETS_SHOWN} more"] if len(order) > SETS_SHOWN else [])


def _rejected(annotation: Annotation, result: dict[str, Any]) -> list[str]:
    import numpy as np

    if annotation.unknown is None:
        return []
    from scssl.tasks.annotate.scores import many_rejected

    # A cell without counts has no label that could be taken from it.
    labelled = np.asarray(annotation.labels.codes) >= 0
    names, n_cells = np.unique(annotation.unknown[labelled].astype(str), return_counts=True)
    reasons = {name: n for name, n in zip(names.tolist(), n_cells.tolist(), strict=True) if name}
    result["unknown"] = {"error_budget": annotation.settings["error_budget"], "reasons": reasons}
    listed = ", ".join(f"{name} {n:,}" for name, n in sorted(reasons.items(), key=lambda pair: -pair[1])) or "none"
    budget = annotation.settings["error_budget"]
    how = annotation.settings["rejection"]
    result["unknown"]["rejection"] = how
    note = "" if how == "by distance" else f" ({how})"
    n = sum(reasons.values())
    if many_rejected(n, n_labelled=int(labelled.sum()), error_budget=budget):
        note += f"; {n:,} of {count(int(labelled.sum()), 'cell')} is far more than that"
    return [f"unknown, where {budget:.0%} of cells of known types may be called so: {listed}{note}"]


def _trust(scores: AnnotationScores | TrustScores, *, n_cells: int) -> list[str]:
    """Say how far confidence, label sets and rejection can be trusted."""
    lines = []
    if scores.calibration is not None:
        lines.append(
            f"confidence {scores.calibration.confidence:.3f} on average; expected calibration error "
            f"{scores.calibration.ece:.3f}"
        )
    if scores.coverage is not None and len(scores.coverage):
        table = scores.coverage
        mean = float((table["coverage"] * table["n_cells"]).sum() / table["n_cells"].sum())
        lowest = f", lowest of {len(table)} donors {table['coverage'].min():.3f}" if len(table) > 1 else ""
        counted = "cells" if table["n_cells"].sum() == n_cells else "cells of known donor"
        lines.append(f"label sets hold the true label of {mean:.3f} of {counted}{lowest}")
    if scores.rejection is not None:
        known, new = scores.rejection["known"], scores.rejection["new"]
        parts = [] if known is None else [f"{known:.3f} of cells of types that the reference has"]
        parts += [] if new is None else [f"{new:.3f} of the others"]
        lines += [f"called unknown: {', '.join(parts)}"] if parts else []
    return lines


def _scores(scores: AnnotationScores, *, truth: str) -> list[str]:
    from rich.markup import escape

    from scssl.tasks.annotate.scores import in_words

    summary, n_counted = scores.summary(), scores.n_cells - scores.n_without_counts
    lines = [
        f"against obs\\[{escape(repr(truth))}], {count(scores.n_cells, 'cell')} of "
        f"{count(len(scores.per_class), 'type')}: "
        f"{in_words(summary.get('called', summary), rejected=scores.called is not None, best=summary)}"
    ]
    if scores.hierarchy is not None:
        found = scores.hierarchy.hierarchical
        lines.append(
            "with kinds of the true type counted as right: "
            f"accuracy {found.accuracy:.3f}, macro F1 {found.macro_f1:.3f}"
            + (" by the best guess for all" if scores.called is not None else "")
        )
        lines += [f"  {line}" for line in _trust(scores.by_kind, n_cells=n_counted)] if scores.by_kind else []
        lines.append("by names alone:")
        lines += [f"  {line}" for line in _trust(scores, n_cells=n_counted)]
    else:
        lines += _trust(scores, n_cells=n_counted)
    if scores.missing_classes:
        lines.append(
            "not in the reference, so counted as wrong: "
            + ", ".join(escape(name) for name in scores.missing_classes)
            + " (--label-map says what the reference calls them, if it has them)"
        )
    if scores.unused_cells:
        lines.append(f"{count(scores.unused_cells, 'cell')} without a true label: not scored")
    return lines
