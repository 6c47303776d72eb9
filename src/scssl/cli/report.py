"""`scssl report`: one HTML page of what happened in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from scssl.cli.common import Common, Outcome


def report(
    run_dir: Path,
    /,
    *,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001 (read by cli.app)
) -> Outcome:
    """Write one HTML page of what happened in a run: summary, figures, tables, settings, timings.

    The page is one file that loads nothing from a network: send it as it is.

    Parameters
    ----------
    run_dir
        Folder that scssl pretrain or scssl demo wrote.
    out
        File to write; RUN_DIR/report.html if not given. An older report there is replaced.
    overwrite
        Replace the file even if it is not a report.
    common
        Options that every command takes.
    """
    from rich.markup import escape

    from scssl.report import render

    path = render(run_dir, out=out, overwrite=overwrite)
    size = path.stat().st_size
    text = f"{escape(str(path))} ({size / 1e6:.1f} MB): open it in a browser."
    return Outcome(result={"report": str(path), "bytes": size}, text=text)
