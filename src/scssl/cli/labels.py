"""`scssl labels`: which Cell Ontology term each label means, and maps between naming schemes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from scssl.cli.common import Common, Outcome, Whole, divided

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from scssl.ontology import CellOntology


def labels(
    file: Path,
    /,
    *,
    labels: str,
    ontology: Path | None = None,
    terms: Path | None = None,
    to: Path | None = None,
    to_labels: str | None = None,
    to_terms: Path | None = None,
    level: str | None = None,
    out: Path | None = None,
    terms_out: Path | None = None,
    seed: Whole = 0,  # noqa: ARG001 (every command takes one)
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Find the Cell Ontology term of each label in a file, and the name that a reference has for it.

    Nothing is taken on mere similarity: labels that are not matched are listed with up to three candidates. To decide
    them, write the table with --terms-out, correct it, and give it back with --terms.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu or SOMA with labelled cells. It is not changed.
    labels
        Column of its obs with the labels: free text or IDs. "unknown", "unassigned" and missing names are left out.
    ontology
        .obo file of the Cell Ontology; by default the version that CELLxGENE uses, from the extra "ontology".
    terms
        .csv with the columns label and term: terms that are already decided.
    to
        File of a reference: propose the reference's name for each label, through their terms.
    to_labels
        Column of the reference's obs with its labels.
    to_terms
        As --terms, for the labels of the reference.
    level
        Roll labels up: "broad" for a list of broad types, terms separated by commas ("T cell, myeloid cell"), or a
        depth below the root of the ontology.
    out
        .csv to write: a label map for `scssl annotate --label-map`, to the names of the reference, to those of --level,
        or without either to those of the terms. Labels without one keep their names.
    terms_out
        .csv to write: label, term, name, and how it was found.
    seed
        Taken by every command; nothing here is drawn at random.
    overwrite
        Replace OUT and TERMS_OUT.
    """
    from scssl.errors import SettingsError
    from scssl.ontology import CellOntology, propose_map, terms_of, write_terms
    from scssl.ontology.schemes import write_rows

    if (to is None) != (to_labels is None) or (to is None and to_terms is not None):
        message = "--to REFERENCE and --to-labels COLUMN go together (and --to-terms with them)"
        raise SettingsError(message)
    if to is not None and level is not None:
        message = "--to takes the names of a reference, and --level those of coarser terms: leave one of them out"
        raise SettingsError(message)
    for path in (out, terms_out):
        _check_writable(path, overwrite=overwrite, inputs=[file, to, terms, to_terms, ontology])
    if out is not None and terms_out is not None and out.resolve() == terms_out.resolve():
        message = f"--out and --terms-out are the same file, {out}; give two names"
        raise SettingsError(message)
    source = CellOntology.open(ontology)
    table, cells = _matched(file, labels, terms, source)
    pairs = dict(zip(table["label"], table["name"], strict=True))
    found = None
    if to is not None and to_labels is not None:
        reference, _ = _matched(to, to_labels, to_terms, source)
        found = propose_map(terms_of(table), reference=terms_of(reference), ontology=source)
        pairs = dict(zip(found["from"], found["to"], strict=True))
    rolled = None if level is None else _rolled_up(table, level, ontology=source)
    pairs = pairs if rolled is None else rolled
    if out is not None:
        rows = [(name, other or name) for name, other in pairs.items()]
        write_rows(out, header=("from", "to"), rows=rows)
    if terms_out is not None:
        write_terms(terms_out, table=table)
    result = {**_result(table, cells, found, source), "rolled_up": rolled}
    result |= {"out": None if out is None else str(out), "terms_out": None if terms_out is None else str(terms_out)}
    return Outcome(result=result, text="\n".join(_lines(result)))


def _rolled_up(table: pd.DataFrame, level: str, *, ontology: CellOntology) -> dict[str, str]:
    from scssl.ontology import LabelTree, terms_of

    tree = LabelTree([str(label) for label in table["label"]], terms=terms_of(table), ontology=ontology)
    words = divided(level)
    if words == ["broad"]:
        return tree.roll_up()
    return tree.roll_up(int(level) if level.strip().isdigit() else words)


def _check_writable(path: Path | None, *, overwrite: bool, inputs: list[Path | None]) -> None:
    from scssl.errors import SettingsError

    if path is None:
        return
    if any(other is not None and other.resolve() == path.resolve() for other in inputs):
        message = f"{path} is an input, which is never changed; choose another name"
        raise SettingsError(message)
    if path.suffix.lower() != ".csv":
        message = f"{path}: tables of labels are written as .csv; choose a name that ends in .csv"
        raise SettingsError(message)
    if path.exists() and (not overwrite or path.is_dir()):
        message = f"{path} exists already; choose another name, or add --overwrite"
        raise SettingsError(message)
    if not path.absolute().parent.is_dir():
        message = f"{path}: there is no folder {path.absolute().parent} to write it to"
        raise SettingsError(message)


