"""What the folder of a saved translator holds: settings, head and model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.tasks.saved import Kind, read_arrays, read_model, take
from scssl.tasks.translate.fitted import Fitted, Neighbours
from scssl.tasks.translate.scale import Scale
from scssl.tasks.translate.settings import GIVES, TranslatorSettings
from scssl.training.config import from_dict

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scssl.nn.heads import ReadoutHead

WEIGHTS: Final = "translator.safetensors"
HEAD: Final = "head."
KIND: Final = Kind(
    named="a translator", format="scssl-translator", version=1, settings="translator.json",
    holds={"settings": dict, "scale": dict, "reference": str, "target": str, "n_cells": int, "training": dict},
)  # fmt: skip


def write(path: Path, fitted: Fitted, *, settings: TranslatorSettings, overwrite: bool) -> None:
    """Write a folder that appears only when complete; see `Kind.write`."""
    content = {
        "settings": asdict(settings),
        "scale": fitted.scale.to_dict(),
        "reference": fitted.reference,
        "target": fitted.target,
        "n_cells": fitted.n_cells,
        "fingerprint": fitted.fingerprint,
        "training": fitted.training,
    }
    KIND.write(path, content, model=fitted.model, arrays={WEIGHTS: _arrays(fitted)}, overwrite=overwrite)


def read(path: Path) -> tuple[TranslatorSettings, Fitted]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    content, file = KIND.read(path), path / KIND.settings
    with KIND.using(file):
        settings = from_dict(TranslatorSettings, content["settings"], where=str(file))
        scale = Scale(**content["scale"])
    arrays, model = read_arrays(path / WEIGHTS), read_model(path)
    with KIND.using(path / WEIGHTS):
        n_features = len(scale.names)
        mean = take(arrays, "mean", shape=(n_features,))
        if scale.likelihood not in GIVES or len(scale.share) != n_features:
            raise ValueError(scale.likelihood)
        predictor = (
            _neighbours(arrays, k=settings.k, shape=(model.n_latent, n_features))
            if settings.mode == "zero_shot"
            else _head(arrays, scale, hidden=settings.training.hidden, n_latent=model.n_latent)
        )
    names = ("reference", "target", "n_cells", "training")
    fitted = Fitted(
        model=model, predictor=predictor, scale=scale, mean=mean, fingerprint=str(content.get("fingerprint", "")),
        **{name: content[name] for name in names},
    )  # fmt: skip
    return settings, fitted


def _arrays(fitted: Fitted) -> dict[str, NDArray[np.float32]]:
    arrays = {"mean": fitted.mean.astype(np.float32)}
    predictor = fitted.predictor
    if isinstance(predictor, Neighbours):
        arrays |= {"embedding": predictor.embedding, "scaled": predictor.scaled}
        return arrays if predictor.expected is None else {**arrays, "expected": predictor.expected}
    return arrays | {f"{HEAD}{name}": value.detach().cpu().numpy() for name, value in predictor.state_dict().items()}


def _neighbours(arrays: dict[str, Any], *, k: int, shape: tuple[int, int]) -> Neighbours:
    embedding = take(arrays, "embedding", shape=(None, shape[0]))
    scaled = take(arrays, "scaled", shape=(len(embedding), shape[1]))
    if not len(embedding):
        raise ValueError(shape)
    return Neighbours(embedding=embedding, scaled=scaled, expected=arrays.get("expected"), k=k)


def _head(arrays: dict[str, Any], scale: Scale, *, hidden: int, n_latent: int) -> ReadoutHead:
    import torch

    from scssl.nn.heads import HEADS

    head = HEADS[scale.likelihood](n_latent, len(scale.names), hidden=hidden)
    head.load_state_dict(
        {name.removeprefix(HEAD): torch.from_numpy(a) for name, a in arrays.items() if name.startswith(HEAD)}
    )
    return head.eval()
