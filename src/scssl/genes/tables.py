"""All genes of a species that scssl knows: IDs, symbols, previous symbols, and how names are looked up among them."""

from __future__ import annotations

import csv
import gc
import io
import lzma
import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

import numpy as np

from scssl.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

Species = Literal["human", "mouse"]
SPECIES: Final[tuple[Species, ...]] = get_args(Species)

UNKNOWN: Final = -1
AMBIGUOUS: Final = -2

_ENSEMBL: Final = re.compile(r"(?P<id>ENS[A-Z]{0,6}G\d{11})(?:\.\d+)?(?:_PAR_Y)?", flags=re.IGNORECASE)

_PLAIN: Final = re.compile(r"(?!ENSG)[A-Z][A-Z0-9]{2,}")

_CLONE: Final = {
    # Names of unnamed genes, after the clone they lie on (RP11-34P13.7, AC000001.1): GENCODE changes them all the
    # time. They are no panel genes, but they show that a file is about this species.
    "human": re.compile(r"(?:(?:RP\d+|CT[A-D]|KB|XX\w*|GS\d|LA\d+\w*)-\w+(?:-\w+)?|[A-Z]{1,2}\d{5,6})\.\d+(?:-\d+)?"),
    "mouse": re.compile(r"(?:Gm\d+|\w+Rik|RP2\d-\w+\.\d+|(?:AC|AL|CT)\d+\.\d+)"),
}


def strip_version(name: str) -> str:
    """Return an Ensembl gene ID without version and PAR suffix; any other name as it is.

    Examples
    --------
    >>> strip_version("ENSG00000182162.11_PAR_Y"), strip_version("HLA-A")
    ('ENSG00000182162', 'HLA-A')
    """
    match = _ENSEMBL.fullmatch(name)
    return match["id"].upper() if match else name


def is_ensembl(name: str) -> bool:
    """Say whether a name is an Ensembl gene ID of any species, versioned or not."""
    return _ENSEMBL.fullmatch(name) is not None


def is_clone_name(name: str, species: str) -> bool:
    """Say whether a name is one that annotations give to unnamed genes of a species, after clones or serial numbers."""
    return species in _CLONE and _CLONE[species].fullmatch(name) is not None


class NameLookup:
    """Gene names of every sort -> number of the gene.

    An ID wins over a current symbol, a current symbol over a previous one. A name that several genes share at the same
    level is ambiguous. The same holds once case is ignored (`folded`).

    Parameters
    ----------
    levels
        From the strongest to the weakest: pairs of name and gene number.
    """

    def __init__(self, *levels: Iterable[tuple[str, int]]) -> None:
        self.exact: dict[str, int] = {}
        for level in levels:
            self._add(self.exact, level)

    @staticmethod
    def _add(names: dict[str, int], level: Iterable[tuple[str, int]]) -> None:
        new: dict[str, int] = {}
        for name, gene in level:
            if name and name not in names:
                new[name] = gene if new.get(name, gene) == gene else AMBIGUOUS
        names.update(new)

    @cached_property
    def folded(self) -> dict[str, int]:
        """Upper-case name -> gene number, or `AMBIGUOUS`."""
        names: dict[str, int] = {}
        self._add(names, ((name.upper(), gene) for name, gene in self.exact.items()))
        return names


@dataclass(frozen=True, eq=False)
class GeneTable:
    """Every gene of a species in the current GENCODE release, coding or not (see ``scripts/make_gene_panels.py``)."""

    species: Species
    ids: np.ndarray
    """(n,) str, Ensembl IDs without version, sorted."""
    symbols: np.ndarray
    """(n,) str, current symbols, "" where none."""
    biotypes: np.ndarray
    """(n,) str, GENCODE biotypes."""
    aliases: tuple[tuple[str, ...], ...]
    """Per gene: previous symbols and retired Ensembl IDs."""
    human: np.ndarray | None
    """(n,) str, Ensembl ID of the one-to-one human orthologue, "" where none; None for human itself."""

    @cached_property
    def coding(self) -> np.ndarray:
        """(n,) bool, protein-coding genes."""
        return cast("np.ndarray", self.biotypes == "protein_coding")

    @cached_property
    def lookup(self) -> NameLookup:
        """Find genes by name."""
        return make_lookup(list(self.ids), list(self.symbols), self.aliases)


def make_lookup(ids: Collection[str], symbols: Collection[str], aliases: Iterable[Iterable[str]]) -> NameLookup:
    """Index genes by ID, symbol and alias, in this order of precedence; numbers are positions in the lists given."""
    return NameLookup(
        zip(ids, range(len(ids)), strict=True),
        zip(symbols, range(len(symbols)), strict=True),
        ((name, i) for i, names in enumerate(aliases) for name in names),
    )


@cache
def gene_table(species: Species) -> GeneTable:
    """Load the packaged table of a species (a tenth of a second; kept for the life of the process).

    Raises
    ------
    SettingsError
        If scssl has no table of that species.
    """
    if species not in SPECIES:
        message = f"scssl has no gene table of {species!r}; there are: {', '.join(SPECIES)}"
        raise SettingsError(message)
    packed = (files("scssl.genes") / "data" / f"{species}.tsv.xz").read_bytes()
    with _uncollected():
        header, *rows = csv.reader(io.StringIO(lzma.decompress(packed).decode()), delimiter="\t")
        column = dict(zip(header, zip(*rows, strict=True), strict=True))
        aliases = [text.split("|") if text else [] for text in column["aliases"]]
        if species == "mouse":
            _add_human_history(aliases, column)
        return GeneTable(
            species=species,
            ids=np.array(column["id"], dtype=object),
            symbols=np.array(column["symbol"], dtype=object),
            biotypes=np.array(column["biotype"], dtype=object),
            aliases=tuple(map(tuple, aliases)),
            human=np.array(column["human"], dtype=object) if "human" in column else None,
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Let the collector of garbage wait: it would look through hundred thousands of new texts again and again."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _add_human_history(aliases: list[list[str]], column: Mapping[str, Sequence[str]]) -> None:
    """Give mouse genes the previous symbols of their one-to-one human orthologues, in mouse spelling.

    No history of mouse symbols is at hand, but they follow the human ones: as KDELC1 became POGLUT2, Kdelc1 became
    Poglut2. Names that any mouse gene has, or had, are left alone.
    """
    table = gene_table("human")
    history = dict(zip(table.ids, table.aliases, strict=True))
    taken = {*column["symbol"], *(name for names in aliases for name in names)}
    for names, human in zip(aliases, column["human"], strict=True):
        former = (name.capitalize() for name in history.get(human, ()) if _PLAIN.fullmatch(name))
        names += [name for name in former if name not in taken]


def mouse_to_human() -> Mapping[str, str]:
    """Return the one-to-one orthologues (Ensembl): mouse gene ID -> human gene ID."""
    table = gene_table("mouse")
    human = cast("np.ndarray", table.human)
    return {mouse: other for mouse, other in zip(table.ids, human, strict=True) if other}
