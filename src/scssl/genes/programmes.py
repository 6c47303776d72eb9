"""Gene programmes over a panel: sets of genes that act together, with their transcription factors where known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.errors import DataError, FormatError, SettingsError, require
from scssl.genes.gmt import GeneSet, read_gmt, write_gmt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    from scssl.genes.panel import GenePanel

FILE_NAME: Final = "programmes.gmt"
"""Name of the programmes' file inside a model folder."""
MARK: Final = "scssl gene programmes 1"
"""First words of what `Programmes.save` writes; the number is the version of the format."""
_REGULATOR: Final = "tf="
_LISTED: Final = "listed="


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Which programmes are of use; a programme must meet all of them."""

    min_coverage: float = 0.5
    """Least share of a set's genes that must be on the panel (and measured, where that is known)."""
    min_genes: int = 10
    """Fewest genes on the panel."""
    max_genes: int | None = None
    """Most genes on the panel; None for no limit."""

    def __post_init__(self) -> None:
        require("min_coverage", self.min_coverage, holds=0 <= self.min_coverage <= 1, must="between 0 and 1")
        require("min_genes", self.min_genes, holds=self.min_genes >= 1, must="at least 1")
        if self.max_genes is not None:
            holds = self.max_genes >= self.min_genes
            require("max_genes", self.max_genes, holds=holds, must=f"at least min_genes ({self.min_genes})")


@dataclass(frozen=True, eq=False, kw_only=True)
class Programmes:
    """Gene programmes as rows over the genes of a panel."""

    names: list[str]
    """One per programme, unique."""
    members: NDArray[np.bool_]
    """(n_programmes, n_genes) which panel genes belong to it."""
    regulators: NDArray[np.bool_]
    """(n_programmes, n_genes) its transcription factors; all False where none are known."""
    descriptions: list[str]
    """One per programme, may be empty."""
    listed: NDArray[np.int64] | None = None
    """(n_programmes,) genes that each set lists, on the panel or not; None if only the panel's are known of."""
    panel: GenePanel | None = None
    """The genes; None if the programmes were made without."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def covered(self) -> float:
        """Share of the panel's genes that are in at least one programme."""
        return float(np.mean(self.members.any(axis=0)))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n_programmes,) genes of each programme."""
        return np.asarray(self.members.sum(axis=1), dtype=np.int64)

    @property
    def coverage(self) -> NDArray[np.float64]:
        """(n_programmes,) share of the genes that each set lists which are in the programme."""
        if self.listed is None:
            return np.ones(len(self))
        return coverage(self.sizes, self.listed)

    def filtered(self, limits: Limits) -> Self:
        """Keep the programmes that are covered well enough and neither too small nor too large.

        Parameters
        ----------
        limits
            What a programme must meet.
        """
        return self.subset(np.flatnonzero(within(limits, n_genes=self.sizes, share=self.coverage)))

    def subset(self, rows: Sequence[int] | NDArray[np.int64]) -> Self:
        """Return some of the programmes.

        Parameters
        ----------
        rows
            Their positions, in the order wanted.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            names=[self.names[i] for i in chosen],
            members=self.members[chosen],
            regulators=self.regulators[chosen],
            descriptions=[self.descriptions[i] for i in chosen],
            listed=None if self.listed is None else self.listed[chosen],
        )

    def sets(self, *, panel: GenePanel | None = None) -> list[GeneSet]:
        """Return the programmes as sets of gene IDs.

        Parameters
        ----------
        panel
            The genes, if the programmes do not know them.

        Raises
        ------
        SettingsError
            If there is no panel, or one of another size.
        """
        panel = panel or self.panel
        if panel is None or len(panel) != self.members.shape[1]:
            message = f"programmes over {self.members.shape[1]:,} genes need the panel of these genes, not {panel}"
            raise SettingsError(message)
        ids = panel.ids
        return [
            GeneSet(name, text, tuple(ids[members]), tuple(ids[regulators]))
            for name, text, members, regulators in zip(
                self.names, self.descriptions, self.members, self.regulators, strict=True
            )
        ]

    def save(self, path: str | Path, *, panel: GenePanel | None = None) -> None:
        """Write the programmes as a GMT file of gene IDs, which `read` gives back unchanged.

        Beside its genes a line has ``tf=ID`` for each transcription factor and ``listed=N``, the genes that the set
        lists; other readers of GMT files take these for unknown genes.

        Parameters
        ----------
        path
            File to write; replaced when complete.
        panel
            The genes, if the programmes do not know them.

        Raises
        ------
        SettingsError
            If there is no panel, or one of another size.
        DataError
            If a name or description cannot stand in a GMT file.
        """
        panel = panel or self.panel
        sets = []
        for row, each in enumerate(self.sets(panel=panel)):
            more = [f"{_REGULATOR}{gene}" for gene in each.regulators]
            if self.listed is not None:
                more.append(f"{_LISTED}{self.listed[row]}")
            sets.append(replace(each, genes=(*each.genes, *more), regulators=()))
        assert panel is not None
        write_gmt(path, sets=sets, comment=f"{MARK}\tpanel={panel.fingerprint}\tprogrammes={len(sets)}")

    @classmethod
    def read(cls, path: str | Path, panel: GenePanel) -> Self:
        """Read what `save` wrote for the same panel.

        Parameters
        ----------
        path
            The file.
        panel
            The genes that the programmes were saved for; for others use `load_programmes`.

        Raises
        ------
        DataError
            If there is no such file.
        FormatError
            If the file was altered, is of another panel, or was not written by `save`.
        """
        header = saved_header(path)
        if header is None:
            message = f"{path}: was not written by scssl as gene programmes; load_programmes reads other files"
            raise FormatError(message)
        if header.get("panel") != panel.fingerprint:
            message = f"{path}: these programmes are of other genes than the panel {panel.name!r}; use load_programmes"
            raise FormatError(message)
        sets, listed = read_saved(path)
        if header.get("programmes") != str(len(sets)):
            message = (
                f"{path}: has {len(sets)} of {header.get('programmes')} programmes; the file is cut off or altered"
            )
            raise FormatError(message)
        return cls(
            names=[each.name for each in sets],
            members=_rows([each.genes for each in sets], panel, path),
            regulators=_rows([each.regulators for each in sets], panel, path),
            descriptions=[each.description for each in sets],
            listed=listed,
            panel=panel,
        )


