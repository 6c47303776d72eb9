"""The panel of a corpus: built in, from a file, or from the files that go into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, cast

from scssl.corpus.sources.source import open_source
from scssl.corpus.sources.values import check_counts
from scssl.corpus.where import Condition
from scssl.errors import SettingsError
from scssl.genes import GenePanel, VariableGenes, harmonise, load_panel, panel_of_files
from scssl.log import logger, progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

    from scssl.corpus.settings import BuildSettings

VARIABLE: Final = "hvg:"


def choose_panel(settings: BuildSettings, origins: Sequence[str | Path | AnnData]) -> GenePanel:
    """Return the panel that a build asks for.

    Parameters
    ----------
    settings
        ``genes`` says which: ``union`` and ``intersection`` are of the files' genes, ``hvg:N`` the N most variable ones
        of the union, over all cells that meet ``where``, sources being files; for anything else see `load_panel`.
    origins
        The files.

    Raises
    ------
    ScsslError
        If there is no such panel.
    """
    spec = settings.genes
    if isinstance(spec, GenePanel):
        return spec
    if str(spec) in ("union", "intersection"):
        return panel_of_files(_features(settings, origins), how=cast("Literal['union', 'intersection']", str(spec)))
    if not of_variable_genes(spec):
        return load_panel(spec)
    number = str(spec).removeprefix(VARIABLE)
    # More digits than any number of genes has, and Python refuses to read very long ones.
    if not (number.isdecimal() and len(number) < 10):
        message = f"genes={str(spec)!r} is not possible; write hvg:N, N being the number of genes, e.g. hvg:2000"
        raise SettingsError(message)
    return _variable(settings, origins, int(number))


def of_variable_genes(spec: str | Path | GenePanel) -> bool:
    """Whether `genes` asks for the most variable genes of the files."""
    return not isinstance(spec, GenePanel) and str(spec).startswith(VARIABLE)


def _features(settings: BuildSettings, origins: Sequence[str | Path | AnnData]) -> dict[str, pd.DataFrame]:
    features = {}
    for origin in origins:
        with open_source(origin, layer=settings.layer) as source:
            features[source.file] = source.var
    return features


def _variable(settings: BuildSettings, origins: Sequence[str | Path | AnnData], number: int) -> GenePanel:
    panel = panel_of_files(_features(settings, origins), how="union")
    finder = VariableGenes(panel)
    condition = Condition(settings.where) if settings.where is not None else None
    logger.info("all cells are read once more, to find the %s most variable genes", f"{number:,}")
    for origin in origins:
        with open_source(origin, layer=settings.layer) as source, progress(source.file, source.n_cells) as advance:
            genes = harmonise(source.var, panel, file=source.file)
            keep = None if condition is None else condition.holds(source.obs, file=source.file)
            for rows, X in source.chunks():
                check_counts(X, file=source.file, layer=settings.layer, first_row=rows.start)
                finder.add(genes.apply(X if keep is None else X[keep[rows]]), source=source.file)
                advance(X.shape[0])
    return finder.top(number)
