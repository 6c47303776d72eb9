"""Transcription factors and their targets: from the names of gene sets, and from tables of two columns."""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scssl.errors import DataError, FormatError
from scssl.genes.gmt import GeneSet, read_lines, unique_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOSTLY: Final = 0.5
"""Share of a file's sets that must be named after a gene for the file to be one of transcription factors' targets."""
_SOURCES: Final = ("source_genesymbol", "tf", "source", "regulator", "tf_name", "transcription_factor", "factor")
_TARGETS: Final = ("target_genesymbol", "target", "target_gene", "gene", "targets", "gene_symbol")
_WEIGHTS: Final = ("weight", "mor", "score", "likelihood", "importance", "sign")
_NUMBERED: Final = re.compile(r" \(\d+\)$")
_TOKEN: Final = re.compile(r"[^\s_$:;|(),.\[\]/+-]+")
# Before the factor: words of collections, and the DNA motif that MSigDB puts first (TGACCTY_ERR1_Q2).
_HEAD: Final = re.compile(
    r"v|tfs?|targets?|genes|of|regulon|chea|dorothea|collectri|trrust|encode|gtrd|motif|[ACGTRYSWKMBDHVN]{5,}",
    flags=re.IGNORECASE,
)
# After it: TRANSFAC's numbers and qualities (01, Q6, B), DoRothEA's confidence (A to E), SCENIC's gene numbers (123g).
_TAIL: Final = re.compile(
    r"q\d+|\d{1,2}|[A-E]|v\d|\d+g|unknown|targets?|genes?|regulon|tf|motif|binding|sites?|extended|chea(?:\d{4})?|encode"
    r"|chip|seq|archs4|coexpression|human|mouse|rat|hs|mm|dorothea|collectri|trrust|gtrd|activation|repression|up|down"
    r"|pos|neg|high|low",
    flags=re.IGNORECASE,
)
# Words that number sets and that are also symbols of genes (SET, or T for TBXT), but of none that is meant by them.
_WORDS: Final = re.compile(r"set|.", flags=re.IGNORECASE)
_PUBMED: Final = re.compile(r"\d{7,8}")


def regulator_in(name: str, *, gene_of: Callable[[str], str | None]) -> str | None:
    """Return the transcription factor that a gene set's name says its genes are targets of, None if it says none.

    Known are the ways of MSigDB (``STAT1_01``, ``V$STAT1_Q6``, ``TGACCTY_ESRRA_Q2``, ``ATF4_TARGET_GENES``), of
    DoRothEA, CollecTRI and TRRUST (``STAT1``, ``STAT1_A``, ``STAT1 human``), ChEA and ENCODE (``STAT1 20625510
    ChIP-Seq HELA Human``), SCENIC (``STAT1(+)``, ``STAT1_extended (123g)``) and ``TF_targets_of_STAT1``.

    Parameters
    ----------
    name
        Name of the set.
    gene_of
        Returns what a gene is called, None for what is no gene's name.
    """
    text = _NUMBERED.sub("", name)
    tokens = list(_TOKEN.finditer(text))
    for first in range(len(tokens)):
        # The longest name first: NKX2-1 is no NKX2 with a tail.
        for last in range(len(tokens) - 1, first - 1, -1):
            words = text[tokens[first].start() : tokens[last].end()]
            gene = None if _WORDS.fullmatch(words) else gene_of(words)
            if gene and _is_tail([token[0] for token in tokens[last + 1 :]]):
                return gene
        if not _HEAD.fullmatch(tokens[first][0]):
            return None
    return None


def _is_tail(words: list[str]) -> bool:
    return bool(words and _PUBMED.fullmatch(words[0])) or all(_TAIL.fullmatch(word) for word in words)


def merge_by_regulator(
    sets: Sequence[GeneSet], *, gene_of: Callable[[str], str | None]
) -> tuple[list[GeneSet], int, int]:
    """Join all sets of one transcription factor into one set of all its targets.

    Parameters
    ----------
    sets
        Sets, whose names may tell a factor.
    gene_of
        Returns what a gene is called, None for what is no gene's name.

    Returns
    -------
    sets : list of GeneSet
        One per factor, named after it and described by the names of its sets, and the sets without a factor as they
        were; in order of first appearance.
    n_of_regulators : int
        Sets whose name tells a factor.
    n_merged : int
        How many of these were joined to another.
    """
    by_factor: dict[str, list[GeneSet]] = defaultdict(list)
    order: list[GeneSet | str] = []
    for each in sets:
        factor = regulator_in(each.name, gene_of=gene_of)
        if factor is None:
            order.append(each)
            continue
        if factor not in by_factor:
            order.append(factor)
        by_factor[factor].append(each)
    merged = [_merge(entry, by_factor[entry]) if isinstance(entry, str) else entry for entry in order]
    names = unique_names(each.name for each in merged)
    merged = [replace(each, name=name) for each, name in zip(merged, names, strict=True)]
    n_of_regulators = sum(map(len, by_factor.values()))
    return merged, n_of_regulators, n_of_regulators - len(by_factor)


