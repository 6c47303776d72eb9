"""CellModel: an encoder with its gene panel, preprocessing and card. `scssl.pretraining` makes them."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scssl.cores import own_cores
from scssl.errors import DataError, FormatError, MissingExtraError, SettingsError
from scssl.log import progress
from scssl.model import files, hub, hub_client, hub_kinds
from scssl.model.example import make_example
from scssl.model.parts import embed_in_processes
from scssl.model.published import import_published
from scssl.training import Config, build_task, from_dict, resolve_device
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anndata import AnnData

    from scssl.corpus import Corpus
    from scssl.corpus.batch import CellBatch
    from scssl.corpus.store import Split
    from scssl.genes import GenePanel
    from scssl.nn import Encoder
    from scssl.pretext import PretextTask
    from scssl.training.devices import Device


@dataclass(kw_only=True, repr=False)
class CellModel:
    """A pre-trained encoder, with all that is needed to use it on new cells.

    Make one with `pretrain`, or read one with `load`.

    Examples
    --------
    >>> import scssl
    >>> model = scssl.load("model/")  # doctest: +SKIP
    >>> adata.obsm["X_scssl"] = model.embed(adata)  # doctest: +SKIP
    """

    task: PretextTask
    """Pretext task with the trained encoder (and, for `masked`, the decoder)."""
    panel: GenePanel
    """Genes that the encoder reads, in order."""
    config: Config
    """Settings of the pre-training."""
    sources: list[str]
    """Sources of the corpus, in the order of their codes."""
    card: dict[str, Any] = field(default_factory=dict)
    """What it was trained on and how that went: data, metrics, licence, limits, versions."""

    def __repr__(self) -> str:
        first = f"CellModel: {len(self.panel):,} genes ({self.panel.name}) in, {self.n_latent} numbers out\n"
        if origin := self.card.get("origin"):
            kind, checkpoint, doi = origin.get("kind"), origin.get("checkpoint"), origin.get("doi")
            return f"{first}    {kind} of doi {doi}\n    imported from {checkpoint}"
        training, cells = self.card.get("training", {}), self.card.get("data", {}).get("cells", {})
        n_epochs, n_sources = training.get("epochs", "?"), len(self.sources)
        return (
            f"{first}"
            f"    pretext {self.config.pretext!r}, preset {self.config.preset!r}, "
            f"{n_epochs} epoch{'' if n_epochs == 1 else 's'}\n"
            f"    trained on {count(cells.get('train', 0), 'cell')} of {count(n_sources, 'source')}"
        )

    @property
    def encoder(self) -> Encoder:
        """The network from cells to codes."""
        return self.task.encoder

    @property
    def n_latent(self) -> int:
        """Width of the embedding."""
        return self.encoder.n_latent

    def batches(
        self,
        data: AnnData | Path | str,
        *,
        layer: str | None = None,
        batch_size: int = 4096,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[CellBatch]:
        """Read new cells onto the model's panel, in order and in bounded memory.

        Parameters
        ----------
        data
            AnnData, or a file: .h5ad, .zarr, .h5mu, a 10x .h5 or a 10x mtx folder.
        layer
            Where the raw counts are: None for ``X``, ``"raw"`` for ``.raw``, else the name of a layer.
        batch_size
            Cells per batch.
        part
            Which part of the cells, from 0, and of how many parts, each of whole batches.

        Yields
        ------
        CellBatch
            Raw counts of the next cells.

        Raises
        ------
        DataError
            If the values are not counts, or too few genes are known.
        """
        from scssl.corpus.query import query_batches

        share = self.encoder.gene_share.cpu().numpy()
        yield from query_batches(data, self.panel, gene_share=share, layer=layer, batch_size=batch_size, part=part)

    def embed(
        self,
        data: AnnData | Path | str,
        *,
        layer: str | None = None,
        batch_size: int = 4096,
        device: Device = "auto",
        devices: int = 1,
    ) -> np.ndarray:
        """Embed cells; nothing is written to the input.

        Parameters
        ----------
        data
            AnnData of any size, or a file: .h5ad, .zarr, .h5mu, a 10x .h5 or a 10x mtx folder. Memory stays bounded
            for files.
        layer
            Where the raw counts are: None for ``X``, ``"raw"`` for ``.raw``, else the name of a layer.
        batch_size
            Cells encoded at a time.
        device
            Where to compute.
        devices
            Processes that share the cells of a file, one per CUDA device (or several on the cpu); the result is the
            same.

        Returns
        -------
        np.ndarray
            (n_cells, n_latent) float32, rows in the order of the input.

        Raises
        ------
        DataError
            If the values are not counts, or too few genes are known.
        """
        from scssl.corpus.sources.source import open_source

        with open_source(data, layer=layer) as source:
            n_cells = source.n_cells
        if devices != 1:
            if not isinstance(data, str | Path):
                message = f"devices={devices} is for files, which each process can read; save the AnnData to one"
                raise SettingsError(message)
            asked = {"data": str(data), "layer": layer, "batch_size": batch_size}
            return embed_in_processes(self, asked, n_cells=n_cells, device=device, devices=devices)
        return self._encode(self.batches(data, layer=layer, batch_size=batch_size), n_cells=n_cells, device=device)

    def embed_corpus(
        self, corpus: Corpus, *, split: Split, batch_size: int = 4096, device: Device = "auto", devices: int = 1
    ) -> np.ndarray:
        """Embed one split of a corpus, rows in the order of ``corpus.obs(split)``.

        Parameters
        ----------
        corpus
            Corpus over the model's panel.
        split
            ``"train"``, ``"val"`` or ``"test"``.
        batch_size
            Cells encoded at a time.
        device
            Where to compute.
        devices
            Processes that share the cells of a corpus on disk, as in `embed`.

        Returns
        -------
        np.ndarray
            (n_cells, n_latent) float32.

        Raises
        ------
        SettingsError
            If the corpus has other genes than the model.
        """
        if corpus.panel != self.panel:
            message = f"the corpus is on {corpus.panel!r}, the model on {self.panel!r}; build it with --genes MODEL_DIR"
            raise SettingsError(message)
        if devices != 1:
            if corpus.path is None:
                message = f"devices={devices} is for corpora on disk, which each process can read"
                raise SettingsError(message)
            asked = {"corpus": str(corpus.path), "split": split, "batch_size": batch_size}
            return embed_in_processes(self, asked, n_cells=corpus.n_cells(split), device=device, devices=devices)
        loader = corpus.loader(split=split, batch_size=batch_size, shuffle=False)
        return self._encode(loader, n_cells=corpus.n_cells(split), device=device)

    def _encode(self, batches: Iterable[CellBatch], *, n_cells: int, device: Device) -> np.ndarray:
        target = resolve_device(device)
        encoder = self.encoder.to(target).eval()
        # One array from the start: small results kept one by one, each allocated behind the large tensors of its batch,
        # would keep the memory of every batch from being used again.
        codes = np.empty((n_cells, self.n_latent), dtype=np.float32)
        done = 0
        with progress("embedding", n_cells) as advance, torch.inference_mode(), own_cores(target):
            for batch in batches:
                codes[done : done + batch.n_cells] = encoder.embed(batch.to(target)).float().cpu().numpy()
                done += batch.n_cells
                advance(batch.n_cells)
        return codes

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the model to a folder: model.safetensors, config.json, genes.tsv, README.md.

        Parameters
        ----------
        path
            Folder to make.
        overwrite
            Replace a model that is there.

        Raises
        ------
        SettingsError
            If there is something at `path` already.
        """
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.task.state_dict().items()}
        manifest = {
            "config": asdict(self.config),
            "n_genes": len(self.panel),
            "sources": self.sources,
            "panel": {"name": self.panel.name, "species": self.panel.species, "fingerprint": self.panel.fingerprint},
            "preprocessing": {
                "input": "raw counts",
                "transform": "log1p",
                "target_sum": self.config.target_sum,
                "centred": bool(self.encoder.states.mean.any()),
            },
            "example": make_example(self.encoder),
            "card": self.card,
        }
        files.write(
            Path(path),
            manifest=manifest,
            weights=weights,
            panel=self.panel,
            programmes=self.task.programmes,
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, path: Path | str) -> CellModel:
        """Read a model from a folder. Nothing is unpickled and nothing executed.

        Parameters
        ----------
        path
            Folder of the model.

        Raises
        ------
        FormatError
            If the folder is not a model, or is truncated, altered or of a later version.
        """
        manifest, weights, panel = files.read(Path(path))
        programmes = files.read_programmes(Path(path), panel)
        shape: dict[str, Any] = {"n_genes": len(panel), "n_sources": len(manifest["sources"]), "programmes": programmes}
        try:
            config = from_dict(Config, manifest["config"], where=f"{path}/config.json")
            # A network without memory first: settings that were tampered with could ask for more than there is. Tasks
            # of other packages may compute while they are made, which such a network cannot.
            with contextlib.suppress(NotImplementedError), torch.device("meta"):
                blank = build_task(config, **shape)
                files.check_weights(blank, weights, path=Path(path))
        except SettingsError as error:
            message = f"{Path(path) / files.CONFIG} has settings that cannot be: {error}"
            raise FormatError(message) from error
        task = build_task(config, **shape)
        files.load_weights(task, weights, path=Path(path))
        return cls(
            task=task.eval(), panel=panel, config=config, sources=list(manifest["sources"]), card=manifest["card"]
        )

    @classmethod
    def from_published(
        cls,
        path: Path | str,
        *,
        genes: GenePanel | Sequence[str] | Path | str | None = None,
        licence: str | None = None,
    ) -> CellModel:
        """Import one of the networks that the paper published (doi 10.1038/s42256-024-00934-3).

        Its codes are those of the plain network on ``log1p(1e4 * counts / total)``. Nothing pickled in the checkpoint
        is executed.

        Parameters
        ----------
        path
            Checkpoint of Lightning, bare weights of torch, or a .safetensors file of the weights: an encoder of
            genes-512-512-256-256-64 with SELU, called ``encoder.*`` (masked), ``inner_model.*`` (BYOL) or
            ``backbone.*`` (Barlow Twins).
        genes
            The genes that it reads, in the order of its inputs: a panel, IDs, or a file (a table with a column ``id``,
            ``gene_id`` or ``feature_id``, or one gene per line). Not needed where the checkpoint lists them; never
            guessed.
        licence
            Of the weights, for the model card, e.g. ``"mit"``.

        Returns
        -------
        CellModel
            An encoder without a decoder: for `embed`, `scssl.tasks.Annotator`, or to go on from by
            ``pretrain(..., init=model)``.

        Raises
        ------
        FormatError
            If the checkpoint holds other objects than tensors, or another network.
        DataError
            If the list of genes has another length than the first layer, or lists one twice.
        SettingsError
            If there is no list of genes.
        """
        parts = import_published(path, genes=genes, licence=licence)
        return cls(task=parts.task, panel=parts.panel, config=parts.config, sources=[], card=parts.card)


