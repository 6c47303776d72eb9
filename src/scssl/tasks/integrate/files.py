"""What the folder of a saved integrator holds: settings, the study's cells and the model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import FormatError
from scssl.tasks.integrate.correct import arrays_of, from_arrays
from scssl.tasks.integrate.fitted import Fitted
from scssl.tasks.integrate.settings import IntegratorSettings
from scssl.tasks.saved import Kind, read_arrays, read_model, take

if TYPE_CHECKING:
    from pathlib import Path

STUDY: Final = "study.safetensors"
OWN: Final = "correction."
"""Before the names of the arrays of the correction."""
KIND: Final = Kind(
    named="an integrator", format="scssl-integrator", version=1, settings="integrator.json",
    holds={"batches": list, "column": str, "name": str, "training": dict},
)  # fmt: skip


def write(path: Path, fitted: Fitted, *, settings: IntegratorSettings, overwrite: bool) -> None:
    """Write a folder that appears only when complete; see `Kind.write`."""
    arrays: dict[str, Any] = {
        "codes": fitted.codes,
        "embedding": fitted.embedding,
        "batch": fitted.batch,
        # A file of arrays has no texts; names have no zero bytes.
        "cells": np.frombuffer("\0".join(fitted.cells).encode(), dtype=np.uint8),
        **{f"{OWN}{name}": array for name, array in arrays_of(fitted.correction).items()},
    }
    content = {**asdict(settings), **{name: getattr(fitted, name) for name in KIND.holds}}
    KIND.write(path, content, model=fitted.model, arrays={STUDY: arrays}, overwrite=overwrite)


def read(path: Path) -> tuple[IntegratorSettings, Fitted]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    content = KIND.read(path)
    batches = content["batches"]
    with KIND.using(path / KIND.settings):
        if len(batches) < 2 or not all(isinstance(name, str) for name in batches):
            raise ValueError(batches)
    settings = KIND.own_settings(IntegratorSettings, content, path)
    arrays, model = read_arrays(path / STUDY), read_model(path)
    with KIND.using(path / STUDY):
        cells = bytes(arrays["cells"]).decode().split("\0")
        codes, embedding = (take(arrays, name, shape=(len(cells), model.n_latent)) for name in ("codes", "embedding"))
        batch = take(arrays, "batch", shape=(len(cells),), dtype=np.int64)
        if not 0 <= batch.min() <= batch.max() < len(batches):
            raise ValueError(batch)
    own = {name.removeprefix(OWN): array for name, array in arrays.items() if name.startswith(OWN)}
    try:
        correction = from_arrays(own, correct=settings.correct, n_latent=model.n_latent)
    except FormatError as error:
        message = f"{path / STUDY}: {error}"
        raise FormatError(message) from error
    fitted = Fitted(
        model=model, correction=correction, codes=codes, embedding=embedding, batch=batch, cells=cells,
        **{name: content[name] for name in KIND.holds},
    )  # fmt: skip
    return settings, fitted
