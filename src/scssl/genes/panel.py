"""GenePanel: the ordered genes that a corpus or a model works on."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from scssl.errors import DataError, FormatError, SettingsError
from scssl.files import whole
from scssl.genes.tables import SPECIES, UNKNOWN, NameLookup, Species, gene_table, make_lookup, strip_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Self

FILE_NAME: Final = "genes.tsv"
"""Name of the panel's file inside a corpus or model folder."""

_MARK: Final = "# scssl gene panel"


@dataclass(frozen=True, eq=False, kw_only=True)
class GenePanel:
    """Ordered genes with unique IDs.

    Examples
    --------
    >>> panel = GenePanel.builtin("human")
    >>> panel.index_of(["ENSG00000111640", "no gene"]).tolist() == [panel.ids.tolist().index("ENSG00000111640"), -1]
    True
    """

    ids: np.ndarray
    """(n_genes,) str, Ensembl gene IDs without version, or any unique names."""
    symbols: np.ndarray
    """(n_genes,) str, current symbols, "" where none."""
    species: str | None = None
    """"human", "mouse", or None for anything else."""
    name: str = "custom"
    """What the panel is called in messages and model cards."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other name (previous symbol, retired ID) -> ID; names that stand for several genes are in `ambiguous`."""
    ambiguous: frozenset[str] = frozenset()
    """Other names that stand for several genes of the panel, and so for none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", np.array([str(i) for i in self.ids], dtype=object))
        object.__setattr__(self, "symbols", np.array([str(s) for s in self.symbols], dtype=object))
        self.ids.flags.writeable = self.symbols.flags.writeable = False
        if len(self.ids) == 0:
            message = f"gene panel {self.name!r} is empty"
            raise DataError(message)
        if len(self.ids) != len(self.symbols):
            message = f"gene panel {self.name!r}: {len(self.ids)} IDs but {len(self.symbols)} symbols"
            raise DataError(message)
        repeated = [gene for gene, n in Counter(self.ids).items() if n > 1]
        if repeated:
            message = f"gene panel {self.name!r}: {len(repeated)} IDs occur more than once, e.g. {repeated[0]!r}"
            raise DataError(message)

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenePanel) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"GenePanel({self.name!r}, {len(self):,} genes, species={self.species!r})"

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the ordered IDs: equal for panels over which counts mean the same."""
        return hashlib.sha256("\n".join(self.ids).encode()).hexdigest()

    @cached_property
    def lookup(self) -> NameLookup:
        """Find panel genes by ID, symbol or alias."""
        return make_lookup(list(self.ids), list(self.symbols), self._alias_rows())

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {gene: i for i, gene in enumerate(self.ids)}

    def index_of(self, ids: Iterable[str]) -> np.ndarray:
        """Return the position of each ID in the panel, int64, -1 where it is not on it.

        Parameters
        ----------
        ids
            IDs as the panel spells them; no symbols or aliases.
        """
        return np.array([self._positions.get(gene, UNKNOWN) for gene in ids], dtype=np.int64)

    @classmethod
    @cache  # commands ask for it several times, and it cannot be changed
    def builtin(cls, name: str) -> Self:
        """Return a built-in panel: all protein-coding genes of a species, ordered by Ensembl ID.

        Parameters
        ----------
        name
            ``"human"`` (GENCODE 48, 20,120 genes) or ``"mouse"`` (GENCODE M37, 21,807 genes).

        Raises
        ------
        SettingsError
            If there is no such panel.
        """
        if name not in SPECIES:
            message = f"no built-in gene panel is called {name!r}; there are: {', '.join(SPECIES)}"
            raise SettingsError(message)
        table = gene_table(name)
        return cls.of_species(table.ids[table.coding], species=name, name=name)

    @classmethod
    def of_species(cls, ids: Sequence[str] | np.ndarray, *, species: Species, name: str) -> Self:
        """Make a panel of Ensembl IDs, with what the packaged table knows about them.

        Parameters
        ----------
        ids
            Ensembl gene IDs without version; those the table does not know stay, without symbol.
        species
            ``"human"`` or ``"mouse"``.
        name
            What to call the panel.
        """
        table = gene_table(species)
        rows = [table.lookup.exact.get(gene, UNKNOWN) for gene in ids]
        rows = [row if row >= 0 and table.ids[row] == gene else UNKNOWN for row, gene in zip(rows, ids, strict=True)]
        symbols = [table.symbols[row] if row >= 0 else "" for row in rows]
        aliases, ambiguous = _invert(
            (gene, table.aliases[row]) for gene, row in zip(ids, rows, strict=True) if row >= 0
        )
        return cls(
            ids=np.asarray(ids, dtype=object),
            symbols=np.array(symbols, dtype=object),
            species=species,
            name=name,
            aliases=aliases,
            ambiguous=ambiguous,
        )

    @classmethod
    def from_names(cls, names: Iterable[str], *, name: str = "custom") -> Self:
        """Make a panel of any gene names, in the order given.

        Names of human or mouse genes (IDs, symbols, previous symbols) become Ensembl IDs, with symbols and aliases
        filled in, when at least half of them are known in one species; other names then stay as they are. Panels of
        other species keep the names given. A gene named twice is taken once.

        Parameters
        ----------
        names
            Genes in the order wanted.
        name
            What to call the panel.
        """
        listed = [strip_version(text) for text in dict.fromkeys(str(n).strip() for n in names) if text]
        matches = {kind: sum(gene_table(kind).lookup.exact.get(gene, -1) >= 0 for gene in listed) for kind in SPECIES}
        species = max(SPECIES, key=lambda kind: matches[kind])
        if 2 * matches[species] < len(listed) or not listed:
            unique = list(dict.fromkeys(listed))
            return cls(ids=np.array(unique, dtype=object), symbols=np.full(len(unique), "", dtype=object), name=name)
        table = gene_table(species)
        rows = [table.lookup.exact.get(gene, UNKNOWN) for gene in listed]
        ids = [table.ids[row] if row >= 0 else gene for gene, row in zip(listed, rows, strict=True)]
        return cls.of_species(list(dict.fromkeys(ids)), species=species, name=name)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a panel from a file.

        It may be what `save` wrote, a table (tsv or csv) with a column ``id`` and perhaps ``symbol``, or one gene per
        line (see `from_names`).

        Parameters
        ----------
        path
            Text file.

        Raises
        ------
        DataError
            If there is no such file, or it holds no genes.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (FileNotFoundError, IsADirectoryError) as error:
            message = f"{path}: no such gene panel file"
            raise DataError(message) from error
        except UnicodeDecodeError as error:
            message = f"{path}: not a text file; a gene panel is a table with a column `id`, or one gene per line"
            raise DataError(message) from error
        lines = [line for line in text.splitlines() if line.strip()]
        settings = _read_mark(lines[0]) if lines else {}
        lines = [line for line in lines if not line.startswith("#")]
        if not lines:
            message = f"{path}: holds no genes"
            raise DataError(message)
        rows = list(csv.reader(lines, delimiter="\t" if "\t" in lines[0] else ","))
        header = [cell.strip().lower() for cell in rows[0]]
        if "id" not in header:
            if len(header) > 1:
                message = f"{path}: has no column `id`; columns are {', '.join(header)}"
                raise DataError(message)
            return cls.from_names((row[0] for row in rows if row), name=path.stem)
        try:
            column = {key: [row[i].strip() for row in rows[1:]] for i, key in enumerate(header)}
        except IndexError as error:
            message = f"{path}: some lines have fewer columns than the header ({', '.join(header)})"
            raise FormatError(message) from error
        try:
            return cls._from_columns(column, settings=settings, name=settings.get("name", path.stem))
        except DataError as error:
            message = f"{path}: {error}"
            raise DataError(message) from error

    @classmethod
    def _from_columns(cls, column: dict[str, list[str]], *, settings: dict[str, str], name: str) -> Self:
        if not settings and "symbol" not in column:
            return cls.from_names(column["id"], name=name)
        if not settings:  # a user's table: its IDs, in its order; only the species is worked out
            known = cls.from_names(column["id"], name=name)
            if known.ids.tolist() == [strip_version(gene) for gene in column["id"]] and known.species:
                return known
        aliases, ambiguous = _invert(
            (gene, text.split("|") if text else [])
            for gene, text in zip(column["id"], column.get("aliases", [""] * len(column["id"])), strict=True)
        )
        ambiguous |= {name for name in settings.get("ambiguous", "").split("|") if name}
        symbols = column.get("symbol", [""] * len(column["id"]))
        species = settings.get("species") or None
        ids = np.array(column["id"], dtype=object)
        return cls(
            ids=ids,
            symbols=np.array(symbols, dtype=object),
            species=species,
            name=name,
            aliases=aliases,
            ambiguous=ambiguous,
        )

    def save(self, path: str | Path) -> None:
        """Write a table of id, symbol and aliases (joined by ``|``), under a comment with name and species.

        Parameters
        ----------
        path
            File to write; replaced when complete.
        """
        mark = f"{_MARK}\tname={self.name}\tspecies={self.species or ''}\tambiguous={'|'.join(sorted(self.ambiguous))}"
        lines = [mark, "id\tsymbol\taliases"]
        rows = zip(self.ids, self.symbols, self._alias_rows(), strict=True)
        lines += [f"{gene}\t{symbol}\t{'|'.join(names)}" for gene, symbol, names in rows]
        with whole(Path(path)) as place:
            place.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")

    def _alias_rows(self) -> list[list[str]]:
        rows: list[list[str]] = [[] for _ in self.ids]
        for alias, gene in self.aliases.items():
            rows[self._positions[gene]].append(alias)
        return rows

    def subset(self, positions: np.ndarray | Sequence[int], *, name: str) -> Self:
        """Return the panel of some of the genes.

        Parameters
        ----------
        positions
            Positions in this panel, in the order wanted.
        name
            What to call the panel.
        """
        ids = self.ids[np.asarray(positions, dtype=np.int64)]
        kept = set(ids)
        aliases = {alias: gene for alias, gene in self.aliases.items() if gene in kept}
        symbols = self.symbols[np.asarray(positions, dtype=np.int64)]
        return type(self)(
            ids=ids, symbols=symbols, species=self.species, name=name, aliases=aliases, ambiguous=self.ambiguous
        )