def load(path: Path | str) -> CellModel:
    """Read a model from a folder, or from the Hugging Face hub.

    Nothing is unpickled and nothing executed; see `CellModel.load`, and `scssl.hub.pull` for what is fetched.

    Parameters
    ----------
    path
        Folder of the model, or ``"owner/name"`` or ``"owner/name@revision"`` of one on the hub (needs the extra
        ``hub``). A folder of that name comes first.

    Raises
    ------
    FormatError
        If it is not a model, or is truncated, altered or of a later version.
    DataError
        If it is no folder, and the hub has no such model or cannot be reached.
    """
    folder = find(path)
    inside = folder / hub_kinds.INSIDE
    on_hub = folder != Path(path)
    # A saved task, whose model can be used without it.
    return CellModel.load(inside if on_hub and not (folder / files.CONFIG).exists() else folder)


def find(path: Path | str) -> Path:
    """Return the folder of a model or of a saved task, which is fetched if it is on the Hugging Face hub.

    Parameters
    ----------
    path
        See `load`.

    Raises
    ------
    DataError
        If it is no folder, and the hub has no such model or cannot be reached.
    """
    if not _is_on_hub(path):
        return Path(path)
    try:
        return hub.pull(str(path))
    except (MissingExtraError, DataError) as error:
        message = f"{path} is no folder here; as a model on the hub: {error}"
        raise type(error)(message) from error


def _is_on_hub(path: Path | str) -> bool:
    """Say whether a text means a model on the hub. A missing folder within one that is there is a mistake, no ID."""
    if Path(path).exists() or not hub_client.HubId.like(str(path)):
        return False
    return "@" in str(path) or not Path(path).parent.is_dir()
