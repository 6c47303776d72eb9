"""What ``scssl corpus info`` prints."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, Final

from scssl.cli.common import Outcome

SHOWN_SOURCES: Final = 50
_ALWAYS: Final = ("split_by", "seed")
"""Settings that are shown even where they are the usual ones."""
_ELSEWHERE: Final = ("genes", "obs")
"""Settings that other lines tell."""


def describe(info: dict[str, Any]) -> Outcome:
    """Put what `Corpus.info` returns into words."""
    from rich.markup import escape

    cells, panel = info["splits"], info["panel"]
    per_cell = info["nonzeros"] / max(1, info["cells"])
    columns = ", ".join(f"{column} ({n} values)" for column, n in info["columns"].items()) or "none"
    memory = info["memory"]
    lines = [
        f"[bold]{escape(str(info['path']))}[/bold]",
        f"  cells     {info['cells']:,}  ({', '.join(f'{name} {n:,}' for name, n in cells.items())})",
        f"  genes     {panel['genes']:,}  (panel {escape(panel['name'])}, species {panel['species'] or 'not set'})",
        f"  counts    {info['nonzeros']:,} nonzeros, {per_cell:,.0f} per cell",
        f"  donors    {escape(_donors(info))}",
        f"  types     {escape(_types(info))}",
        f"  columns   {escape(columns)}",
        f"  settings  {escape(_settings(info['settings']))}",
        f"  left out  {escape(_left_out(info))}",
        f"  disk      {info['bytes'] / 1e6:,.1f} MB in {info['shards']} shards",
        f"  memory    {_size(memory['bytes'])} to load batches of {memory['batch_size']:,}, beside Python and torch",
        "  sources   " + ("" if len(info["sources"]) < 2 else f"{len(info['sources']):,}, cells (train / val / test)"),
    ]
    width = max(len(source["name"]) for source in info["sources"])
    for source in info["sources"][:SHOWN_SOURCES]:
        n = source["n_cells"]
        share = f"{source['measured_share']:.0%}"
        empty = f", {source['n_empty']:,} empty cells left out" if source["n_empty"] else ""
        copies = f", {source['n_copies']:,} copies left out" if source.get("n_copies") else ""
        lines.append(
            f"    {escape(source['name']):<{width}}  {sum(n.values()):>9,} cells "
            f"({n['train']:,} / {n['val']:,} / {n['test']:,})  {source['n_genes']:>6,} genes measured, "
            f"{share:>4} of the panel's counts{empty}{copies}"
        )
    if len(info["sources"]) > SHOWN_SOURCES:
        lines.append(f"    and {len(info['sources']) - SHOWN_SOURCES:,} more (all with --json)")
    return Outcome(result=info, text="\n".join(lines))


def _donors(info: dict[str, Any]) -> str:
    donors = info["donors"]
    if donors is None:
        return "not told apart: cells were split one by one"
    splits = ", ".join(f"{name} {n:,}" for name, n in donors["splits"].items())
    return f"{donors['n_values']:,} values of {donors['column']}  ({splits}){_unknown(donors, info)}"


def _types(info: dict[str, Any]) -> str:
    types = info["types"]
    if types is None:
        return "no kept column looks like cell types (none is needed for pre-training)"
    return f"{types['n_values']:,} values of {types['column']}{_unknown(types, info)}"


def _unknown(column: dict[str, Any], info: dict[str, Any]) -> str:
    from scssl.corpus.sources.inspect import percent

    n = column["n_unknown"]
    return f"; not known of {n:,} cells ({percent(n / info['cells'])})" if n else ""


def _settings(settings: dict[str, Any]) -> str:
    from scssl.corpus.settings import BuildSettings

    usual = {one.name: one.default for one in fields(BuildSettings) if one.default is not MISSING}
    shown = []
    for name, value in settings.items():
        plain = tuple(value) if isinstance(value, list) else value
        if name in _ALWAYS or (name not in _ELSEWHERE and plain != usual.get(name, plain)):
            shown.append(f"{name} {','.join(map(str, value)) if isinstance(value, list) else value}")
    return ", ".join(shown)


def _left_out(info: dict[str, Any]) -> str:
    return ", ".join(f"{n:,} {reason}" for reason, n in info["left_out"].items()) or "no cells"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:,.1f} GB"
