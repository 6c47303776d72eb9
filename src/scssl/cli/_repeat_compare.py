"""Whether what a command wrote again is what a run holds."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import ScsslError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

CLOSE: Final = 1e-3
"""Difference, of the largest of its kind, that other processors and orders of summation account for."""
TINY: Final = 1e-6
"""Difference of scores near zero that they account for."""
FIRST: Final = 1000
"""Cells whose expression is compared."""
TIMES: Final = ("seconds", "train_seconds", "cells_per_second")
"""Columns that are never the same twice."""


def differences(run: Path, again: Path) -> Iterator[str]:
    """Yield, for every table, array and record of scores to compare, what differs; an empty text if nothing does.

    Parameters
    ----------
    run
        Folder or .h5ad of the run.
    again
        The same, written again.
    """
    if run.is_file():
        yield from _of_files(run, again)
    else:
        yield from _of_folders(run, again)
    if scores := _scores(run):
        yield _of_scores(scores, _scores(again))


def has_scores(run: Path) -> bool:
    """Whether scores are among what `differences` compares.

    Parameters
    ----------
    run
        Folder or .h5ad of the run.
    """
    return bool(_scores(run))


def _of_folders(run: Path, again: Path) -> Iterator[str]:
    import pandas as pd

    for file in sorted(run.glob("*.csv")):
        # A name in the run may be a link to anywhere, or a pipe that nobody writes to.
        if file.is_symlink() or not file.is_file() or not (again / file.name).is_file():
            yield f"{file.name} was not written again"
            continue
        try:
            yield _of_tables(pd.read_csv(file), pd.read_csv(again / file.name), name=file.name)
        except ValueError as error:
            # A table without columns has nothing to compare.
            yield "" if file.read_bytes() == (again / file.name).read_bytes() else f"{file.name}: {error}"
    if (run / "model.safetensors").is_file():
        from scssl.model.files import read

        then, now = read(run)[1], read(again)[1]
        far = [name for name in then if name not in now or _far(then[name].numpy(), now[name].numpy())]
        yield f"weights differ: {', '.join(far[:3])}" if far else ""


def _scores(run: Path) -> Any:
    """Return what a run recorded of how good its outcome is, None if nothing."""
    from scssl.model.capsule import read_capsule
    from scssl.report.file_tasks import read_content

    try:
        found = read_content(run).tasks[-1].scores if run.is_file() else (read_capsule(run) or {}).get("metrics")
    except ScsslError:
        return None
    # What a capsule has in place of scores says why there are none.
    return None if isinstance(found, dict) and list(found) == ["none"] else found


def _of_scores(then: Any, now: Any) -> str:
    """Say what differs between the scores of two runs; an empty text if nothing does."""
    before, after = dict(_leaves(then)), dict(_leaves(now))
    far = [name for name in (before | after) if not _alike(before.get(name), after.get(name))]
    return f"of the recorded scores, {', '.join(far[:3])} differ{'s' if len(far) == 1 else ''}" if far else ""


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every single value in lists and tables of any depth, but for times, with the way to it."""
    if isinstance(value, dict | list):
        for key, below in value.items() if isinstance(value, dict) else enumerate(value):
            if key not in TIMES:
                yield from _leaves(below, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _alike(then: Any, now: Any) -> bool:
    if isinstance(then, int | float) and isinstance(now, int | float):
        return bool(np.isclose(then, now, rtol=CLOSE, atol=TINY, equal_nan=True))
    return bool(then == now)


def _of_files(run: Path, again: Path) -> Iterator[str]:
    from anndata import read_h5ad

    then, now = read_h5ad(run, backed="r"), read_h5ad(again, backed="r")
    with contextlib.ExitStack() as stack:
        for cells in (then, now):
            stack.callback(cells.file.close)
        if then.shape != now.shape:
            yield f"{now.n_obs:,} cells of {now.n_vars:,} features, not {then.n_obs:,} of {then.n_vars:,}"
            return
        yield _of_tables(then.obs, now.obs, name="obs")
        yield _of_tables(then.var, now.var, name="var")
        for part in ("obsm", "varm"):
            for name, values in getattr(then, part).items():
                yield from _of_values(values, getattr(now, part).get(name), name=f"{part}[{name!r}]")
        yield from _of_values(_matrix(then), _matrix(now), name="X")
        for name, values in then.layers.items():
            other = now.layers.get(name)
            yield from _of_values(values[:FIRST], None if other is None else other[:FIRST], name=f"layers[{name!r}]")


def _matrix(cells: AnnData) -> Any:
    """Return the first rows of X, None where a file has none."""
    return cells.X[:FIRST] if "X" in cells.file else None


def _of_values(then: Any, now: Any, *, name: str) -> Iterator[str]:
    """Yield what differs between arrays of any kind; nothing for kinds that only an input can hold."""
    if then is None or now is None:
        if then is not None or now is not None:
            yield f"{name} was not written again" if now is None else f"{name} is new"
    elif hasattr(then, "columns"):
        yield _of_tables(then, now, name=name) if hasattr(now, "columns") else f"{name} is no table any more"
    else:
        before, after = _dense(then), _dense(now)
        if before is not None:
            yield f"{name} differs" if after is None or _far(before, after) else ""


def _dense(values: Any) -> NDArray[Any] | None:
    if hasattr(values, "toarray"):
        # Of sparse arrays, which may be as wide as there are peaks, no more than of X.
        values = values[:FIRST].toarray()
    array = np.asarray(values) if isinstance(values, np.ndarray) else None
    return array if array is not None and array.dtype.kind in "biuf" else None


def _of_tables(then: pd.DataFrame, now: pd.DataFrame, *, name: str) -> str:
    """Say what differs between two tables; an empty text if nothing does."""
    if list(then.columns) != list(now.columns) or then.index.astype(str).tolist() != now.index.astype(str).tolist():
        return f"{name} has other rows or columns"
    for place, column in enumerate(then.columns):
        if column in TIMES:
            continue
        before, after = then.iloc[:, place], now.iloc[:, place]
        if before.dtype.kind in "fiu" and after.dtype.kind in "fiu":
            far = _far(before.to_numpy(dtype=np.float64, na_value=np.nan), after.to_numpy(np.float64, na_value=np.nan))
        else:
            far = before.astype(str).tolist() != after.astype(str).tolist()
        if far:
            return f"{name}: {column} differs"
    return ""


def _far(then: NDArray[Any], now: NDArray[Any]) -> bool:
    """Whether numbers differ by more than rounding does; what is infinite or missing has to be so in both."""
    if then.shape != now.shape:
        return True
    if then.dtype.kind != "f" or now.dtype.kind != "f":
        then, now = then.astype(np.float64), now.astype(np.float64)
    finite = np.isfinite(then)
    if not np.array_equal(finite, np.isfinite(now)) or not np.array_equal(then[~finite], now[~finite], equal_nan=True):
        return True
    # Infinity as the largest of its kind would make everything the same.
    then, now = then[finite], now[finite]
    largest = float(np.max(np.abs(then), initial=0.0))
    return not np.allclose(then, now, rtol=CLOSE, atol=CLOSE * largest)
