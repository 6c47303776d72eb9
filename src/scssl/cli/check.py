"""`scssl check`: is this file usable, and what to type next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scssl.cli.common import Common, Outcome
from scssl.words import count

if TYPE_CHECKING:
    from scssl.corpus.sources.inspect import FileReport


def check(
    file: Path,
    /,
    *,
    panel: str = "human",
    layer: str | None = None,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Say whether a file can be used: counts or not, which genes, how many of them, what to do.

    Exit code 0 if it can, 2 if not. Only the tables and a sample of the cells are read.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder. It is not changed.
    panel
        Genes to look for: human, mouse, the folder of a model or corpus, or a file of genes.
    layer
        Where the raw counts are: a layer, or "raw"; X without it.
    """
    from scssl.corpus.sources.inspect import inspect_file

    report = inspect_file(file, panel=panel, layer=layer)
    return Outcome(result=report.to_dict(), text=describe(report), exit_code=0 if report.usable else 2)


def describe(report: FileReport) -> str:
    """Return a report in plain words, as rich markup."""
    verdict = "[green]usable[/green]" if report.usable else "[red]not usable as it is[/red]"
    blocks = [
        ("Cells", _cells(report)),
        ("Values", [_text(f"{_where(report.layer)}: {report.values}")]),
        ("Genes", _genes(report)),
        ("Columns", _columns(report)),
        ("Problem" if len(report.problems) == 1 else "Problems", [f"[red]{_text(p)}[/red]" for p in report.problems]),
        ("Note" if len(report.warnings) == 1 else "Notes", [f"[yellow]{_text(w)}[/yellow]" for w in report.warnings]),
        ("Next", [f"[bold]{_text(command)}[/bold]" for command in report.next]),
    ]
    lines = [f"[bold]{_text(report.file)}[/bold]: {verdict} with the panel {_text(repr(report.panel))}"]
    for title, entries in blocks:
        for number, entry in enumerate(entries):
            lines.append(f"  {title if number == 0 else '':<9} {entry}")
    return "\n".join(lines)


def _cells(report: FileReport) -> list[str]:
    values = "dense" if report.n_values is None else f"{report.n_values:,} values"
    size = (
        f"{count(report.n_cells, 'cell')} by {count(report.n_features, 'feature')}, {values}; "
        f"{_bytes(report.bytes_on_disk)} on disk, {_bytes(report.bytes_in_memory)} if loaded whole"
    )
    return [size]


def _genes(report: FileReport) -> list[str]:
    from scssl.corpus.sources.inspect import percent

    genes = report.genes
    if genes is None:
        likely, share = next(iter(report.species.items()))
        return [f"{share:.0%} of the features are {likely} genes by name" if share >= 0.01 else "none recognised"]
    lines = [
        f"{genes.species or 'genes'} by {genes.id_kind} in {_text(genes.column)}: {genes.measured:,} of "
        f"{genes.n_panel:,} panel genes measured ({percent(genes.measured / genes.n_panel)})"
    ]
    if genes.share_of_counts is not None and report.values.kind == "counts":
        lines.append(f"{genes.share_of_counts:.1%} of the counts fall on them")
    left = [
        (genes.dropped, ("known gene that is not", "known genes that are not"), "on the panel", "dropped"),
        (genes.unknown, ("unknown name", "unknown names"), "", "unknown"),
        (genes.ambiguous, ("name that stands", "names that stand"), "for several genes", "ambiguous"),
    ]
    for n, (one, several), rest, key in left:
        if n:
            what = f"{one if n == 1 else several} {rest}".rstrip()
            named = _text(", ".join(genes.examples[key][:3]))
            lines.append(f"left out: {n:,} {what} ({named}{', ...' if n > 3 else ''})")
    if genes.not_genes:
        lines.append(f"left out: {genes.not_genes:,} features that are no genes (proteins, peaks, read statistics)")
    if genes.duplicated:
        lines.append(f"summed: {genes.duplicated:,} further features of genes that occur more than once")
    return lines


def _columns(report: FileReport) -> list[str]:
    lines = []
    for column in report.columns:
        more = ", ..." if column.n_values > len(column.examples) else ""
        missing = f"; {count(column.n_missing, 'cell')} without" if column.n_missing else ""
        values = "1 value" if column.n_values == 1 else f"{column.n_values:,} values"
        lines.append(_text(f"{column.role}: {column.name} ({values}: {', '.join(column.examples)}{more}{missing})"))
    return lines or ["none that look like cell type, donor, batch or condition"]


def _where(key: str) -> str:
    return key if key in ("X", "raw") else f"layer {key.removeprefix('layers/')!r}"


def _bytes(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{max(n / 1e6, 0.1):.1f} MB"


def _text(text: str) -> str:
    from rich.markup import escape

    return escape(text)
