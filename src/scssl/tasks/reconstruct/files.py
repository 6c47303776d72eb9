"""What the folder of a saved reconstructor holds: settings, how far its values stray, and the model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from scssl.tasks.reconstruct.learn import Fitted
from scssl.tasks.reconstruct.settings import ReconstructorSettings
from scssl.tasks.saved import Kind, read_arrays, read_model

if TYPE_CHECKING:
    from pathlib import Path

SPREAD: Final = "spread.safetensors"
KIND: Final = Kind(
    named="a reconstructor", format="scssl-reconstructor", version=1, settings="reconstructor.json",
    holds={"reference": str, "n_reference": int, "fingerprint": str, "training": dict},
)  # fmt: skip


def write(path: Path, fitted: Fitted, *, settings: ReconstructorSettings, overwrite: bool) -> None:
    """Write a folder that appears only when complete; see `Kind.write`."""
    content = {**asdict(settings), **{name: getattr(fitted, name) for name in KIND.holds}}
    arrays = {SPREAD: {} if fitted.spread is None else {"spread": fitted.spread}}
    KIND.write(path, content, model=fitted.model, arrays=arrays, overwrite=overwrite)


def read(path: Path) -> tuple[ReconstructorSettings, Fitted]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    content = KIND.read(path)
    settings, model, spread = KIND.own_settings(ReconstructorSettings, content, path), read_model(path), None
    if (path / SPREAD).is_file():
        with KIND.using(path / SPREAD):
            # Of some genes it is not known.
            spread = read_arrays(path / SPREAD)["spread"]
            if spread.shape != (len(model.panel),):
                raise ValueError(spread.shape)
    return settings, Fitted(model=model, spread=spread, **{name: content[name] for name in KIND.holds})
