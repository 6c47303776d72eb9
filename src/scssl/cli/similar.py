"""`scssl similar`: the cells of a corpus or reference that are most like those of a file, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from scssl.cli._annotate_checks import check_apart
from scssl.cli._estimate import estimate
from scssl.cli.common import Common, Device, Outcome, Whole, divided, typed
from scssl.words import count

if TYPE_CHECKING:
    import pandas as pd

    from scssl.tasks.similar import SimilarCells

SHOWN = 10


def similar(
    file: Path,
    /,
    *,
    model: Path,
    reference: Path | None = None,
    out: Path,
    k: Whole | None = None,
    columns: str | None = None,
    backend: Literal["exact", "faiss"] | None = None,
    truth: str | None = None,
    save: Path | None = None,
    layer: str | None = None,
    reference_layer: str | None = None,
    device: Device = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Find the cells of a corpus or reference that are most like each cell of a file.

    Parameters
    ----------
    file
        .h5ad, .zarr, .h5mu, 10x .h5 or 10x mtx folder with raw counts. It is not changed.
    model
        Folder of the model; or what --save wrote, which knows its reference.
    reference
        Folder of a corpus, or a file with raw counts: the cells to search among.
    out
        .csv, .csv.gz or .parquet to write: k rows for each cell, with name, distance and annotation of similar ones.
    k
        Cells to find for each; 10 by default.
    columns
        Columns of the reference's obs to tell, separated by commas; by default cell_type, donor, source and other usual
        ones that there are.
    backend
        exact (by default): every cell of the reference is looked at. faiss: an approximate search, faster in large
        references, which can miss some; takes the extra faiss.
    truth
        Column with the types in both, to say how often similar cells have the right one.
    save
        Folder to keep model and embedded reference in, for --model of later runs.
    layer
        Where the file's raw counts are: a layer, or "raw"; X without it.
    reference_layer
        The same for the reference.
    device
        Where to compute.
    overwrite
        Replace OUT, and the folder of --save.
    """
    from scssl.corpus.sources.source import open_source
    from scssl.errors import SettingsError, import_extra
    from scssl.log import logger
    from scssl.tasks import SimilarCells
    from scssl.tasks.output import prepare_output
    from scssl.tasks.similar_files import KIND

    also = [] if reference is None else [reference]
    prepare_output(out, file=file, overwrite=overwrite, also=also, kinds=(".csv", ".csv.gz", ".parquet"))
    if out.suffix == ".parquet":
        import_extra("pyarrow", extra="census")
    check_apart(model, {"--out": out, "--save": save})
    if save is not None:
        KIND.check_place(save, overwrite=overwrite, option="--save")
    with open_source(file, layer=layer) as source:
        n_cells, n_features = source.n_cells, source.n_features
        if truth is not None:
            from scssl.tasks.annotate.labels import read_labels

            read_labels(source.obs, truth, file=source.file)
    given: dict[str, Any] = {"k": k, "backend": backend}
    given = {name: value for name, value in given.items() if value is not None}
    kept = KIND.is_at(model)
    if kept:
        more = {**given, "reference": reference, "columns": columns, "save": save, "reference_layer": reference_layer}
        more.pop("k", None)
        options = [f"--{name.replace('_', '-')}" for name, value in more.items() if value is not None]
        if options:
            message = f"{', '.join(options)} cannot be chosen for {model}: it was settled when it was made"
            raise SettingsError(message)
        search = SimilarCells.load(model)
        _set_k(search, k)
    elif reference is None:
        message = f"{model} knows no cells to search among, so give --reference: a corpus or a file"
        raise SettingsError(message)
    else:
        search = SimilarCells(model, **given)
    logger.info("%s: %s; %s", file.name, count(n_cells, "cell"), estimate(file, n_cells=n_cells, n_features=n_features))
    if not kept and reference is not None:
        wanted = None if columns is None else divided(columns)
        search.fit(reference, columns=wanted, layer=reference_layer, device=device)
    table = search.predict(file, layer=layer, device=device)
    scores = None if truth is None else search.evaluate(file, truth=truth, layer=layer, device=device)
    _write(table, out)
    if save is not None:
        search.save(save, overwrite=overwrite)
    return _outcome(table, scores, search=search, out=out, save=save)


def _set_k(search: SimilarCells, k: int | None) -> None:
    from scssl.errors import DataError, require

    if k is None:
        return
    require("k", k, holds=k >= 1, must="a whole number, 1 or more")
    assert search.reference is not None
    if k > len(search.reference.codes):
        message = f"{search.reference.name}: has {len(search.reference.codes):,} cells, fewer than k = {k}; lower --k"
        raise DataError(message)
    search.k = k


def _write(table: pd.DataFrame, out: Path) -> None:
    """Write a table that appears only when complete."""
    from scssl.files import whole

    with whole(out) as place:
        if out.suffix == ".parquet":
            table.to_parquet(place, index=False)
        else:
            table.to_csv(place, index=False)


def _outcome(table: pd.DataFrame, scores: Any, *, search: SimilarCells, out: Path, save: Path | None) -> Outcome:
    from rich.markup import escape

    assert search.reference is not None
    n_query = len(table) // search.k
    result: dict[str, Any] = {
        "out": str(out), "n_cells": n_query, "k": search.k, "n_reference": len(search.reference.codes),
        "reference": search.reference.name, "columns": list(table.columns),
        "median_distance": round(float(table["distance"].median()), 4),
    }  # fmt: skip
    lines = [
        f"{search.k} most similar of {len(search.reference.codes):,} cells of {escape(search.reference.name)} for each "
        f"of {n_query:,}: {escape(str(out))}"
    ]
    if "cell_type" in table:
        common = table.loc[table["rank"] == 1, "cell_type"].value_counts()
        result["nearest_types"] = {str(name): int(n) for name, n in common.items()}
        shown = [f"{name or '(no label)'}: {n:,}" for name, n in common.head(SHOWN).items()]
        lines.append(escape("nearest cell's type: " + ", ".join(shown) + (", ..." if len(common) > SHOWN else "")))
    if scores is not None:
        result["scores"] = {name: round(value, 4) for name, value in vars(scores).items()}
        lines.append(
            f"of {scores.n_cells:,} cells with a type that the reference has, {scores.first:.1%} have it in the "
            f"nearest cell; {scores.neighbours:.1%} of the {search.k} nearest have it (by chance {scores.chance:.1%})"
        )
    if save is not None:
        result["saved"] = str(save)
        lines.append(f"Kept: {escape(str(save))}. Next: scssl similar OTHER --model {typed(save)} --out O.csv")
    return Outcome(result=result, text="\n".join(lines))
