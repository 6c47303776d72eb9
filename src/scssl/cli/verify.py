"""`scssl verify`: is a run still what it was, and does it come out again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from scssl.cli.common import Common, Outcome

COLOURS = {"same": "green", "differs": "red", "other": "yellow", "unknown": "yellow"}


def verify(
    run: Path,
    /,
    *,
    corpus: Path | None = None,
    repeat: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,
) -> Outcome:
    """Recompute what can be recomputed of a run, compare, and say what differs.

    Checked are checksums, that the inputs are what was read, the versions of the packages, and what the run computed,
    as far as that takes seconds: codes and validation loss of a model, scores of a study, corrected p-values of a
    comparison, codes of the first cells of a file. Exit code 0 when all that was recomputed is the same, 2 when
    anything differs. Other versions are said, and are no failure.

    Parameters
    ----------
    run
        Folder of a model, study, comparison, demonstration or corpus, of a saved annotator or other task, of tables and
        figures; or .h5ad that a command wrote.
    corpus
        Folder of the corpus that the model was trained on. Without it: where the run found it, if it is still there.
    repeat
        Give the command of the run again, in a scratch folder, and compare what it writes. Takes as long as the run
        did. Only for runs that you trust: it reads what the run's command names.
    common
        Options that every command takes.
    """
    from rich.markup import escape

    from scssl.cli._verify import verify_run

    del common
    found = verify_run(run, corpus=corpus, again=repeat)
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
