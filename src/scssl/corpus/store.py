"""A corpus: cells of many sources over one gene panel, in shards on disk or in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scssl.corpus import size_factors
from scssl.corpus.format import manifest
from scssl.corpus.format.manifest import SPLITS
from scssl.corpus.format.shard import Shard, open_shard
from scssl.corpus.format.tables import (
    check_lengths,
    count_sources,
    groups_name,
    read_groups,
    read_obs,
    read_panel,
    read_table,
    table_names,
)
from scssl.corpus.format.verify import verify_folder
from scssl.corpus.settings import BuildSettings, Compress, Duplicates
from scssl.errors import FormatError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from scssl.corpus.loader.loader import CorpusLoader
    from scssl.genes import GenePanel

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """Raw counts of cells from many sources over one gene panel, split into train, val and test.

    Make one with `build` (on disk, any size), `from_anndata` (in memory) or `open`.

    Example
    -------
    >>> import scssl
    >>> corpus = scssl.Corpus.from_anndata(scssl.datasets.simulate_atlas(n_cells=300), obs=["cell_type"])
    >>> sum(batch.n_cells for batch in corpus.loader(split="train", batch_size=64)) == corpus.n_cells("train")
    True
    """

    panel: GenePanel
    """The genes."""
    sources: list[str]
    """Names of the sources; a cell's source code is a position in it."""
    categories: dict[str, list[str]]
    """Per kept obs column the names of its codes."""
    measured: NDArray[np.bool_]
    """(n_sources, n_genes) which panel genes each source measured."""
    gene_counts: NDArray[np.int64]
    """(n_sources, n_genes) total raw counts in the train split."""
    shards: list[Shard]
    """In the order train, val, test; shards added later come last."""
    settings: Mapping[str, Any]
    """How it was built."""
    report: Mapping[str, Any]
    """What happened while it was built: per source, cells read, kept and left out, and why."""
    generation: int = 0
    """How many times cells were added to it."""
    path: Path | None = None
    """Its folder, None when it is in memory."""
    digest: str = ""
    """sha256 of its manifest when it was opened."""

    @classmethod
    def build(
        cls,
        files: Sequence[str | Path] | str | Path,
        out: str | Path,
        *,
        genes: str | Path | GenePanel = "human",
        obs: Sequence[str] = (),
        layer: str | None = None,
        source: str | None = None,
        measured: str | None = None,
        where: str | None = None,
        unlabelled: Sequence[str] = (),
        min_counts: int = 0,
        min_genes: int = 0,
        max_mito: float = 1.0,
        duplicates: Duplicates = "drop",
        split_by: str = "donor",
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
        compress: Compress | None = None,
        overwrite: bool = False,
        workers: int = 1,
        dask: str | None = None,
    ) -> Corpus:
        """Build a corpus on disk from any number of files, in bounded memory.

        A build that was killed is gone on with when it is asked for again.

        Parameters
        ----------
        files
            .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folders with raw counts; folders or addresses of SOMA experiments;
            ``census:VERSION`` for the CELLxGENE Census.
        out
            Folder to make. It appears only when it is complete.
        genes, obs, layer, source, measured, where, unlabelled, split_by, val, test, seed
            See `BuildSettings`.
        min_counts, min_genes, max_mito, duplicates, compress
            See `BuildSettings`.
        overwrite
            Replace a corpus that is already there.
        workers
            Processes to work with; more than one needs Dask. In a script, what starts it must stand under
            ``if __name__ == "__main__":``.
        dask
            Address of a Dask scheduler to work on instead; its workers must see the same files.

        Raises
        ------
        ScsslError
            If a file, a column or a setting cannot be used; nothing is left at `out`.
        """
        from scssl.corpus.build.create import build

        settings = BuildSettings.of(
            genes=genes, obs=obs, layer=layer, source=source, measured=measured, where=where, unlabelled=unlabelled,
            min_counts=min_counts, min_genes=min_genes, max_mito=max_mito, duplicates=duplicates, split_by=split_by,
            val=val, test=test, seed=seed, compress=compress,
        )  # fmt: skip
        build(files, out, settings=settings, overwrite=overwrite, workers=workers, dask=dask)
        return cls.open(out)

    def append(
        self,
        files: Sequence[str | Path] | str | Path,
        *,
        workers: int = 1,
        dask: str | None = None,
        **settings: Any,
    ) -> Corpus:
        """Add the cells of more files to a corpus on disk, which stays usable meanwhile.

        Genes, the donors' splits and the meaning of all codes stay as they are; donors that are new are shared out. The
        cells become shards of their own, and the corpus is the old one until all of them are written.

        Parameters
        ----------
        files
            As for `build`.
        workers, dask
            As for `build`.
        **settings
            Of `BuildSettings`, where they differ from those that the corpus was built with: ``obs`` (the same columns,
            found under other names), ``layer``, ``source``, ``measured``, ``where``, ``unlabelled``, ``min_counts``,
            ``min_genes``, ``max_mito``, ``duplicates``.

        Returns
        -------
        Corpus
            The corpus with the new cells.

        Raises
        ------
        ScsslError
            If a file, a column or a setting cannot be used; the corpus then is as before.
        """
        from scssl.corpus.build.append import append

        append(self, files, workers=workers, dask=dask, **settings)
        assert self.path is not None
        return type(self).open(self.path)

    @classmethod
    def from_anndata(
        cls,
        adata: AnnData,
        *,
        genes: str | Path | GenePanel = "human",
        obs: Sequence[str] = (),
        layer: str | None = None,
        source: str | None = None,
        measured: str | None = None,
        where: str | None = None,
        unlabelled: Sequence[str] = (),
        min_counts: int = 0,
        min_genes: int = 0,
        max_mito: float = 1.0,
        duplicates: Duplicates = "drop",
        split_by: str = "donor",
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
    ) -> Corpus:
        """Make a corpus in memory from an AnnData with raw counts; `adata` is not changed.

        Parameters
        ----------
        adata
            Cells with raw counts.
        genes, obs, layer, source, measured, where, unlabelled, split_by, val, test, seed
            See `BuildSettings`.
        min_counts, min_genes, max_mito, duplicates
            See `BuildSettings`.

        Raises
        ------
        ScsslError
            If the values are no counts, or a column or a setting cannot be used.
        """
        from scssl.corpus.build.memory import build_in_memory

        settings = BuildSettings.of(
            genes=genes, obs=obs, layer=layer, source=source, measured=measured, where=where, unlabelled=unlabelled,
            min_counts=min_counts, min_genes=min_genes, max_mito=max_mito, duplicates=duplicates, split_by=split_by,
            val=val, test=test, seed=seed,
        )  # fmt: skip
        return build_in_memory(adata, settings=settings)

    @classmethod
    def open(cls, path: str | Path) -> Corpus:
        """Open a corpus on disk: sizes are checked, checksums only by `verify`.

        Parameters
        ----------
        path
            Its folder.

        Raises
        ------
        FormatError
            If a file is missing, truncated or altered, or a newer version of scssl wrote it.
        """
        root = Path(path)
        content = manifest.read_manifest(root)
        manifest.check_sizes(root, content)
        panel = read_panel(root, content["panel"])
        sources = [entry["name"] for entry in content["sources"]]
        categories = dict(content["columns"])
        shape = (len(sources), len(panel))
        generation = content.get("generation", 0)
        measured, gene_counts = table_names(generation)
        try:
            shards = [open_shard(root / e["path"], e, columns=list(categories)) for e in content["shards"]]
        except (KeyError, TypeError) as error:
            message = f"{root / manifest.FILE}: an entry of 'shards' cannot be understood ({error})"
            raise FormatError(message) from error
        for entry, shard in zip(content["shards"], shards, strict=True):
            check_lengths(root, entry["path"], shard, content["files"])
        return cls(
            panel=panel,
            sources=sources,
            categories=categories,
            measured=read_table(root / measured, shape, np.dtype(bool)),
            gene_counts=read_table(root / gene_counts, shape, np.dtype(np.int64)),
            shards=shards,
            settings=content["settings"],
            report=content["report"],
            generation=generation,
            path=root,
            digest=content["sha256"],
        )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over genes, sources, sizes and total counts: tells whether two runs were given the same cells."""
        digest = hashlib.sha256("\n".join([self.panel.fingerprint, *self.sources]).encode())
        digest.update(repr([(shard.split, shard.n_cells) for shard in self.shards]).encode())
        digest.update(self.gene_counts.tobytes())
        return digest.hexdigest()

    def n_cells(self, split: Split | None = None) -> int:
        """Count the cells in a split, or in all.

        Parameters
        ----------
        split
            ``train``, ``val``, ``test``, or None for all.
        """
        return sum(shard.n_cells for shard in self.shards_of(split))

    def shards_of(self, split: Split | None = None) -> list[Shard]:
        """List the shards of a split in stored order, or all.

        Parameters
        ----------
        split
            ``train``, ``val``, ``test``, or None for all.
        """
        if split not in (None, *SPLITS):
            message = f"split={split!r} is not possible; choose one of {', '.join(SPLITS)}"
            raise SettingsError(message)
        return [shard for shard in self.shards if split in (None, shard.split)]

    def obs(self, split: Split | None = None) -> pd.DataFrame:
        """Read the cells' annotations, in stored order.

        Parameters
        ----------
        split
            ``train``, ``val``, ``test``, or None for all.

        Returns
        -------
        pandas.DataFrame
            Indexed by cell name: ``source``, ``split`` and the kept columns as categoricals, ``n_counts`` int64.
        """
        return read_obs(self.shards_of(split), sources=self.sources, categories=self.categories)

    def groups(self) -> list[tuple[str, str, str, int]]:
        """Which groups (donors) are in which split: source, group, split, cells; none if cells were split singly."""
        if self.path is None or self.settings["split_by"] == "cell":
            return []
        return read_groups(self.path / groups_name(self.generation))

    def loader(
        self,
        *,
        split: Split = "train",
        batch_size: int = 1024,
        shuffle: bool = True,
        seed: int = 0,
        labels: Sequence[str] = (),
        where: str | None = None,
        balance: str | None = None,
        max_repeats: int = 10,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        share_batches: bool = False,
        workers: int = 2,
        pin_memory: bool = False,
    ) -> CorpusLoader:
        """Iterate over the cells of a split as `CellBatch`.

        Parameters
        ----------
        split, batch_size, shuffle, seed, labels, where, balance, max_repeats, drop_last, rank, world_size
            See `CorpusLoader`.
        share_batches, workers, pin_memory
            See `CorpusLoader`.
        """
        from scssl.corpus.loader.loader import CorpusLoader

        return CorpusLoader(
            self, split=split, batch_size=batch_size, shuffle=shuffle, seed=seed, labels=labels, where=where,
            balance=balance, max_repeats=max_repeats, drop_last=drop_last, rank=rank, world_size=world_size,
            share_batches=share_batches, workers=workers, pin_memory=pin_memory,
        )  # fmt: skip

    @cached_property
    def source_cells(self) -> NDArray[np.int64]:
        """(n_sources,) cells of each source in the train split."""
        return count_sources(self.shards_of("train"), n_sources=len(self.sources))

    @cached_property
    def _gene_share(self) -> NDArray[np.float32]:
        return size_factors.gene_share(self.gene_counts, self.measured, n_cells=self.source_cells)

    def gene_share(self) -> NDArray[np.float32]:
        """(n_genes,) share of a typical cell's counts that falls on each gene; see `size_factors.gene_share`."""
        return self._gene_share.copy()

    def measured_share(self) -> NDArray[np.float32]:
        """(n_sources,) share of a typical cell's counts that falls on the genes that each source measured."""
        return size_factors.measured_share(self.gene_share(), self.measured)

    def info(self) -> dict[str, Any]:
        """Sizes, donors, types, what was left out, and settings, as plain values; see `summary.summarise`."""
        from scssl.corpus.summary import summarise

        return summarise(self)

    def n_bytes(self) -> int:
        """Size on disk, or of the counts when in memory."""
        if self.path is None:
            return sum(np.asarray(part).nbytes for s in self.shards for part in (s.values, s.indices, s.indptr))
        return sum(int(entry["bytes"]) for entry in manifest.read_manifest(self.path)["files"].values())

    def verify(self) -> list[str]:
        """Recompute the checksum of every file.

        Returns
        -------
        list of str
            One sentence per file that is missing, altered or unknown; empty when the corpus is whole.
        """
        return [] if self.path is None else verify_folder(self.path)[1]