def coverage(n_found: NDArray[np.int64], n_listed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of a set's genes that were found; 0 for a set without genes.

    Parameters
    ----------
    n_found, n_listed
        (n_sets,) genes found, and genes that the set lists.
    """
    return n_found / np.maximum(n_listed, 1)


def within(limits: Limits, *, n_genes: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which programmes meet the limits.

    Parameters
    ----------
    limits
        What a programme must meet.
    n_genes
        (n_sets,) genes on the panel.
    share
        (n_sets,) coverage.
    """
    kept = (share >= limits.min_coverage) & (n_genes >= limits.min_genes)
    if limits.max_genes is not None:
        kept &= n_genes <= limits.max_genes
    return kept


def saved_header(path: str | Path) -> dict[str, str] | None:
    """Return what the first line of a file that `Programmes.save` wrote says, None for any other file.

    Parameters
    ----------
    path
        Any file.

    Raises
    ------
    DataError
        If there is no such file.
    """
    try:
        with Path(path).open("rb") as file:
            first = file.readline(1000).decode("utf-8", errors="replace").rstrip("\r\n")
    except (FileNotFoundError, IsADirectoryError) as error:
        message = f"{path}: no such file of gene programmes"
        raise DataError(message) from error
    mark, *rest = first.split("\t")
    if mark != f"# {MARK}":
        return None
    return dict(part.split("=", 1) for part in rest if "=" in part)


def read_saved(path: str | Path) -> tuple[list[GeneSet], NDArray[np.int64] | None]:
    """Read the sets of a file that `Programmes.save` wrote, and how many genes each lists.

    Parameters
    ----------
    path
        The file.
    """
    sets, listed = [], []
    for each in read_gmt(path):
        genes = tuple(gene for gene in each.genes if not gene.startswith((_REGULATOR, _LISTED)))
        regulators = tuple(gene.removeprefix(_REGULATOR) for gene in each.genes if gene.startswith(_REGULATOR))
        sets.append(replace(each, genes=genes, regulators=regulators))
        listed += [gene.removeprefix(_LISTED) for gene in each.genes if gene.startswith(_LISTED)]
    if not listed:
        return sets, None
    if len(listed) != len(sets) or not all(text.isdecimal() for text in listed):
        message = f"{path}: not every programme says how many genes it lists; the file was altered"
        raise FormatError(message)
    return sets, np.array(listed, dtype=np.int64)


def _rows(genes: list[tuple[str, ...]], panel: GenePanel, path: str | Path) -> NDArray[np.bool_]:
    rows = np.zeros((len(genes), len(panel)), dtype=bool)
    for row, names in zip(rows, genes, strict=True):
        positions = panel.index_of(names)
        if np.any(positions < 0):
            missing = names[int(np.argmin(positions))]
            message = f"{path}: {missing!r} is not on the panel {panel.name!r}; the file was altered"
            raise FormatError(message)
        row[positions] = True
    return rows
