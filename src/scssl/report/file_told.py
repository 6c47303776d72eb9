"""What one task adds to the page of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scssl.report.run import Section

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


@dataclass(kw_only=True)
class Told:
    """Sentences, tables and columns of one task."""

    folder: Path
    """For the tables."""
    stem: str
    """Begins the names of the tables: a file may hold results of several tasks."""
    summary: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    """Shown before the cells."""
    later: list[Section] = field(default_factory=list)
    """Shown after them."""
    columns: list[str] = field(default_factory=list)
    """Of obs: the first ones are the colours of the cells at first, and pointing at a cell shows them."""

    def section(self, table: pd.DataFrame, name: str, *, later: bool = True, index: bool = False, **known: Any) -> None:
        """Write a table and add the section that shows it.

        Parameters
        ----------
        table
            Its rows.
        name
            Of the file, without folder and ending.
        later
            Whether it comes after the cells.
        index
            Whether the index is a column of it.
        **known
            Of `Section`: kind, title, text, options.
        """
        file = f"{self.stem}_{name}.csv"
        table.to_csv(self.folder / file, index=index)
        (self.later if later else self.sections).append(Section(file=file, **{"kind": "table", **known}))
