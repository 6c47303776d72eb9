"""Reading ontologies in the OBO format: the lines of it that cell types need."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from scssl.errors import DataError, FormatError
from scssl.ontology.terms import Synonym, Term

if TYPE_CHECKING:
    from pathlib import Path

    from scssl.ontology.terms import Scope

CELL_TYPE = re.compile(r"CL:\d+")
"""Full releases also hold terms of other ontologies, which are no cell types."""
GET_IT = "download cl-basic.obo from https://obofoundry.org/ontology/cl"

_SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(EXACT|BROAD|NARROW|RELATED)?')
_ESCAPED = re.compile(r"\\(.)")
# A value ends where a trailing modifier, {is_inferred="true"}, or a comment, ! name, begins.
_TAIL = re.compile(r"\s+(?:\{[^{}]*\}\s*)?(?:![^\n]*)?$")


def read_obo(path: Path) -> tuple[list[Term], str]:
    """Read the cell types of an .obo file.

    Parameters
    ----------
    path
        File in the OBO format 1.2 or 1.4.

    Returns
    -------
    terms : list of Term
        All terms with IDs CL:..., obsolete ones included.
    version : str
        What the file says of its version.

    Raises
    ------
    DataError
        If there is no such file, or it is no .obo file by its name.
    FormatError
        If it is not in the OBO format, or has no cell types.
    """
    if not path.is_file():
        message = f"{path}: no such file; {GET_IT}"
        raise DataError(message)
    if path.suffix.lower() != ".obo":
        message = f"{path}: only .obo files of the Cell Ontology can be read; {GET_IT}"
        raise DataError(message)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: is not text in UTF-8; {GET_IT}"
        raise FormatError(message) from error
    header, *stanzas = re.split(r"^\[(?=\w+\]\s*$)", text, flags=re.MULTILINE)
    if not header.lstrip().startswith("format-version:"):
        message = f"{path}: is not in the OBO format (its first line is not format-version); {GET_IT}"
        raise FormatError(message)
    line = header.count("\n")
    terms, first = [], dict[str, int]()
    for stanza in stanzas:
        kind, _, body = stanza.partition("]")
        if kind == "Term":
            term = _term(body, where=f"{path}, line {line + 1}")
            if CELL_TYPE.fullmatch(term.id):
                if term.id in first:
                    message = f"{path}, line {line + 1}: {term.id} was there already, at line {first[term.id]}"
                    raise FormatError(message)
                first[term.id] = line + 1
                terms.append(term)
        line += stanza.count("\n")
    if not terms:
        message = f"{path}: holds no terms of the Cell Ontology (IDs such as CL:0000236); {GET_IT}"
        raise FormatError(message)
    version = re.search(r"^data-version:\s*(\S+)", header, flags=re.MULTILINE)
    return terms, version[1] if version else ""


def _term(body: str, *, where: str) -> Term:
    tags: dict[str, list[str]] = {}
    for line in body.splitlines():
        tag, colon, value = line.partition(":")
        if colon:
            tags.setdefault(tag.strip(), []).append(value.strip())
    key = _plain(tags.get("id", [""])[0])
    if not key:
        message = f"{where}: a term without an ID; the file is damaged"
        raise FormatError(message)
    obsolete = _plain(tags.get("is_obsolete", ["false"])[0]) == "true"
    name = _plain(tags.get("name", [""])[0])
    if not name and not obsolete and CELL_TYPE.fullmatch(key):
        message = f"{where}: {key} has no name; the file is damaged"
        raise FormatError(message)
    return Term(
        id=key,
        name=name,
        parents=tuple(_plain(value).split()[0] for value in tags.get("is_a", []) if _plain(value)),
        synonyms=tuple(_synonym(value, where=f"{where}: {key}") for value in tags.get("synonym", [])),
        obsolete=obsolete,
        replaced_by=tuple(map(_plain, tags.get("replaced_by", []))),
        other_ids=tuple(map(_plain, tags.get("alt_id", []))),
    )


def _synonym(value: str, *, where: str) -> Synonym:
    found = _SYNONYM.match(value)
    if found is None:
        message = f"{where} has a synonym that cannot be read: {value}"
        raise FormatError(message)
    # Without a scope, the format says, a synonym is a related one.
    return Synonym(_ESCAPED.sub(r"\1", found[1]), cast("Scope", found[2] or "RELATED"))


def _plain(value: str) -> str:
    return _ESCAPED.sub(r"\1", _TAIL.sub("", f"{value} ")).strip()
