"""Embed many cells in several processes of one machine: each takes a stretch of them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scssl.corpus.query import share_of_part
from scssl.errors import SettingsError
from scssl.launch import launch

if TYPE_CHECKING:
    from scssl.model.cell_model import CellModel
    from scssl.training.devices import Device


def embed_in_processes(
    model: CellModel, asked: dict[str, Any], *, n_cells: int, device: Device, devices: int
) -> np.ndarray:
    """Embed the cells of a file or corpus.

    Parameters
    ----------
    model
        The model, of which each process gets a copy.
    asked
        Arguments of `embed_part` that name the cells.
    n_cells
        How many they are.
    device
        Where to compute.
    devices
        Processes; no more are started than there are batches.

    Returns
    -------
    np.ndarray
        (n_cells, n_latent) float32, in order.

    Raises
    ------
    SettingsError
        If there are not as many devices.
    """
    if devices < 1:
        message = f"devices={devices} is not possible; it must be at least 1"
        raise SettingsError(message)
    visible = _visible_devices(device, devices)
    n_parts = max(1, min(devices, -(-n_cells // asked["batch_size"])))
    codes = np.empty((n_cells, model.n_latent), dtype=np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model.save(folder / "model")
        common = {"model": str(folder / "model"), "device": device, **asked}
        parts = [{**common, "part": [part, n_parts], "out": str(folder / f"{part}.npy")} for part in range(n_parts)]
        launch("scssl.model.parts:embed_part", parts, environments=visible[:n_parts])
        for part in range(n_parts):
            rows = share_of_part(n_cells, asked["batch_size"], part=(part, n_parts))
            codes[rows.start : rows.stop] = np.load(folder / f"{part}.npy")
    return codes


def _visible_devices(device: Device, n: int) -> list[dict[str, str]]:
    """Let each process see one CUDA device."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return [{} for _ in range(n)]
    there = torch.cuda.device_count()
    if n > there or device == "mps":
        message = f"devices={n}, but this machine has {there} CUDA devices; take as many, or device='cpu'"
        raise SettingsError(message)
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = named.split(",") if named else [str(number) for number in range(there)]
    return [{"CUDA_VISIBLE_DEVICES": names[number]} for number in range(n)]


def embed_part(
    *,
    model: str,
    part: list[int],
    out: str,
    device: Device,
    batch_size: int,
    data: str | None = None,
    layer: str | None = None,
    corpus: str | None = None,
    split: Any = None,
) -> None:
    """Embed one part of the cells, and save the codes.

    Parameters
    ----------
    model
        Folder of the model.
    part
        Which part, from 0, and of how many.
    out
        .npy file to write.
    device, batch_size
        Where to compute, and how many cells at a time.
    data, layer
        A file, and where its counts are.
    corpus, split
        Or the folder of a corpus, and a split of it.
    """
    from scssl.corpus import Corpus
    from scssl.corpus.sources.source import open_source
    from scssl.model.cell_model import CellModel

    loaded, which = CellModel.load(model), (part[0], part[1])
    if data is not None:
        with open_source(data, layer=layer) as source:
            n_cells = source.n_cells
        batches: Any = loaded.batches(data, layer=layer, batch_size=batch_size, part=which)
        n_own = len(share_of_part(n_cells, batch_size, part=which))
    else:
        stored = Corpus.open(corpus or "")
        wanted = share_of_part(stored.n_cells(split), batch_size, part=which)
        loader = stored.loader(split=split, batch_size=batch_size, shuffle=False)
        loader.load_state_dict({**loader.state_dict(), "batch": wanted.start // batch_size})
        n_own = len(wanted)
        batches = (batch for _, batch in zip(range(0, n_own, batch_size), loader, strict=False))
    np.save(out, loaded._encode(batches, n_cells=n_own, device=device))
