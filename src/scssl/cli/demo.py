"""`scssl demo`: the whole way from files to labels and a report, in a few minutes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from scssl.cli.common import Common, Outcome, Whole
from scssl.errors import SettingsError, import_extra

if TYPE_CHECKING:
    from scssl.report import Run

DISK_MB = 150
"""What the demo writes at most, while it trains; 60 of them stay."""
NEEDED = ("scanpy", "jinja2", "matplotlib", "umap")
"""What the extra brings; looked for before any work starts."""
MADE = {
    "capsule.json",
    "cells_atlas.csv",
    "cells_pbmc.csv",
    "confusion_atlas.csv",
    "confusion_pbmc.csv",
    "corpus",
    "data",
    "history.csv",
    "model",
    "report.html",
    "run.json",
    "scores.csv",
}
"""Names of what the demo writes: a folder with anything else in it is not replaced."""


def demo(
    *,
    out: Path = Path("scssl-demo"),
    seed: Whole = 0,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001 (read by cli.app)
) -> Outcome:
    """See it all at work: simulate an atlas, build a corpus, pre-train, label held-out and real cells, write a report.

    Takes about two minutes on two cores, 2 GB of memory and 150 MB of disk, of which 60 stay.
    Needs: pip install 'scssl[demo]'.

    Parameters
    ----------
    out
        Folder to make; open report.html in it.
    seed
        Seed of everything drawn at random.
    overwrite
        Replace an earlier demo at OUT.
    common
        Options that every command takes.
    """
    if seed < 0:
        message = f"seed={seed} is not possible; it must be 0 or more"
        raise SettingsError(message)
    _check_extra()
    _prepare(out, overwrite=overwrite)

    from scssl.cli._demo import Plan, run_demo
    from scssl.cores import n_cores
    from scssl.environment import command_line
    from scssl.log import logger

    logger.info(
        "the demo takes about 2 minutes on 2 cores (%d here), 2 GB of memory, %d MB of disk", n_cores(), DISK_MB
    )
    out.mkdir(parents=True)
    try:
        # Beforehand, because HDF5 brings the whole process down when the disk runs full under it.
        if (free := shutil.disk_usage(out).free) < DISK_MB * 1e6:
            message = f"{out}: {free / 1e6:.0f} MB are free there, the demo needs {DISK_MB}; choose another --out"
            raise SettingsError(message)
        run = run_demo(out, plan=Plan(seed=seed), command=command_line())
    except BaseException:
        # Interrupted or failed: half a demo is of no use.
        shutil.rmtree(out, ignore_errors=True)
        raise
    result = {
        "out": str(out),
        "report": str(out / "report.html"),
        "scores": _scores(out),
        "seconds": {step: round(seconds, 1) for step, seconds in run.timings.items()},
    }
    return Outcome(result=result, text=_text(out, run))


def _check_extra() -> None:
    from importlib.util import find_spec

    for module in NEEDED:
        if find_spec(module) is None:
            import_extra(module, extra="demo")


def _prepare(out: Path, *, overwrite: bool) -> None:
    """Make way at `out`, or say why not."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        if out.exists():
            out.rmdir()
        return
    if not out.is_dir():
        message = f"{out} is a file; give --out a folder to make"
        raise SettingsError(message)
    strange = sorted(path.name for path in out.iterdir() if path.name not in MADE)
    if strange:
        message = f"{out} holds other things than a demo ({', '.join(strange[:3])}); choose another --out"
        raise SettingsError(message)
    if not overwrite:
        message = f"{out} exists already; add --overwrite to replace that demo, or choose another --out"
        raise SettingsError(message)
    shutil.rmtree(out)


def _scores(out: Path) -> list[dict[str, object]]:
    import pandas as pd

    rows: list[dict[str, object]] = pd.read_csv(out / "scores.csv").to_dict("records")  # type: ignore[assignment]
    return rows


def _text(out: Path, run: Run) -> str:
    from rich.markup import escape

    from scssl.report.tables import seconds

    rows = _scores(out)
    wide = max(len(str(row["data"])) for row in rows)
    method = max(len(str(row["method"])) for row in rows)
    lines = [f"[bold]{'cells':<{wide}}  {'method':<{method}}  macro F1  accuracy[/bold]"]
    lines += [
        f"{row['data']:<{wide}}  {row['method']:<{method}}  {row['macro_f1']:>8.3f}  {row['accuracy']:>8.3f}"
        for row in rows
    ]
    total = seconds(sum(run.timings.values()))
    lines += ["", *map(escape, run.summary), "", f"Took {total}. Open {escape(str(out / 'report.html'))} in a browser."]
    return "\n".join(lines)
