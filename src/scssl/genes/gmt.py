"""Files of gene sets: GMT, one set per line, as MSigDB, Enrichr and others publish them."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scssl.errors import DataError, FormatError
from scssl.files import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GZIP: Final = b"\x1f\x8b"
"""What every gzip file begins with."""


@dataclass(frozen=True)
class GeneSet:
    """A named set of genes, as a file lists it."""

    name: str
    description: str
    genes: tuple[str, ...]
    """Names in the order of the file, each once."""
    regulators: tuple[str, ...] = ()
    """Transcription factors that the genes are targets of, where that is known."""


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """Read a text file, gzipped or not, as pairs of line number and line; empty and comment lines are left out.

    Parameters
    ----------
    path
        UTF-8 text; lines may end as on Windows. A comment begins with ``#``.

    Raises
    ------
    DataError
        If there is no such file.
    FormatError
        If it is no text, or a damaged gzip file.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        message = f"{path}: no such file of gene sets"
        raise DataError(message) from error
    if content.startswith(GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            message = f"{path}: this gzip file is damaged or cut off ({error})"
            raise FormatError(message) from error
    lines = []
    # Only the line ends that files are written with: str.splitlines would also break names at rarer characters.
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            line = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"{path}: line {number} is not text in UTF-8 ({error.reason}); gene sets are plain text"
            raise FormatError(message) from error
        if line.strip() and not line.startswith("#"):
            lines.append((number, line))
    return lines


def read_gmt(path: str | Path) -> list[GeneSet]:
    """Read every set of a GMT file: name, description and genes, separated by tabs.

    Names and descriptions keep their spelling. Sets of the same name stay apart: the second one of the name ``A``
    becomes ``A (2)``. Sets without genes are kept too.

    Parameters
    ----------
    path
        GMT file, may be gzipped.

    Raises
    ------
    DataError
        If there is no such file, or no set in it.
    FormatError
        If a line is no gene set; the message has its number.
    """
    sets = []
    for number, line in read_lines(path):
        name, *rest = (cell.strip() for cell in line.split("\t"))
        if not rest:
            message = (
                f"{path}: line {number} has no tabs ({_short(line)!r}); a line of a GMT file is a name, a description "
                "and genes, separated by tabs"
            )
            raise FormatError(message)
        if not name:
            message = f"{path}: line {number} has no name before its first tab ({_short(line)!r})"
            raise FormatError(message)
        sets.append(GeneSet(name, rest[0], tuple(dict.fromkeys(gene for gene in rest[1:] if gene))))
    if not sets:
        message = f"{path}: holds no gene sets"
        raise DataError(message)
    return [replace(each, name=name) for each, name in zip(sets, unique_names(s.name for s in sets), strict=True)]


def write_gmt(path: str | Path, *, sets: Sequence[GeneSet], comment: str = "") -> None:
    """Write a GMT file, which `read_gmt` reads back as it was.

    Parameters
    ----------
    path
        File to write; replaced when complete.
    sets
        Sets with unique names.
    comment
        First line, without its ``#``.

    Raises
    ------
    DataError
        If a name, description or gene cannot stand in a GMT file.
    """
    path = Path(path)
    lines = [f"# {comment}"] if comment else []
    for each in sets:
        cells = [each.name, each.description, *each.genes]
        wrong = [cell for cell in cells if _unwritable(cell)]
        if not each.name or each.name.startswith("#") or wrong:
            message = (
                f"{path}: the gene set {each.name!r} cannot be written: a name must not be empty or begin "
                "with '#', and tabs, line ends and outer spaces are not possible"
            )
            raise DataError(message)
        lines.append("\t".join(cells))
    with whole(path) as place:
        place.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def unique_names(names: Iterable[str]) -> list[str]:
    """Give names that occur again a number: A, A, B becomes A, A (2), B.

    Parameters
    ----------
    names
        Names in order.
    """
    listed = list(names)
    taken, seen, unique = set(listed), set[str](), []
    for name in listed:
        new, number = name, 2
        while new in seen or (new != name and new in taken):
            new, number = f"{name} ({number})", number + 1
        seen.add(new)
        unique.append(new)
    return unique


def _unwritable(cell: str) -> bool:
    return cell != cell.strip() or any(character in cell for character in "\t\n\r")


def _short(line: str) -> str:
    return line if len(line) <= 40 else f"{line[:40]}..."
