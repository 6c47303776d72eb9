"""`scssl pretexts`: the pretext tasks there are."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from scssl.cli.common import Common, Outcome


def pretexts(*, common: Common | None = None) -> Outcome:  # noqa: ARG001
    """List the pretext tasks, with their papers, needs and settings."""
    from scssl.pretext import list_tasks

    records = list_tasks()
    rows: list[dict[str, Any]] = [
        {
            "name": record.name,
            "summary": record.summary,
            "doi": record.doi,
            "needs": record.needs or "counts only",
            "settings": {f.name: f.default for f in fields(record.settings)},
        }
        for record in records
    ]
    text = "\n\n".join(
        f"[bold]{row['name']}[/bold]  {row['summary']}\n"
        + (f"  paper: doi {row['doi']}\n" if row["doi"] else "")
        + f"  needs: {row['needs']}\n  settings: "
        + (", ".join(f"--set task.{name}={_written(value)}" for name, value in row["settings"].items()) or "none")
        for row in rows
    )
    return Outcome(result={"pretexts": rows}, text=text)


def _written(value: Any) -> str:
    """Write a value as the command line takes it."""
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"
