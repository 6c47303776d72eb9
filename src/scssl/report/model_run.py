"""The run that a model folder tells of: pre-training, from config.json and history.csv."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from scssl.errors import FormatError
from scssl.model.capsule import read_capsule
from scssl.report.run import Run, Section
from scssl.report.tables import seconds
from scssl.words import count

if TYPE_CHECKING:
    from pathlib import Path

NAMED = 20
"""Sources that are named."""
CONFIG, HISTORY = "config.json", "history.csv"


def is_model(folder: Path) -> bool:
    """Say whether a folder looks like a saved model.

    Parameters
    ----------
    folder
        The folder.
    """
    return (folder / CONFIG).is_file()


def run_of_model(folder: Path) -> Run:
    """Put together the `Run` of a pre-training from what the model folder holds.

    Parameters
    ----------
    folder
        Folder of a model.

    Returns
    -------
    Run
        With the loss curve if the folder has a ``history.csv``.

    Raises
    ------
    FormatError
        If config.json is not that of a model, or the loss curve cannot be read.
    """
    file = folder / CONFIG
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        card, config = manifest["card"], manifest["config"]
        data, training = card.get("data", {}), card.get("training", {})
        cells: dict[str, int] = data.get("cells", {})
        took = float(training.get("seconds", 0.0))
        # What the run noted beside the model; a model that was copied or made otherwise has none.
        capsule = read_capsule(folder) or {}
        ran: dict[str, Any] = capsule.get("environment", {})
        run = Run(
            title=f"Pre-training: {folder.resolve().name}",
            command=str(ran.get("command", card.get("command", ""))),
            summary=_summary(manifest, cells, training, card.get("metrics", {})),
            settings=config,
            data=_data(cells, data, path=capsule.get("data", {}).get("path")),
            timings={"pre-training": took} if took else {},
            versions=ran.get("versions") or card.get("versions", {}),
            machine=ran.get("machine", {}),
            created=str(training.get("started", "")),
        )
        wrong = manifest["format"] != "scssl-model"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"{file}: does not describe a scssl model"
        raise FormatError(message) from error
    if wrong:
        message = f"{file}: does not describe a scssl model ('format' is {manifest['format']!r})"
        raise FormatError(message)
    history = folder / HISTORY
    if history.is_file():
        text = "Both lines should fall and level off. The weights kept are those of the lowest validation loss."
        try:
            columns = pd.read_csv(history, nrows=1).columns
        except ValueError as error:
            message = f"{history}: not readable as a table ({error}); the file is truncated or altered"
            raise FormatError(message) from error
        losses = [column for column in ("train_loss", "val_loss") if column in columns]
        if losses:
            run.sections.append(
                Section(kind="curve", title="Loss", file=HISTORY, text=text, options={"x": "epoch", "y": losses})
            )
    return run


def _data(cells: dict[str, int], data: dict[str, Any], *, path: str | None) -> list[dict[str, Any]]:
    """Return what went in: cells by split, the corpus with its fingerprint, the names of its sources."""
    rows: list[dict[str, Any]] = [{"what": f"cells to {use}", "value": f"{cells[split]:,}"} for split, use in
                                  (("train", "learn from"), ("val", "validate"), ("test", "test, untouched"))
                                  if cells.get(split)]  # fmt: skip
    rows += [{"what": "corpus", "value": path}] if path else []
    rows += [{"what": "fingerprint of the corpus", "value": data["corpus"]}] if data.get("corpus") else []
    sources = [str(source) for source in data.get("sources", [])]
    more = f" and {len(sources) - NAMED} more" if len(sources) > NAMED else ""
    rows += [{"what": "sources", "value": ", ".join(sources[:NAMED]) + more}] if sources else []
    return rows


def _summary(
    manifest: dict[str, Any], cells: dict[str, int], training: dict[str, Any], metrics: dict[str, float]
) -> list[str]:
    origin = manifest["card"].get("origin")
    if origin:
        made = f"An encoder that others trained ({origin.get('kind')}, doi {origin.get('doi')}) was imported"
        read = f"It reads {manifest.get('n_genes', 0):,} genes, in the order of {origin.get('genes')}."
        return [f"{made} from {origin.get('checkpoint')}. {read}", str(manifest["card"].get("preprocessing", ""))]
    n_sources = len(manifest.get("sources", []))
    task = manifest["config"].get("pretext", "unknown")
    first = (
        f"An encoder was pre-trained on {count(cells.get('train', 0), 'unlabelled cell')} from "
        f"{count(n_sources, 'source')} with the pretext task '{task}'. "
        f"It reads {manifest.get('n_genes', 0):,} genes."
    )
    n_epochs = training.get("epochs", "?")
    second = f"{n_epochs} epoch{'' if n_epochs == 1 else 's'} took {seconds(float(training.get('seconds', 0)))}; "
    second += f"the weights are those of epoch {training.get('best_epoch', '?')}, by validation loss."
    values = ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items() if name.endswith("loss")
    )
    third = f"At that epoch: {values}." if values else ""
    caution = "A low loss says that the task was learnt, not that the embedding helps: score it on held-out donors."
    return [text for text in (first, second, third, caution) if text]
