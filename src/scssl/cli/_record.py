"""What a command notes of itself beside its results, so that `scssl report` can tell of it later."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

from scssl import keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scssl.genes import GenePanel
    from scssl.model.cell_model import CellModel
    from scssl.tasks.output import Results


class Record:
    """When a command began, what it read, how long its steps took; made before anything else is done."""

    def __init__(self) -> None:
        # What is newest in a file goes by it, and a script may give several commands in a second.
        self.created = datetime.now(tz=UTC).isoformat(timespec="microseconds")
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
            from scssl.model.capsule import describe_input

            self.inputs.append({"name": str(file), "role": role, "cells": n_cells, **describe_input(file)})

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
        from scssl.model.capsule import environment

        training, cells = model.card.get("training", {}), model.card.get("data", {}).get("cells", {})
        content = {
            **environment(),
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

    def capsule(
        self, folder: Path, *, what: str, settings: Mapping[str, Any], panel: GenePanel, seed: int, metrics: Any = None
    ) -> None:
        """Write the capsule of a folder of tables and figures, which is complete but for it.

        Parameters
        ----------
        folder
            The folder.
        what
            What it holds.
        settings
            Plain values.
        panel
            Genes of the model.
        seed
            Of everything random.
        metrics
            Plain values, or None.
        """
        genes = {"n": len(panel), "sha256": panel.fingerprint, "name": panel.name}
        metrics = metrics or {"none": "nothing was scored"}
        self.capsule_of(folder, what=what, settings={**settings, "seed": seed}, genes=genes, metrics=metrics)

    def capsule_of(
        self,
        folder: Path,
        *,
        what: str,
        settings: Mapping[str, Any],
        genes: Mapping[str, Any],
        metrics: Mapping[str, Any],
    ) -> None:
        """Write the capsule of a folder; as `capsule`, for what does not come from one model.

        Parameters
        ----------
        folder, what, metrics
            See `capsule`.
        settings
            Plain values, with the ``seed``.
        genes
            What the genes were.
        """
        from scssl.model.capsule import write_capsule

        write_capsule(
            folder,
            what=what,
            settings=settings,
            seeds={"all": settings["seed"]},
            data={"inputs": self.inputs},
            genes=genes,
            metrics=metrics,
        )
