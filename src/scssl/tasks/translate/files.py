"""The folder of a saved translator: settings, head and model."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import FormatError, SettingsError
from scssl.files import usual_permissions
from scssl.tasks.seal import check, seal
from scssl.tasks.translate.fitted import Fitted, Neighbours
from scssl.tasks.translate.scale import Scale
from scssl.tasks.translate.settings import GIVES, TranslatorSettings
from scssl.training.config import from_dict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scssl.nn.heads import ReadoutHead

FORMAT, FORMAT_VERSION = "scssl-translator", 1
SETTINGS, WEIGHTS, MODEL = "translator.json", "translator.safetensors", "model"
MAX_SETTINGS_BYTES: Final = 256 * 2**20
HEAD: Final = "head."


def write(path: Path, fitted: Fitted, *, settings: TranslatorSettings, overwrite: bool) -> None:
    """Write a folder that appears only when complete.

    Raises
    ------
    SettingsError
        If there is something at `path` that is not a translator to overwrite.
    """
    from safetensors.numpy import save_file

    if path.exists() and not (overwrite and (path / SETTINGS).is_file()):
        fix = "it is not a translator, choose another folder" if overwrite else "choose another folder, or overwrite it"
        message = f"{path} exists already; {fix}"
        raise SettingsError(message)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        fitted.model.save(folder / MODEL)
        save_file({name: np.ascontiguousarray(a) for name, a in _arrays(fitted).items()}, folder / WEIGHTS)
        usual_permissions(folder / WEIGHTS)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scssl_version": version("scssl"),
            "settings": asdict(settings),
            "scale": fitted.scale.to_dict(),
            "reference": fitted.reference,
            "target": fitted.target,
            "n_cells": fitted.n_cells,
            "fingerprint": fitted.fingerprint,
            "training": fitted.training,
        }
        (folder / SETTINGS).write_text(seal(folder, content), encoding="utf-8", newline="\n")
        if path.exists():
            shutil.move(path, Path(scratch) / "old")
        os.replace(folder, path)  # noqa: PTH105


def read(path: Path) -> tuple[TranslatorSettings, Fitted]:
    """Read and check a folder.

    Raises
    ------
    FormatError
        If anything is missing, altered, malformed, of a later version, or does not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from scssl.model import load

    file = path / SETTINGS
    if not file.is_file():
        message = f"{path} is not a translator: it has no {SETTINGS}"
        raise FormatError(message)
    content = _read_settings(file)
    try:
        settings = from_dict(TranslatorSettings, content["settings"], where=str(file))
        scale = Scale(**content["scale"])
        reference, target, n_cells = str(content["reference"]), str(content["target"]), int(content["n_cells"])
        fingerprint, training = str(content.get("fingerprint", "")), dict(content["training"])
    except (SettingsError, KeyError, TypeError, ValueError) as error:
        message = f"{file} is incomplete or malformed: {error}"
        raise FormatError(message) from error
    try:
        arrays = dict(load_file(path / WEIGHTS))
    except (OSError, SafetensorError) as error:
        message = f"{path / WEIGHTS} cannot be read, it is missing, truncated or altered: {error}"
        raise FormatError(message) from error
    model = load(path / MODEL)
    n_features = len(scale.names)
    try:
        if scale.likelihood not in GIVES or len(scale.share) != n_features or arrays["mean"].shape != (n_features,):
            raise KeyError(scale.likelihood)
        predictor = (
            _neighbours(arrays, k=settings.k, shape=(model.n_latent, n_features))
            if settings.mode == "zero_shot"
            else _head(arrays, scale, hidden=settings.training.hidden, n_latent=model.n_latent)
        )
    except (KeyError, RuntimeError) as error:
        message = f"{path / WEIGHTS} does not fit {file}: altered, or of another translator"
        raise FormatError(message) from error
    fitted = Fitted(
        model=model,
        predictor=predictor,
        scale=scale,
        mean=arrays["mean"],
        reference=reference,
        target=target,
        n_cells=n_cells,
        fingerprint=fingerprint,
        training=training,
    )
    return settings, fitted


def _arrays(fitted: Fitted) -> dict[str, NDArray[np.float32]]:
    arrays = {"mean": fitted.mean.astype(np.float32)}
    predictor = fitted.predictor
    if isinstance(predictor, Neighbours):
        arrays |= {"embedding": predictor.embedding, "scaled": predictor.scaled}
        return arrays if predictor.expected is None else {**arrays, "expected": predictor.expected}
    return arrays | {f"{HEAD}{name}": value.detach().cpu().numpy() for name, value in predictor.state_dict().items()}


def _neighbours(arrays: dict[str, Any], *, k: int, shape: tuple[int, int]) -> Neighbours:
    embedding, scaled = arrays["embedding"], arrays["scaled"]
    if (embedding.shape[1:], scaled.shape) != (shape[:1], (len(embedding), shape[1])) or not len(embedding):
        raise KeyError(embedding.shape)
    return Neighbours(embedding=embedding, scaled=scaled, expected=arrays.get("expected"), k=k)


def _head(arrays: dict[str, Any], scale: Scale, *, hidden: int, n_latent: int) -> ReadoutHead:
    import torch

    from scssl.nn.heads import HEADS

    head = HEADS[scale.likelihood](n_latent, len(scale.names), hidden=hidden)
    head.load_state_dict(
        {name.removeprefix(HEAD): torch.from_numpy(a) for name, a in arrays.items() if name.startswith(HEAD)}
    )
    return head.eval()


def _read_settings(file: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_SETTINGS_BYTES:
        message = f"{file} is larger than any translator's settings ({file.stat().st_size:,} bytes)"
        raise FormatError(message)
    try:
        text = file.read_bytes().decode()
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"{file} is not JSON: {error}"
        raise FormatError(message) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        message = f"{file} does not describe a translator of scssl"
        raise FormatError(message)
    number = content.get("format_version")
    if not isinstance(number, int) or number > FORMAT_VERSION:
        message = (
            f"{file} has format version {number!r}; this scssl reads up to {FORMAT_VERSION}. Run: pip install -U scssl"
        )
        raise FormatError(message)
    check(file, text=text, content=content, what="translator")
    return content
