"""The panel of a corpus: built in, from a file, or from the files that go into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from scssl.corpus.sources import open_source
from scssl.corpus.values import check_counts
from scssl.errors import SettingsError
from scssl.genes import GenePanel, VariableGenes, harmonise, load_panel, panel_of_files
from scssl.log import progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData


def choose_panel(
    spec: str | Path | GenePanel, origins: Sequence[str | Path | AnnData], *, layer: str | None = None
) -> GenePanel:
    """Return the panel that a corpus of these files is to have.

    Parameters
    ----------
    spec
        What `scssl.genes.load_panel` takes, or, from the files: ``"union"``, ``"intersection"``, or ``"hvg:N"`` for the
        N most variable genes of all that the files have (this reads all cells once; see `scssl.genes.VariableGenes`).
    origins
        Files, or AnnData in memory.
    layer
        Where their counts are.

    Raises
    ------
    SettingsError
        If the panel is none of these.
    DataError
        If no panel can be made from the files.
    """
    if spec in ("union", "intersection"):
        return panel_of_files(_features(origins, layer=layer), how=cast(Literal["union", "intersection"], spec))
    if isinstance(spec, str) and spec.startswith("hvg"):
        number = spec.removeprefix("hvg").removeprefix(":")
        if not number.isdecimal():
            message = f"--genes {spec}: write hvg:N with a number of genes, such as hvg:2000"
            raise SettingsError(message)
        return _most_variable(int(number), origins, layer=layer)
    return load_panel(spec)


def _features(origins: Sequence[str | Path | AnnData], *, layer: str | None) -> dict[str, pd.DataFrame]:
    features = {}
    for number, origin in enumerate(origins):
        with open_source(origin, layer=layer) as source:
            # Several AnnData in memory are all called alike.
            features[source.file if source.path else f"{source.file} {number + 1}"] = source.var
    return features


def _most_variable(n: int, origins: Sequence[str | Path | AnnData], *, layer: str | None) -> GenePanel:
    union = panel_of_files(_features(origins, layer=layer), how="union")
    variable = VariableGenes(union)
    for number, origin in enumerate(origins):
        with (
            open_source(origin, layer=layer) as source,
            progress(f"variable genes of {source.name}", source.n_cells) as done,
        ):
            genes = harmonise(source.var, union, file=source.file)
            for rows, X in source.chunks():
                check_counts(X, file=source.file, layer=layer, first_row=rows.start)
                variable.add(genes.apply(X), source=str(number))
                done(X.shape[0])
    return variable.top(n)