def _merge(factor: str, sets: list[GeneSet]) -> GeneSet:
    genes = dict.fromkeys(gene for each in sets for gene in each.genes)
    return GeneSet(factor, ", ".join(each.name for each in sets), tuple(genes), (factor,))


def read_targets(path: str | Path) -> list[GeneSet]:
    """Read a table of transcription factors and their targets, one pair per line.

    Parameters
    ----------
    path
        Separated by tabs, commas or semicolons; may be gzipped. With a header, columns named like ``tf`` or ``source``,
        ``target`` or ``gene``, and perhaps ``weight``, ``mor`` or ``sign`` are taken; without, the first two, and the
        third as weight if it is a number. Pairs of weight 0 are left out; of other weights, size and sign do not count.

    Returns
    -------
    list of GeneSet
        One per factor, in order of first appearance.

    Raises
    ------
    DataError
        If there is no such file, or no pair in it.
    FormatError
        If a line cannot be understood; the message has its number.
    """
    lines = read_lines(path)
    rows = _split(lines)
    header = [cell.lower() for cell in rows[0]] if rows else []
    source, target, weight = (_column(header, names) for names in (_SOURCES, _TARGETS, _WEIGHTS))
    if source is None or target is None:
        source, target, weight = 0, 1, 2 if len(header) > 2 and _number(header[2]) is not None else None
        first = 0
    else:
        first = 1
    targets: dict[str, dict[str, None]] = {}
    for (number, _), row in zip(lines[first:], rows[first:], strict=True):
        if len(row) <= max(source, target, weight or 0) or not row[source] or not row[target]:
            message = f"{path}: line {number} has no transcription factor and target in columns {source + 1} and "
            message += f"{target + 1} ({','.join(row)!r})"
            raise FormatError(message)
        value = 1.0 if weight is None else _number(row[weight])
        if value is None:
            message = f"{path}: line {number}: the weight {row[weight or 0]!r} is no number"
            raise FormatError(message)
        if value != 0 and not math.isnan(value):
            targets.setdefault(row[source], {})[row[target]] = None
    if not targets:
        message = f"{path}: holds no pairs of transcription factor and target"
        raise DataError(message)
    return [GeneSet(factor, "", tuple(genes), (factor,)) for factor, genes in targets.items()]


def read_factors(path: str | Path) -> list[str]:
    """Read a list of transcription factors: the first column of a text file, one per line.

    Parameters
    ----------
    path
        Text file, may be gzipped; a first line such as ``tf`` or ``gene`` is taken for a header.

    Raises
    ------
    DataError
        If there is no such file, or no gene in it.
    """
    rows = _split(read_lines(path))
    names = [row[0] for row in rows if row[0]]
    if names and names[0].lower() in {*_SOURCES, *_TARGETS, "tfs", "symbol", "name", "id", "gene_name", "ensembl"}:
        names = names[1:]
    if not names:
        message = f"{path}: holds no transcription factors"
        raise DataError(message)
    return list(dict.fromkeys(names))


def is_gmt(path: str | Path) -> bool:
    """Say whether a file is one of gene sets rather than a table of two columns, by its name or else by its lines.

    Parameters
    ----------
    path
        File that exists.
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in (".gmt", ".tsv", ".csv"):
        return suffixes[-1] == ".gmt"
    widths = {line.count("\t") for _, line in read_lines(path)}
    return len(widths) > 1 and max(widths) >= 2


def _split(lines: list[tuple[int, str]]) -> list[list[str]]:
    if not lines:
        return []
    separator = next((each for each in "\t,;" if each in lines[0][1]), "\t")
    # Line by line: a quote that is not closed must not swallow the lines after it. Nor may one carriage return.
    texts = (line.replace("\r", " ") for _, line in lines)
    return [[cell.strip() for cell in next(csv.reader([text], delimiter=separator))] for text in texts]


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _number(text: str) -> float | None:
    try:
        return float(text) if text else 0.0
    except ValueError:
        return None
