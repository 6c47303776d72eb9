"""``scssl corpus audit``: which cells, donors and data sets of a file a corpus holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.markup import escape

from scssl.cli.common import Common, Outcome
from scssl.words import count

SHOWN = 20


def audit(
    path: Path,
    /,
    *,
    against: Path,
    layer: str | None = None,
    donor: Annotated[str | None, Parameter(negative="")] = None,
    common: Common | None = None,
) -> Outcome:
    """Say which cells, donors and data sets of a file are in a corpus: scores on cells seen in training are too good.

    Parameters
    ----------
    path
        Folder of the corpus.
    against
        File that models are to be judged on: .h5ad, .zarr, .h5mu, 10x .h5, or a 10x mtx folder.
    layer
        Where its raw counts are: X by default, raw for .raw.X, or the name of a layer.
    donor
        Column of the file that names donors; by default the one that the corpus was split by.
    common
        Options of every command.
    """
    del common
    from scssl.corpus.audit import audit as compare

    report = compare(path, against, layer=layer, donor=donor)
    return Outcome(result=report, text="\n".join(_lines(report)))


def _lines(report: dict[str, Any]) -> list[str]:
    colour = "red" if report["splits"]["train"] else "yellow" if report["n_shared"] else "green"
    lines = [f"[{colour}]{escape(report['verdict'])}[/{colour}]", *map(escape, report["advice"]), ""]
    lines += [
        f"  cells     {report['n_cells']:,} in the file, {report['n_same_name']:,} with a barcode or name that the "
        f"corpus has, {report['n_shared']:,} with its counts too",
        f"  genes     {report['n_genes']:,} of the corpus measured in the file",
    ]
    if report["sources"]:
        lines.append("  sources   cells of the file in each (train / val / test)")
        lines += _table([(entry["name"], entry["n_cells"], entry["splits"]) for entry in report["sources"]])
    lines += _donor_lines(report["donors"])
    if report["datasets"]:
        lines.append(f"  same name as the file or its data sets: {escape(', '.join(report['datasets'][:SHOWN]))}")
    return lines


def _donor_lines(donors: dict[str, Any] | None) -> list[str]:
    if donors is None:
        return ["  donors    not compared: the corpus or the file names none (--donor COL says where the file does)"]
    lines = [
        f"  donors    {len(donors['shared']):,} of {donors['n_file']:,} in the file ({escape(donors['file_column'])}) "
        f"have the name of one in the corpus ({escape(donors['column'])})"
    ]
    width = max((len(entry["name"]) for entry in donors["shared"][:SHOWN]), default=0)
    for entry in donors["shared"][:SHOWN]:
        splits = " / ".join(f"{n:,}" for n in entry["splits"].values())
        lines.append(
            f"    {escape(entry['name']):<{width}}  {entry['n_file']:,} cells in the file, {entry['n_corpus']:,} in "
            f"the corpus ({splits}), {entry['n_identical']:,} identical"
        )
    lines += _more(donors["shared"])
    if donors["renamed"]:
        lines.append("  identical cells under another donor name")
        for entry in donors["renamed"][:SHOWN]:
            names = f"{entry['file']} in the file, {entry['corpus']} in the corpus"
            lines.append(f"    {escape(names)}: {count(entry['n_identical'], 'cell')}")
        lines += _more(donors["renamed"])
    return lines


def _table(rows: list[tuple[str, int, dict[str, int]]]) -> list[str]:
    width = max(len(name) for name, _, _ in rows[:SHOWN])
    lines = [
        f"    {escape(name):<{width}}  {n:>9,} ({' / '.join(f'{k:,}' for k in splits.values())})"
        for name, n, splits in rows[:SHOWN]
    ]
    return lines + _more(rows)


def _more(entries: list[Any]) -> list[str]:
    n = len(entries) - SHOWN
    return [f"    and {n:,} more (all with --json)"] if n > 0 else []
