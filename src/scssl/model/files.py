"""The files of a model folder: written at once, read without executing anything."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scssl.corpus.format.manifest import checksum, file_entries
from scssl.errors import FormatError, SettingsError
from scssl.files import read_described, usual_permissions
from scssl.genes import GenePanel
from scssl.genes.programmes import Programmes
from scssl.model.card import card_text

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scssl.corpus import Corpus
    from scssl.training import Config

FORMAT, FORMAT_VERSION = "scssl-model", 1
LAST = "last.ckpt"
RUN_SETTINGS = "settings.json"
WEIGHTS, CONFIG, GENES, CARD = "model.safetensors", "config.json", "genes.tsv", "README.md"
PROGRAMMES = "programmes.gmt"
"""There only if the pretext task used gene programmes."""
SAVING = ".saving-"
MAX_CONFIG_BYTES = MAX_TEXT_BYTES = 64 * 2**20
MAX_LAYERS, MAX_PROGRAMMES = 64, 100_000
_CARD: dict[str, type] = {
    "data": dict,
    "training": dict,
    "metrics": dict,
    "versions": dict,
    "origin": dict,
    "licence": str,
    "limits": str,
}
_REQUIRED = {"config": dict, "n_genes": int, "sources": list, "panel": dict, "card": dict}


def versions() -> dict[str, str]:
    """Return the versions that decide a model's numbers."""
    packages = ("scssl", "torch", "lightning", "numpy", "anndata")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def write(
    path: Path,
    *,
    manifest: dict[str, Any],
    weights: dict[str, Tensor],
    panel: GenePanel,
    programmes: Programmes | None = None,
    overwrite: bool,
) -> None:
    """Write the files of a model into a folder; the config comes last, so that a folder with it is complete.

    Raises
    ------
    SettingsError
        If `path` holds a model already and `overwrite` is not set, or is a file.
    """
    from safetensors.torch import save_file

    check_free(path, overwrite=overwrite)
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path, prefix=SAVING) as scratch:
        folder = Path(scratch)
        save_file(weights, folder / WEIGHTS)
        usual_permissions(folder / WEIGHTS)
        panel.save(folder / GENES)
        (folder / CARD).write_text(card_text(manifest), encoding="utf-8")
        entries = [folder / WEIGHTS, folder / GENES]
        if programmes is not None:
            programmes.save(folder / PROGRAMMES, panel=panel)
            entries.append(folder / PROGRAMMES)
        # The card is for people, who may write in it.
        manifest = {**manifest, "files": file_entries(folder, entries)}
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "scssl_version": version("scssl")}
        (folder / CONFIG).write_text(json.dumps({**head, **manifest}, indent=2), encoding="utf-8")
        names = [WEIGHTS, GENES, CARD, CONFIG]
        if programmes is not None:
            names.insert(0, PROGRAMMES)
        # A model that is replaced stays whole until all of the new one is on the disk.
        (path / CONFIG).unlink(missing_ok=True)
        if programmes is None:
            (path / PROGRAMMES).unlink(missing_ok=True)
        for name in names:
            os.replace(folder / name, path / name)  # noqa: PTH105