def load_panel(spec: str | Path | GenePanel) -> GenePanel:
    """Return the panel that a user means.

    Parameters
    ----------
    spec
        A built-in name (``"human"``, ``"mouse"``), a file (see `GenePanel.from_file`), a corpus or model folder (it
        holds ``genes.tsv``), or a panel, which is returned as it is.

    Raises
    ------
    SettingsError
        If it is none of these.
    """
    if isinstance(spec, GenePanel):
        return spec
    if str(spec) in SPECIES:
        return GenePanel.builtin(str(spec))
    path = Path(spec)
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            message = f"{path}: this folder is neither a model nor a corpus (it has no {FILE_NAME})"
            raise SettingsError(message)
        return GenePanel.from_file(path / FILE_NAME)
    if path.is_file():
        return GenePanel.from_file(path)
    message = f"no gene panel {str(spec)!r}: give {' or '.join(SPECIES)}, a file of genes, or a model or corpus folder"
    raise SettingsError(message)


def _invert(genes: Iterable[tuple[str, Iterable[str]]]) -> tuple[dict[str, str], frozenset[str]]:
    """Turn gene -> aliases into alias -> gene, with the aliases of several genes apart."""
    aliases: dict[str, str] = {}
    ambiguous: set[str] = set()
    for gene, names in genes:
        for alias in names:
            if aliases.setdefault(alias, gene) != gene:
                ambiguous.add(alias)
    for alias in ambiguous:
        del aliases[alias]
    return aliases, frozenset(ambiguous)


def _read_mark(line: str) -> dict[str, str]:
    if not line.startswith(_MARK):
        return {}
    return dict(part.split("=", 1) for part in line.split("\t")[1:] if "=" in part)
