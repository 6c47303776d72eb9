"""Gene lists whose order is that of a network's inputs: read as they are, or refused."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING, Final

from scssl.errors import DataError, import_extra
from scssl.genes import GenePanel, load_panel
from scssl.genes.tables import SPECIES, UNKNOWN, gene_table, is_ensembl, strip_version
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ID_COLUMNS: Final = ("id", "gene_id", "gene_ids", "feature_id", "ensembl_id", "ensembl")
MAX_BYTES: Final = 256 * 2**20
_MARK: Final = "# scssl gene panel"


def read_ordered(path: Path) -> GenePanel:
    """Read a gene list without changing its length or order.

    Parameters
    ----------
    path
        What `GenePanel.save` wrote, the folder of a model or corpus, a table (.tsv, .csv, .parquet) with a column
        ``id``, ``gene_id`` or ``feature_id`` (of .parquet, else its index), or one gene per line.

    Raises
    ------
    DataError
        If it cannot be read, or lists a gene twice.
    """
    if path.is_dir():
        return load_panel(path)
    if not path.is_file():
        message = f"{path}: there is no such file of genes"
        raise DataError(message)
    if path.stat().st_size > MAX_BYTES:
        message = f"{path} is larger than any list of genes ({path.stat().st_size:,} bytes)"
        raise DataError(message)
    if path.suffix == ".parquet":
        return ordered_panel(_from_parquet(path), where=str(path), name=path.stem)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: not a text file; give one gene per line, or a table with a column `id`"
        raise DataError(message) from error
    if text.startswith(_MARK):
        return GenePanel.from_file(path)
    return ordered_panel(_from_text(text, path), where=str(path), name=path.stem)


def ordered_panel(names: Sequence[str], *, where: str, name: str) -> GenePanel:
    """Make a panel of exactly these genes, in this order.

    Parameters
    ----------
    names
        Ensembl IDs (versions are left out), or any other unique names.
    where
        Where they are from, for messages.
    name
        What to call the panel.

    Raises
    ------
    DataError
        If there are none, or two are the same gene.
    """
    listed = [strip_version(gene.strip()) for gene in names]
    if not listed or not all(listed):
        message = f"{where}: {'lists no genes' if not listed else 'some genes have no name'}"
        raise DataError(message)
    twice = [gene for gene, n in Counter(listed).items() if n > 1]
    if twice:
        message = f"{where}: lists {len(twice)} gene(s) more than once, e.g. {twice[0]!r}; each input has one gene"
        raise DataError(message)
    n_human, n_mouse = (sum(gene.startswith(start) for gene in listed) for start in ("ENSG", "ENSMUSG"))
    if 2 * max(n_human, n_mouse) > len(listed):
        # IDs stay as they are: to follow retired ones to their heirs can make one gene of two.
        return GenePanel.of_species(listed, species="human" if n_human >= n_mouse else "mouse", name=name)
    panel = GenePanel.from_names(listed, name=name)
    if len(panel) != len(listed):
        message = (
            f"{where}: of its {len(listed):,} names some mean the same gene, {len(panel):,} are left; give Ensembl IDs"
        )
        raise DataError(message)
    return panel


def check_known(panel: GenePanel, *, where: str) -> int:
    """Refuse a list most of whose names are no genes, and say which of another list are none.

    Parameters
    ----------
    panel
        Genes that a network reads.
    where
        Where they are from, for messages.

    Returns
    -------
    int
        Names that are not known genes of the panel's species; of human or mouse, whichever fits better, if it has none.

    Raises
    ------
    DataError
        If that is more than half of them.
    """
    known = [panel.species] if panel.species in SPECIES else SPECIES
    unknown = min(
        ([gene for gene in panel.ids if gene_table(kind).lookup.exact.get(gene, UNKNOWN) == UNKNOWN] for kind in known),
        key=len,
    )
    examples = ", ".join(repr(str(gene)) for gene in unknown[:3])
    if 2 * len(unknown) > len(panel):
        message = (
            f"{where}: {len(unknown):,} of its {len(panel):,} names are no known genes of human or mouse, such as "
            f"{examples}; hardly any file would fit. Give Ensembl IDs or symbols. For another species, in Python: "
            "scssl.CellModel.from_published(..., genes=GenePanel.from_names(names))"
        )
        raise DataError(message)
    if unknown:
        logger.warning(
            "%s: %s of its %s names are not known genes, such as %s; they are found only in files that spell them so",
            where, f"{len(unknown):,}", f"{len(panel):,}", examples,
        )  # fmt: skip
    return len(unknown)


def _from_text(text: str, path: Path) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        return []
    rows = list(csv.reader(lines, delimiter="\t" if "\t" in lines[0] else ","))
    header = [cell.strip().lower() for cell in rows[0]]
    column = next((header.index(key) for key in ID_COLUMNS if key in header), None)
    if column is None and len(header) > 1:
        message = (
            f"{path}: has no column of gene IDs ({', '.join(ID_COLUMNS[:4])}); columns are {', '.join(header[:6])}"
        )
        raise DataError(message)
    if column is None:
        return [row[0] for row in rows]
    if any(len(row) <= column for row in rows):
        message = f"{path}: some lines have fewer columns than the header ({', '.join(header[:6])})"
        raise DataError(message)
    return [row[column] for row in rows[1:]]


def _from_parquet(path: Path) -> list[str]:
    import_extra("pyarrow", extra="census")
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read as a Parquet table: {error}"
        raise DataError(message) from error
    column = next((name for name in ID_COLUMNS if name in table.columns), None)
    values = [str(gene) for gene in (table.index if column is None else table[column])]
    if column is None and not any(is_ensembl(gene) for gene in values[:10]):
        listed = ", ".join(map(str, table.columns[:6]))
        message = f"{path}: has no column of gene IDs ({', '.join(ID_COLUMNS[:4])}); columns are {listed}"
        raise DataError(message)
    return values
