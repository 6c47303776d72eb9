"""`scssl presets`: named settings to start from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from scssl.cli.common import Common, Outcome


def presets(*, common: Common | None = None) -> Outcome:  # noqa: ARG001
    """List the presets, with what they set."""
    import yaml
    from rich.markup import escape

    from scssl.training import list_presets

    listed = list_presets()
    rows: list[dict[str, Any]] = [{"name": p.name, "summary": p.summary, "config": asdict(p.config)} for p in listed]
    text = "\n".join(
        f"[bold]{row['name']}[/bold]  {row['summary']}\n"
        + escape(
            "".join(f"    {line}\n" for line in yaml.safe_dump(_plain(row["config"]), sort_keys=False).splitlines())
        )
        for row in rows
    )
    return Outcome(result={"presets": rows}, text=text)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in config.items() if key != "preset"}
    plain["architecture"] = {**config["architecture"], "hidden": list(config["architecture"]["hidden"])}
    return plain
