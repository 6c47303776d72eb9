"""What `scssl reconstruct` says of its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scssl.cli.common import Outcome, typed
from scssl.words import count

if TYPE_CHECKING:
    from pathlib import Path

    from scssl.tasks.output import Results
    from scssl.tasks.reconstruct.apply import Reading
    from scssl.tasks.reconstruct.scoring import Evaluation

SHOWN = {
    "weighted_explained_variance": "weighted EV",
    "gene_explained_variance": "EV by gene",
    "gene_pearson": "r by gene",
    "cell_pearson": "r by cell",
    "nonzero_weighted_explained_variance": "non-zero EV",
    "poisson_deviance": "deviance",
}
"""Scores in the table for people; all of them are in the JSON."""


def outcome(
    reading: Reading,
    results: Results,
    scores: Evaluation | None,
    *,
    out: Path,
    save: Path | None,
    figures: Path | None,
) -> Outcome:
    """Return what was written, and the scores, as plain values and as text."""
    from rich.markup import escape

    from scssl.tasks.reconstruct.reconstruction import WARNING

    genes, places = reading.genes, [*results.layers, *results.var, *results.obsm]
    unmeasured = int((~genes["measured"]).sum())
    unknown = int((~genes["learned"]).sum())
    settings = {name: value for name, value in reading.settings.items() if name != "versions"}
    result: dict[str, Any] = {
        "out": str(out),
        "n_cells": len(reading.obs),
        "n_genes": len(genes),
        "n_unmeasured": unmeasured,
        "n_not_learned": unknown,
        "n_features_reconstructed": int((reading.features >= 0).sum()),
        "keys": places,
        "settings": settings,
        "warning": WARNING,
    }
    lines = [
        f"{count(len(reading.obs), 'cell')}, {count(len(genes), 'gene')}, of which the file has not measured "
        f"{unmeasured:,}",
        escape(f"uncertainty: {settings['uncertainty']}"),
    ]
    if unknown:
        lines.append(f"{count(unknown, 'gene')} never seen in training: values are missing (NaN)")
    if scores is not None:
        result["scores"] = scores.summary()
        lines += ["", *table(scores)]
    lines += ["", f"Written: {escape(str(out))} ({', '.join(places)})"]
    if figures is not None:
        result["figures"] = str(figures)
        lines.append(f"Figures and tables: {escape(str(figures))}")
    if save is not None:
        result["reconstructor"] = str(save)
        lines.append(f"Reconstructor kept: {escape(str(save))}")
        lines.append(f"Next: scssl reconstruct OTHER --model {typed(save)} --out O")
    lines.append(f"Mind: {WARNING}.")
    return Outcome(result=result, text="\n".join(lines))


def table(scores: Evaluation) -> list[str]:
    """Return the scores as lines.

    Parameters
    ----------
    scores
        Of the model and baselines.
    """
    settings, width = scores.settings, max(len(name) for name in scores.scores)
    lines = [
        f"{count(settings['n_cells'], 'cell')}, {count(settings['n_genes'], 'gene')}; {settings['scale']}",
        f"{'':<{width}}  " + "  ".join(f"{title:>11}" for title in SHOWN.values()),
    ]
    for name, found in scores.scores.items():
        # Rounded first, as -0.000 would be read as something.
        values = [round(getattr(found, score), 3) + 0.0 for score in SHOWN]
        lines.append(f"{name:<{width}}  " + "  ".join(f"{value:>11.3f}" for value in values))
    lines.append("EV: explained variance; r: Pearson; higher is better. Deviance (Poisson, of counts): lower is better")
    if (ratio := settings["errors_over_sd"]) is not None:
        lines.append(f"measurements stray {ratio:.2f} times as far as the sd says (1 is right)")
    return lines
