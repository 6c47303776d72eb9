"""From one naming scheme to another: which name of a reference stands for a label, by their terms."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scssl.errors import DataError, FormatError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scssl.ontology.cell_ontology import CellOntology


def propose_map(
    query: Mapping[str, str | None], *, reference: Mapping[str, str | None], ontology: CellOntology
) -> pd.DataFrame:
    """Find the name that a reference has for each label of a query, through their terms.

    In this order: ``name`` (the same name but for case), ``same`` (the same term), ``coarser`` (the closest term above:
    "Naive CD4 T" is "CD4T"), ``finer`` (the only name below). Where the reference has several finer names, none is
    taken, as each of them would be wrong for some cells: score such labels with the hierarchy instead.

    Parameters
    ----------
    query
        Labels to be mapped, and the IDs of their terms.
    reference
        Labels to map to, likewise.
    ontology
        What is a kind of what.

    Returns
    -------
    pandas.DataFrame
        A row per query label: ``from``, ``to`` (None if there is no single one), ``relation`` (``name``, ``same``,
        ``coarser``, ``finer``, ``several``, ``none``), ``candidates`` (list of reference labels that come into
        question where there are several).
    """
    folded = {label.casefold(): label for label in reference}
    terms = {label: ontology.resolve(term) for label, term in reference.items() if term}
    rows = [(label, *_counterpart(label, term, folded, terms, ontology)) for label, term in query.items()]
    return pd.DataFrame(rows, columns=["from", "to", "relation", "candidates"]).astype(object)


def _counterpart(
    label: str,
    term: str | None,
    folded: Mapping[str, str],
    terms: Mapping[str, str | None],
    ontology: CellOntology,
) -> tuple[str | None, str, list[str]]:
    if label.casefold() in folded:
        return folded[label.casefold()], "name", []
    own = ontology.resolve(term) if term else None
    if own is None:
        return None, "none", []
    above = ontology.ancestors(own)
    coarser = {name: other for name, other in terms.items() if other in above}
    if coarser:
        # The closest one has the fewest descendants; two names of the same term cannot be told apart.
        sizes = {name: ontology.size(str(other)) for name, other in coarser.items()}
        closest = sorted(name for name in coarser if sizes[name] == min(sizes.values()))
        relation = "same" if coarser[closest[0]] == own else "coarser"
        return (closest[0], relation, []) if len(closest) == 1 else (None, "several", closest)
    finer = sorted(name for name, other in terms.items() if other and own in ontology.ancestors(other))
    if len(finer) == 1:
        return finer[0], "finer", []
    return None, "several" if finer else "none", finer


def read_terms(path: Path | str, *, ontology: CellOntology | None = None) -> dict[str, str | None]:
    """Read a table of labels and their terms, as `write_terms` writes it and people correct it.

    Parameters
    ----------
    path
        .csv with the columns ``label`` and ``term`` (an ID or a name; empty for none); others are not read.
    ontology
        Where the terms have to be; not looked at without it.

    Returns
    -------
    dict
        Label to term as written, None where there is none.

    Raises
    ------
    DataError
        If there is no such file, or a column is missing.
    FormatError
        If it is no text, a label is there twice with different terms, or `ontology` does not have a term; the message
        has the line.
    """
    file = Path(path)
    if not file.is_file():
        message = f"{file}: no such file"
        raise DataError(message)
    try:
        reader = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""), skipinitialspace=True)
        # A row may take several lines, and empty lines are none: the reader knows where it is.
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        message = f"{file}: cannot be read as a table: {error}"
        raise FormatError(message) from error
    missing = {"label", "term"} - set(reader.fieldnames or ())
    if missing:
        message = (
            f"{file}, line 1: has no column {' and no column '.join(sorted(map(repr, missing)))}; it needs label and "
            "term"
        )
        raise DataError(message)
    terms: dict[str, str | None] = {}
    for number, row in rows:
        label, term = (row["label"] or "").strip(), (row["term"] or "").strip() or None
        if label and terms.setdefault(label, term) != term:
            message = f"{file}, line {number}: {label!r} has two terms, {terms[label]!r} and {term!r}"
            raise FormatError(message)
        if label and term and ontology is not None:
            _check_term(term, ontology, where=f"{file}, line {number}")
    return terms


def _check_term(term: str, ontology: CellOntology, *, where: str) -> None:
    try:
        ontology.find(term)
    except SettingsError as error:
        message = f"{where}: {error}"
        raise FormatError(message) from error


def write_terms(path: Path | str, *, table: pd.DataFrame) -> None:
    """Write which term each label means, for people to check and correct.

    Parameters
    ----------
    path
        .csv to write: ``label``, ``term``, ``name``, ``how``.
    table
        What `match_labels` returned.
    """
    rows = table[["label", "term", "name", "how"]].astype(object)
    write_rows(path, header=list(rows.columns), rows=rows.where(rows.notna(), "").to_numpy().tolist())


def write_rows(path: Path | str, *, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as .csv; the file appears when it is complete.

    Parameters
    ----------
    path
        File to write.
    header
        Names of the columns.
    rows
        Values.
    """
    file = Path(path)
    partial = file.with_name(file.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    partial.replace(file)