def check_free(path: Path, *, overwrite: bool) -> None:
    """Check that a model can be written to a folder.

    Raises
    ------
    SettingsError
        If `path` holds a model already and `overwrite` is not set, is a file, or holds somebody's README.md.
    """
    if path.is_file() or ((path / CONFIG).exists() and not overwrite):
        message = f"{path} exists already; choose another folder, or overwrite it"
        raise SettingsError(message)
    # Weights come first when a model is saved, so a card alone is none of ours.
    if (path / CARD).exists() and not (path / CONFIG).exists() and not (path / WEIGHTS).exists():
        message = f"{path} holds a {CARD} that is no model's, and would be replaced; choose another folder"
        raise SettingsError(message)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], GenePanel]:
    """Read and check the files of a model folder.

    Returns
    -------
    tuple
        What config.json says, the weights by name, the gene panel.

    Raises
    ------
    FormatError
        If anything is missing, malformed, of a later version, or does not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_dir():
        message = f"{path}: there is no such model folder"
        raise FormatError(message)
    if not (path / CONFIG).is_file():
        unfinished = (path / RUN_SETTINGS).is_file()
        why = "its training has not finished; go on with --resume" if unfinished else f"it has no {CONFIG}"
        if (path / "corpus.json").is_file():
            why = f"it is a corpus, of which one is made with: scssl pretrain {path} --out model"
        # As what tasks save has.
        why += f", but holds one: give {path / 'model'}" if (path / "model" / CONFIG).is_file() else ""
        message = f"{path} is not a model: {why}"
        raise FormatError(message)
    manifest = _read_manifest(path / CONFIG)
    if (path / GENES).is_file():
        _check_size(path / GENES, largest=MAX_TEXT_BYTES)
    panel = GenePanel.from_file(path / GENES) if (path / GENES).is_file() else None
    if panel is None or len(panel) != manifest["n_genes"] or panel.fingerprint != manifest["panel"].get("fingerprint"):
        message = f"{path / GENES} is not the list of {manifest['n_genes']:,} genes that the model was saved with"
        raise FormatError(message)
    if not (path / WEIGHTS).is_file():
        # Not even opened: what stands there instead, such as a named pipe, could keep us waiting for ever.
        message = f"{path / WEIGHTS} is missing"
        raise FormatError(message)
    try:
        weights = load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        message = f"{path / WEIGHTS} cannot be read, it is missing, truncated or altered: {error}"
        raise FormatError(message) from error
    _check_files(path, manifest.get("files"))
    return manifest, weights, panel


def _check_files(path: Path, files: Any) -> None:
    """Compare the files with their checksums, which models of the first days do not have."""
    if files is None:
        return
    if not isinstance(files, dict) or not {WEIGHTS, GENES} <= files.keys() <= {WEIGHTS, GENES, PROGRAMMES}:
        message = f"{path / CONFIG} is incomplete: files missing or malformed"
        raise FormatError(message)
    for name, entry in files.items():
        file = path / name
        if not file.is_file() or not isinstance(entry, dict) or checksum(file) != entry.get("sha256"):
            message = f"{file} is missing or was altered, by its checksum. Copy the model again"
            raise FormatError(message)


def read_programmes(path: Path, panel: GenePanel) -> Programmes | None:
    """Read the gene programmes of a model, None if its pretext task used none.

    Raises
    ------
    FormatError
        If the file was altered, or is larger than that of any model.
    """
    file = path / PROGRAMMES
    if not file.is_file():
        return None
    _check_size(file, largest=MAX_TEXT_BYTES)
    with file.open("rb") as stream:
        n_sets = sum(1 for _ in stream)
    if n_sets > MAX_PROGRAMMES:
        message = f"{file} lists {n_sets:,} programmes, more than any model has"
        raise FormatError(message)
    return Programmes.read(file, panel)


def _check_size(file: Path, *, largest: int) -> None:
    if file.stat().st_size > largest:
        message = f"{file} is larger than that of any model ({file.stat().st_size:,} bytes)"
        raise FormatError(message)


def _read_manifest(file: Path) -> dict[str, Any]:
    manifest, _ = read_described(
        file, named="a scssl model", kind=FORMAT, newest=FORMAT_VERSION, largest=MAX_CONFIG_BYTES
    )
    wrong = [key for key, kind in _REQUIRED.items() if not isinstance(manifest.get(key), kind)]
    if not wrong and not all(isinstance(name, str) for name in manifest["sources"]):
        wrong = ["sources"]
    card = manifest["card"] if not wrong else {}
    wrong += [f"card.{key}" for key, kind in _CARD.items() if not isinstance(card.get(key, kind()), kind)]
    metrics = card.get("metrics", {}) if not wrong else {}
    wrong += [f"card.metrics.{key}" for key, value in metrics.items() if not isinstance(value, int | float)]
    shape = manifest["config"].get("architecture") if not wrong else None
    hidden = shape.get("hidden") if isinstance(shape, dict) else None
    if isinstance(hidden, list) and len(hidden) > MAX_LAYERS:
        message = f"{file}: architecture.hidden has {len(hidden):,} layers, more than any model"
        raise FormatError(message)
    if wrong:
        message = f"{file} is incomplete: {', '.join(wrong)} missing or malformed"
        raise FormatError(message)
    return manifest


def check_weights(module: nn.Module, weights: dict[str, Tensor], *, path: Path) -> None:
    """Make sure that a module has weights of these names and shapes.

    Raises
    ------
    FormatError
        If a name or shape differs.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if expected != found:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        message = f"{path / WEIGHTS} does not fit {path / CONFIG}: {', '.join(differing[:3])} differ"
        raise FormatError(message)


def load_weights(module: nn.Module, weights: dict[str, Tensor], *, path: Path) -> None:
    """Copy weights into a module of the same shapes.

    Raises
    ------
    FormatError
        If a name or shape differs.
    """
    check_weights(module, weights, path=path)
    module.load_state_dict(weights)


def card(corpus: Corpus, settings: Config, result: dict[str, Any], *, started: float) -> dict[str, Any]:
    """Return what a model's card says of its training.

    Parameters
    ----------
    corpus
        Cells it was trained on.
    settings
        Settings of the run.
    result
        Fields of `scssl.training.FitResult`.
    started
        Seconds since the epoch at which the run began.
    """
    # A control that learns nothing has no epochs.
    last = result["history"][result["best_epoch"] - 1] if result["history"] else {}
    return {
        "data": {
            "cells": {split: corpus.n_cells(split) for split in ("train", "val", "test")},
            "sources": list(corpus.sources),
            "corpus": corpus.fingerprint,
        },
        "training": {
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(started)),
            "seconds": round(result["seconds"], 1),
            "epochs": len(result["history"]),
            "best_epoch": result["best_epoch"],
            "batch_size": result["batch_size"],
            "precision": result["precision"],
            "seed": settings.training.seed,
        },
        "metrics": {name: value for name, value in last.items() if name.endswith("loss")},
        "licence": "that of the cells it was trained on; not set",
        "limits": "Research use. Embeddings are only as good as the match between the new cells and the corpus.",
        "versions": versions(),
    }
