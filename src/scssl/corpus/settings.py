"""How a corpus is built: the options that the command line, `Corpus.build` and `Corpus.from_anndata` share."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from scssl.corpus.format.shard import RESERVED, SOURCE
from scssl.corpus.where import Condition
from scssl.errors import SettingsError, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scssl.genes import GenePanel

_NAME: Final = re.compile(r"(?!\.)[^/\\\x00]+")
Duplicates = Literal["drop", "keep"]
Compress = Literal["zstd"]


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """Options of a build."""

    genes: str | Path | GenePanel = "human"
    """Panel: ``human``, ``mouse``, a file or folder; of the files given: ``union``, ``intersection``, ``hvg:N``."""
    obs: tuple[str, ...] = ()
    """Columns of ``obs`` to keep, as categoricals. ``cell_type=celltype_l2|annotation`` keeps as ``cell_type`` the
    first of these columns that a file has, or else its ``cell_type``. The column that splits are made by is always
    kept."""
    layer: str | None = None
    """Where the raw counts are: None is ``X``, ``raw`` is ``.raw.X``, anything else a layer."""
    source: str | None = None
    """Column of ``obs`` that names the source of each cell; None: every file is one source."""
    measured: str | None = None
    """``uns:KEY`` of a gene by source table of what was measured; None: the genes of the file."""
    where: str | None = None
    """Condition on ``obs`` columns that cells must meet, e.g. ``tissue == "blood" and age not in ["fetal"]``."""
    unlabelled: tuple[str, ...] = ()
    """Values of the kept columns that mean "not known"; the columns of source and split are left alone."""
    min_counts: int = 0
    """Leave out cells with fewer counts over all genes of their file."""
    min_genes: int = 0
    """Leave out cells with fewer genes seen, of all genes of their file."""
    max_mito: float = 1.0
    """Leave out cells with a larger share of mitochondrial counts."""
    duplicates: Duplicates = "drop"
    """What to do with copies of a cell: keep the one whose source measured most genes (the first of these), or all."""
    split_by: str = "donor"
    """Column whose values stay together in one split, or ``cell``."""
    val: float = 0.1
    """Share of the cells for validation."""
    test: float = 0.1
    """Share of the cells for testing."""
    seed: int = 0
    """Seed of the splits and of the order of cells."""
    compress: Compress | None = None
    """Store counts compressed: a quarter of the disk, slower to read."""

    @classmethod
    def of(cls, **settings: Any) -> Self:
        """Make settings from keywords; lists may be given as words separated by commas.

        Parameters
        ----------
        **settings
            Any of the fields.
        """
        for name in ("obs", "unlabelled"):
            if name in settings:
                settings[name] = _words(settings[name])
        return cls(**settings)

    def __post_init__(self) -> None:
        for name, value in (("val", self.val), ("test", self.test)):
            if not 0 <= value < 1:
                message = f"{name}={value} is not possible; it is a share of the cells, at least 0 and below 1"
                raise SettingsError(message)
        if self.val + self.test >= 1:
            message = f"val={self.val} and test={self.test} leave no cells to train on; their sum must be below 1"
            raise SettingsError(message)
        for name in ("seed", "min_counts", "min_genes"):
            require(name, getattr(self, name), holds=getattr(self, name) >= 0, must="0 or more")
        require("max_mito", self.max_mito, holds=0 < self.max_mito <= 1, must="a share, above 0 and at most 1")
        require("duplicates", self.duplicates, holds=self.duplicates in ("drop", "keep"), must="'drop' or 'keep'")
        require("compress", self.compress, holds=self.compress in (None, "zstd"), must="'zstd', or left out")
        if self.measured is not None and not self.measured.removeprefix("uns:"):
            message = f"measured={self.measured!r} is not possible; write uns:KEY, KEY being a table in uns"
            raise SettingsError(message)
        if self.measured is not None and not self.measured.startswith("uns:"):
            message = f"measured={self.measured!r} is not possible; did you mean 'uns:{self.measured}'?"
            raise SettingsError(message)
        for column in {**dict.fromkeys(self.kept), **self.stands_for}:
            if column in RESERVED:
                message = f"obs column {column!r} cannot be kept: the corpus writes a column of that name itself"
                raise SettingsError(message)
            if not _NAME.fullmatch(column) or column == "zarr.json":
                message = (
                    f"obs column {column!r} cannot be kept under this name, which is that of a folder in the corpus: "
                    "rename it without / and \\ and a dot in front, as in --obs new_name=COLUMN"
                )
                raise SettingsError(message)

    @property
    def by_cell(self) -> bool:
        """Whether cells of one donor may be in different splits."""
        return self.split_by == "cell"

    @cached_property
    def stands_for(self) -> dict[str, tuple[str, ...]]:
        """Per name given to columns of other names, those columns, the preferred first."""
        renamed: dict[str, tuple[str, ...]] = {}
        times = Counter(entry.partition("=")[0].strip() for entry in self.obs)
        twice = [name for name, n in times.items() if n > 1]
        if twice:
            message = f"obs names {twice[0]!r} more than once; give each column one name"
            raise SettingsError(message)
        for entry in self.obs:
            name, equals, columns = entry.partition("=")
            if equals:
                options = tuple(column.strip() for column in columns.split("|"))
                if not name.strip() or not all(options):
                    message = f"obs entry {entry!r} is not possible; write NAME=COLUMN, or NAME=COLUMN|OTHER COLUMN"
                    raise SettingsError(message)
                renamed[name.strip()] = options
        return renamed

    @property
    def kept(self) -> list[str]:
        """Columns that the corpus keeps: those of `obs` and the column of the splits, each once.

        A column called ``source`` that names the sources is there anyway, under that name.
        """
        columns = [entry.partition("=")[0].strip() for entry in self.obs]
        columns += [] if self.by_cell else [self.split_by]
        return [c for c in dict.fromkeys(columns) if not (c == SOURCE and self.source == SOURCE)]

    @property
    def read(self) -> list[str]:
        """Columns of the files that are looked at."""
        columns = [*self.kept, *(column for options in self.stands_for.values() for column in options)]
        columns += [self.source] if self.source is not None else []
        columns += Condition(self.where).columns if self.where is not None else []
        return list(dict.fromkeys(columns))

    @property
    def filters_quality(self) -> bool:
        """Whether cells of low quality are left out."""
        return self.min_counts > 0 or self.min_genes > 0 or self.max_mito < 1

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        genes = values["genes"]
        values["genes"] = str(genes) if isinstance(genes, str | Path) else genes.name
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def _words(value: str | Sequence[str]) -> tuple[str, ...]:
    words = value.split(",") if isinstance(value, str) else list(value)
    return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
