"""What a command notes of itself beside its results, so that `scssl report` can tell of it later."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from scssl import keys

if TYPE_CHECKING:
    from pathlib import Path

    from scssl.model import CellModel
    from scssl.tasks.output import Results


class Record:
    """When a command began, what it read, how long its steps took; made before anything else is done."""

    def __init__(self) -> None:
        self.created = datetime.now(tz=UTC).isoformat(timespec="seconds")
        self.timings: dict[str, float] = {}
        self.inputs: list[dict[str, Any]] = []
        self._last = perf_counter()

    def lap(self, step: str) -> None:
        """Note the time since the last step as that of `step`.

        Parameters
        ----------
        step
            What was done, as the report will say it.
        """
        now = perf_counter()
        self.timings[step] = round(self.timings.get(step, 0.0) + now - self._last, 3)
        self._last = now

    def read(self, file: Path | None, *, role: str, n_cells: int | None = None) -> None:
        """Note an input.

        Parameters
        ----------
        file
            File or folder; None is not noted.
        role
            What it was for.
        n_cells
            Its cells, if counted.
        """
        if file is not None:
            size = file.stat().st_size if file.is_file() else None
            self.inputs.append({"name": str(file), "role": role, "cells": n_cells, "bytes": size})

    def settings(self, *, model: CellModel, scores: Any = None, **also: Any) -> dict[str, str]:
        """Return what to add to the settings of the results.

        Parameters
        ----------
        model
            That was used.
        scores
            Plain values, or None.
        **also
            What else the report of this task should know.
        """
        from scssl.environment import command_line, machine, versions

        training, cells = model.card.get("training", {}), model.card.get("data", {}).get("cells", {})
        content = {
            "command": command_line(),
            "created": self.created,
            "timings": self.timings,
            "inputs": self.inputs,
            "model": {
                "pretext": model.config.pretext,
                "preset": model.config.preset,
                "genes": len(model.panel),
                "dimensions": model.n_latent,
                "cells": cells.get("train"),
                "sources": len(model.sources),
                "epochs": training.get("epochs"),
                "trained": training.get("started"),
                "scssl": model.card.get("versions", {}).get("scssl"),
            },
            "scores": scores,
            "versions": versions(),
            "machine": machine(),
            **also,
        }
        return {keys.RECORD: json.dumps(content, default=str)}

    def into(self, results: Results, **known: Any) -> Results:
        """Return results with the record beside their settings.

        Parameters
        ----------
        results
            To be written.
        **known
            See `settings`.
        """
        return replace(results, settings={**results.settings, **self.settings(**known)})
