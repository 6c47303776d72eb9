"""`scssl report`: one HTML page of what happened in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from scssl.cli.common import Common, Outcome


def report(
    run: Path,
    /,
    *,
    out: Path | None = None,
    truth: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001 (read by cli.app)
) -> Outcome:
    """Write one HTML page of what happened in a run: summary, figures, tables, settings, timings.

    The page is one file that loads nothing from a network: send it as it is.

    Parameters
    ----------
    run
        Folder that scssl pretrain, study, compare or demo wrote, or file that another command wrote (.h5ad, .h5mu),
        also saved as .zarr.
    out
        File to write; without it, report.html in the folder, or beside the file, with its name. An older report there
        is replaced.
    truth
        Of a file with labels: column of obs with the true ones, to hold them against. That of scssl annotate --truth
        without it.
    overwrite
        Replace the file even if it is not a report.
    common
        Options that every command takes.
    """
    from rich.markup import escape

    from scssl.report import render

    path = render(run, out=out, truth=truth, overwrite=overwrite)
    size = path.stat().st_size
    shown = f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"
    text = f"{escape(str(path))} ({shown}): open it in a browser."
    return Outcome(result={"report": str(path), "bytes": size}, text=text)
