"""The folder of a comparison: tables as CSV, the rest as JSON, all with checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from scssl.errors import FormatError
from scssl.tasks.compare.comparison import TABLES, Comparison
from scssl.tasks.saved import Kind

if TYPE_CHECKING:
    from pathlib import Path

TEXT_COLUMNS: Final = (
    "cell_type", "kind", "what", "sure", "unit", "gene", "symbol", "programme", "genes", "donor", "condition", "reason",
)  # fmt: skip
KIND: Final = Kind(
    named="a comparison", format="scssl-comparison", version=1, settings="comparison.json",
    holds={"sentences": list, "warnings": list, "notes": list, "settings": dict},
)  # fmt: skip


def write_tables(folder: Path, found: Comparison) -> None:
    """Write the tables of a comparison.

    Parameters
    ----------
    folder
        That of `Kind.new`.
    found
        The comparison.
    """
    for name in TABLES:
        getattr(found, name).to_csv(folder / f"{name}.csv", index=name == "samples")


def close(folder: Path, found: Comparison) -> None:
    """Write what makes a folder a comparison, with the checksum of every file that is in it yet.

    Parameters
    ----------
    folder
        That of `Kind.new`, with the tables; what comes later has no checksum, and is never read again.
    found
        The comparison.
    """
    KIND.close(folder, {name: getattr(found, name) for name in KIND.holds})


def write(path: Path, found: Comparison, *, overwrite: bool) -> None:
    """Write a folder that appears only when complete.

    Parameters
    ----------
    path, overwrite
        See `Kind.check_place`.
    found
        The comparison.
    """
    with KIND.new(path, overwrite=overwrite) as folder:
        write_tables(folder, found)
        close(folder, found)


def read(path: Path) -> Comparison:
    """Read and check a folder. Nothing is unpickled and nothing executed.

    Parameters
    ----------
    path
        Folder written by `write`, or by ``scssl compare``.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, or of a later version.
    """
    content = KIND.read(path)
    tables: dict[str, Any] = {}
    for name in TABLES:
        try:
            tables[name] = pd.read_csv(
                path / f"{name}.csv", index_col=0 if name == "samples" else None, keep_default_na=False, na_values=[""],
                dtype=dict.fromkeys(TEXT_COLUMNS, object), float_precision="round_trip",
            )  # fmt: skip
        except (OSError, ValueError) as error:
            message = f"{path / name}.csv cannot be read: {error}"
            raise FormatError(message) from error
    return Comparison(**tables, **{name: content[name] for name in KIND.holds})
