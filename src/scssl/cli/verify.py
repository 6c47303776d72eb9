"""`scssl verify`: is a run still what it was, and does it come out again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from scssl.cli.common import Common, Outcome

COLOURS = {"same": "green", "differs": "red", "other": "yellow", "unknown": "yellow"}


def verify(run: Path, /, *, corpus: Path | None = None, common: Common | None = None) -> Outcome:
    """Recompute what can be recomputed of a run, compare, and say what differs.

    Checked are the checksums of all files that have them (not pages and summaries), the codes of the cells that every
    model carries with it, that the corpus is the one it was trained on, the validation loss on it, and the versions of
    the packages. Exit code 0 when all that was recomputed is the same, 2 when anything differs. Other versions are
    said, and are no failure.

    Parameters
    ----------
    run
        Folder of a model, study, comparison, demonstration or corpus, or of a saved annotator or other task.
    corpus
        Folder of the corpus that the model was trained on. Without it: where the run found it, if it is still there.
    common
        Options that every command takes.
    """
    from rich.markup import escape

    from scssl.cli._verify import verify_run

    del common
    found = verify_run(run, corpus=corpus)
    differing = [finding for _, finding in found if finding.state == "differs"]
    unknown = [finding for _, finding in found if finding.state == "unknown"]
    width = max(len(finding.what) for _, finding in found)
    lines, last = [], None
    for place, finding in found:
        if place != last and place:
            lines.append(f"[bold]{escape(place)}[/bold]")
        last = place
        colour = COLOURS[finding.state]
        lines.append(f"{finding.what:<{width}}  [{colour}]{finding.state:<7}[/{colour}]  {escape(finding.text)}")
    verdict = f"{len(differing)} of {len(found)} checks differ." if differing else "Nothing differs."
    if unknown:
        verdict += f" {len(unknown)} could not be recomputed."
    result = {
        "run": str(run),
        "same": not differing,
        "checks": [{"place": place, **asdict(finding)} for place, finding in found],
    }
    return Outcome(result=result, text="\n".join([*lines, verdict]), exit_code=2 if differing else 0)