def _matched(
    file: Path, column: str, terms: Path | None, ontology: CellOntology
) -> tuple[pd.DataFrame, Mapping[str, int]]:
    """Match the labels of a file, the most frequent first, and count their cells."""
    from scssl.corpus.sources.source import open_source
    from scssl.ontology import match_labels, read_terms
    from scssl.tasks.annotate.labels import read_labels

    with open_source(file) as source:
        counts = read_labels(source.obs, column, file=source.file).value_counts()
    known = read_terms(terms, ontology=ontology) if terms is not None else None
    names = sorted(counts.index, key=lambda name: (-counts[name], name))
    return match_labels(names, ontology=ontology, known=known), {str(k): int(v) for k, v in counts.items()}


def _result(
    table: pd.DataFrame, cells: Mapping[str, int], found: pd.DataFrame | None, ontology: CellOntology
) -> dict[str, Any]:
    rows = [
        {
            "label": label,
            "n_cells": cells[label],
            "term": term,
            "name": name,
            "how": how,
            "candidates": [candidate._asdict() for candidate in candidates],
        }
        for label, term, name, how, candidates in table[["label", "term", "name", "how", "candidates"]].itertuples(
            index=False, name=None
        )
    ]
    matched = [row for row in rows if row["term"]]
    return {
        "ontology": {"source": ontology.source, "version": ontology.version, "n_terms": len(ontology)},
        "n_labels": len(rows),
        "n_matched": len(matched),
        "n_cells": sum(cells.values()),
        "n_cells_matched": sum(row["n_cells"] for row in matched),
        "labels": rows,
        "map": None
        if found is None
        else [
            dict(zip(("from", "to", "relation", "candidates"), values, strict=True))
            for values in found.itertuples(index=False, name=None)
        ],
    }


def _lines(result: dict[str, Any]) -> list[str]:
    from rich.markup import escape

    ontology = result["ontology"]
    rows = result["labels"]
    matched = [row for row in rows if row["term"]]
    width = max(len(row["label"]) for row in rows)
    lines = [
        f"[bold]{result['n_matched']} of {result['n_labels']} labels[/bold] "
        f"({result['n_cells_matched']:,} of {result['n_cells']:,} labelled cells) have a term in the Cell Ontology "
        f"({escape(ontology['source'])}{', ' if ontology['version'] else ''}{escape(ontology['version'])})"
    ]
    if matched:
        lines += ["", f"  {'label':<{width}}  {'cells':>8}  {'how':<10}  term"]
    for row in matched:
        text = f"{row['label']:<{width}}  {row['n_cells']:>8,}  {row['how']:<10}  {row['term']} {row['name']}"
        lines.append(f"  {escape(text)}")
    if len(matched) < len(rows):
        lines += ["", "Not matched, and left as they are (decide with --terms-out and --terms):"]
    for row in rows:
        if not row["term"]:
            near = "; ".join(f"{each['term']} {each['name']} ({each['score']:.2f})" for each in row["candidates"])
            hint = "without a term" if row["how"] == "given" else f"perhaps {near}" if near else "nothing similar"
            text = f"{row['label']:<{width}}  {row['n_cells']:>8,}  {hint}"
            lines.append(f"  {escape(text)}")
    lines += _map_lines(result["map"], width=width) if result["map"] is not None else []
    if result["rolled_up"] is not None:
        lines += ["", "Rolled up:"]
        lines += [escape(f"  {label:<{width}}  {name}") for label, name in result["rolled_up"].items()]
    written = [result[name] for name in ("out", "terms_out") if result[name]]
    return [*lines, "", f"Written: {escape(', '.join(written))}"] if written else lines


def _map_lines(pairs: list[dict[str, Any]], *, width: int) -> list[str]:
    from rich.markup import escape

    placed = [pair for pair in pairs if pair["to"]]
    lines = ["", f"[bold]{len(placed)} of {len(pairs)} labels[/bold] have a name in the reference"]
    for pair in placed:
        text = f"{pair['from']:<{width}}  {pair['relation']:<8}  {pair['to']}"
        lines.append(f"  {escape(text)}")
    if len(placed) < len(pairs):
        lines += ["", "Without a single name there; they keep their own, and so count as wrong in a score by names:"]
    for pair in pairs:
        if not pair["to"]:
            several = f"one of {', '.join(pair['candidates'])}" if pair["candidates"] else "none"
            text = f"{pair['from']:<{width}}  {several}"
            lines.append(f"  {escape(text)}")
    return lines
