"""The command of a run, given again in a scratch folder, and what comes out held against what the run holds."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.environment import expanded
from scssl.log import logger
from scssl.model_capsule import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from numpy.typing import NDArray

COMMANDS: Final = (
    "annotate", "compare", "demo", "embed", "integrate", "pretrain", "reconstruct", "simulate", "study", "translate",
)  # fmt: skip
"""Commands that can be given again; anything else that a folder names is not run."""
WRITTEN: Final = ("--out", "--save", "--figures", "--explain")
"""Options with a place to write to: each gets one in the scratch folder."""
LEFT_OUT: Final = ("--overwrite", "--resume", "--json", "--quiet")
CLOSE: Final = 1e-3
"""Difference, of the largest of its kind, that other processors and orders of summation account for."""
FIRST: Final = 1000
"""Cells whose expression is compared."""
TIMES: Final = ("seconds", "train_seconds", "cells_per_second")
"""Columns that are never the same twice."""


def repeat(run: Path, ran: Mapping[str, Any]) -> Finding:
    """Give the command of a run again, and compare what it writes.

    Parameters
    ----------
    run
        Folder or .h5ad of the run.
    ran
        ``command`` and the ``folder`` in which it was given.
    """
    words, start = _words(ran), expanded(str(ran.get("folder", "")))
    if words is None:
        return Finding(what="repeated", state="unknown", text="it was not made by a command that can be given again")
    if "folder" not in ran or not start.is_dir():
        return Finding(what="repeated", state="unknown", text="the folder in which its command was given is not there")
    with tempfile.TemporaryDirectory(prefix="scssl-repeat-") as scratch:
        words, places = _moved(words, Path(scratch))
        again = _place_of(run, places, start)
        logger.info("giving the command again: %s", shlex.join(["scssl", *words]))
        command = [sys.executable, "-m", "scssl.cli.app", *words, "--quiet"]
        done = subprocess.run(command, cwd=start, capture_output=True, text=True, check=False)
        if done.returncode or again is None or not again.exists():
            why = (done.stderr.strip().splitlines() or ["it wrote nothing to compare"])[-1]
            return Finding(what="repeated", state="differs", text=f"the command does not run again: {why}")
        parts = list(_differences(run, again))
    wrong = [text for text in parts if text]
    if not parts:
        return Finding(what="repeated", state="unknown", text="it holds nothing that can be compared")
    if wrong:
        return Finding(what="repeated", state="differs", text="; ".join(wrong[:5]))
    return Finding(what="repeated", state="same", text=f"{len(parts)} tables and arrays came out as before")


def _words(ran: Mapping[str, Any]) -> list[str] | None:
    """Return the words after `scssl`, if they are those of a command that may be given again."""
    try:
        words = shlex.split(str(ran.get("command", "")))
    except ValueError:
        return None
    if len(words) < 2 or words[0] != "scssl" or words[1] not in COMMANDS:
        return None
    return words[1:]


def _moved(words: list[str], scratch: Path) -> tuple[list[str], dict[Path, Path]]:
    """Return the command with everything that it writes in `scratch`, and which place became which."""
    moved: list[str] = []
    places: dict[Path, Path] = {}
    rest = iter(words)
    for word in rest:
        name, given, value = word.partition("=")
        if name in LEFT_OUT:
            continue
        if name in WRITTEN:
            old = Path(value if given else next(rest, ""))
            new = scratch / name.strip("-") / old.name
            new.parent.mkdir()
            places[old] = new
            moved += [name, str(new)]
        else:
            moved.append(word)
    if words[0] == "demo" and not places:
        places[Path("scssl-demo")] = scratch / "demo"
        moved += ["--out", str(scratch / "demo")]
    return moved, places


def _place_of(run: Path, places: Mapping[Path, Path], start: Path) -> Path | None:
    """Return where the new run is: it may have been moved or renamed since, but a file stays one."""
    for old, new in places.items():
        if (start / expanded(str(old))).resolve() == run.resolve():
            return new
    alike = [new for old, new in places.items() if old.name == run.name]
    alike += [new for new in places.values() if bool(new.suffix) == run.is_file()]
    return alike[0] if alike else None


def _differences(run: Path, again: Path) -> Iterator[str]:
    """Yield, for every table and array that can be compared, what differs; an empty text if nothing does."""
    if run.is_file():
        yield from _of_cells(run, again)
        return
    import pandas as pd

    for file in sorted(run.glob("*.csv")):
        # A name in the run may be a link to anywhere.
        if file.is_symlink() or not (again / file.name).is_file():
            yield f"{file.name} was not written again"
            continue
        try:
            yield _of_tables(pd.read_csv(file), pd.read_csv(again / file.name), name=file.name)
        except ValueError as error:
            # A table without columns has nothing to compare.
            yield "" if file.read_bytes() == (again / file.name).read_bytes() else f"{file.name}: {error}"
    if (run / "model.safetensors").is_file():
        from scssl.model_files import read

        then, now = read(run)[1], read(again)[1]
        far = [name for name in then if name not in now or _far(then[name].numpy(), now[name].numpy())]
        yield f"weights differ: {', '.join(far[:3])}" if far else ""


def _of_cells(run: Path, again: Path) -> Iterator[str]:
    from anndata import read_h5ad

    then, now = read_h5ad(run, backed="r"), read_h5ad(again, backed="r")
    with contextlib.ExitStack() as stack:
        for cells in (then, now):
            stack.callback(cells.file.close)
        if then.shape != now.shape:
            yield f"{now.n_obs:,} cells of {now.n_vars:,} features, not {then.n_obs:,} of {then.n_vars:,}"
            return
        yield _of_tables(then.obs, now.obs, name="obs")
        for name in then.obsm:
            if name not in now.obsm:
                yield f"obsm[{name!r}] was not written again"
            else:
                far = _far(np.asarray(then.obsm[name]), np.asarray(now.obsm[name]))
                yield f"obsm[{name!r}] differs" if far else ""
        here = zip(("X", *then.layers), (then.X, *then.layers.values()), strict=True)
        for name, values in here:
            other = now.X if name == "X" else now.layers.get(name)
            far = other is None or _far(_dense(values[:FIRST]), _dense(other[:FIRST]))
            yield f"{name} differs" if far else ""


def _dense(values: Any) -> NDArray[Any]:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def _of_tables(then: pd.DataFrame, now: pd.DataFrame, *, name: str) -> str:
    """Say what differs between two tables; an empty text if nothing does."""
    if list(then.columns) != list(now.columns) or len(then) != len(now):
        return f"{name} has other rows or columns"
    for column in then.columns:
        if column in TIMES:
            continue
        before, after = then[column].to_numpy(), now[column].to_numpy()
        if then[column].dtype.kind in "fiu" and now[column].dtype.kind in "fiu":
            far = _far(before, after)
        else:
            far = then[column].astype(str).tolist() != now[column].astype(str).tolist()
        if far:
            return f"{name}: {column} differs"
    return ""


def _far(then: NDArray[Any], now: NDArray[Any]) -> bool:
    """Whether numbers differ by more than rounding does."""
    if then.shape != now.shape:
        return True
    largest = np.nanmax(np.abs(then), initial=0.0) if then.size else 0.0
    return not np.allclose(then, now, rtol=CLOSE, atol=CLOSE * float(largest), equal_nan=True)
