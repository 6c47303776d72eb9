"""Everything that `scssl check` says about a file: values, genes, cells, annotation, and what to do next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from scssl.corpus.format.shard import LARGEST_COUNT
from scssl.corpus.sources.annotation import Column, guess_columns
from scssl.corpus.sources.source import CellSource, open_source
from scssl.corpus.sources.values import (
    MatrixKind,
    check_counts,
    describe_matrix,
    describe_values,
    sample_rows,
    too_large,
    whole_cells,
)
from scssl.errors import DataError
from scssl.genes import GenePanel, HarmoniseReport, harmonise, load_panel
from scssl.genes.matching import gene_features, guess_species, other_features
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    import scipy.sparse as sp

__all__ = ["FileReport", "MatrixKind", "check_counts", "describe_matrix", "describe_values", "inspect_file", "percent"]

N_CELLS: Final = 2000
"""Cells looked at."""
_TRANSLATED: Final = ("Antibody Capture", "Peaks", "Chromatin Accessibility")
"""Types of features that `scssl translate` predicts."""
MODEL_FILE: Final = "config.json"
"""A folder given as the panel is a model if it holds this."""


@dataclass(kw_only=True)
class FileReport:
    """What a file holds, whether scssl can use it, and if not, why."""

    file: str
    layer: str
    """Key of the matrix that was looked at."""
    n_cells: int
    n_features: int
    n_values: int | None
    """Stored values; None for a dense matrix."""
    bytes_on_disk: int
    bytes_in_memory: int
    """Of the matrix, if it were loaded whole; scssl itself reads it in chunks."""
    by_column: bool
    """True if the matrix is stored by columns, which is slower to read by cells."""
    values: MatrixKind
    elsewhere: dict[str, MatrixKind]
    """Other matrices of the file; looked at only if the chosen one holds no counts."""
    panel: str
    species: dict[str, float]
    """Species -> share of the gene features that are its genes, by exact name."""
    genes: HarmoniseReport | None
    """None if the genes cannot be matched; then `problems` says why."""
    n_looked_at: int
    """Cells from all over the file that were looked at."""
    n_empty: int
    """Cells among them without any count."""
    n_repeated_cells: int
    """Cell names that occurred before."""
    n_repeated_features: int
    columns: list[Column]
    """obs columns that look like cell type, donor, batch or condition."""
    problems: list[str] = field(default_factory=list)
    """Why the file cannot be used as it is, each with the fix."""
    warnings: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)
    """Commands to type next, the best first."""

    @property
    def usable(self) -> bool:
        """True if nothing stands in the way."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as printed by ``scssl check --json``."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {
            "usable": self.usable,
            "values": self.values.to_dict(),
            "elsewhere": {key: kind.to_dict() for key, kind in self.elsewhere.items()},
            "genes": self.genes.to_dict() if self.genes else None,
            "columns": [column.to_dict() for column in self.columns],
        }


def inspect_file(path: str | Path, *, panel: str | Path | GenePanel = "human", layer: str | None = None) -> FileReport:
    """Look at a file: its tables, and a sample of its cells.

    Parameters
    ----------
    path
        Anything that `open_source` takes.
    panel
        Anything that `load_panel` takes.
    layer
        Matrix to look at: None for X, ``"raw"``, or a layer.

    Raises
    ------
    ScsslError
        If the file cannot be opened, has no such layer, or there is no such panel. What is wrong with the contents of
        a file that opens is listed in the report.
    """
    wanted = load_panel(panel)
    with open_source(path, layer=layer) as source:
        numbers, sample = sample_rows(source, n_cells=N_CELLS)
        report = FileReport(
            file=source.file,
            layer=source.layer,
            n_cells=source.n_cells,
            n_features=source.n_features,
            n_values=source.nnz,
            bytes_on_disk=_bytes_on_disk(source.path),
            bytes_in_memory=_bytes_in_memory(source),
            by_column=source.by_column,
            values=describe_matrix(sample),
            elsewhere={},
            panel=wanted.name,
            species=_species_shares(source),
            genes=None,
            n_looked_at=sample.shape[0],
            n_empty=int(np.count_nonzero(np.diff(sample.indptr) == 0)),
            n_repeated_cells=int(source.obs.index.duplicated().sum()),
            # A protein may have the name of its gene.
            n_repeated_features=int(source.var.index[gene_features(source.var)].duplicated().sum()),
            columns=guess_columns(source.obs),
        )
        _judge_values(report, sample)
        if report.values.kind != "counts" and report.n_features:
            others = [key for key in source.layers if key != source.layer]
            report.elsewhere = dict(_look_elsewhere(path, others))
            _point_to_counts(report, joined=_joined(report, source, numbers, sample))
        _judge_genes(report, source, wanted, sample)
    _judge_cells(report)
    report.next = _next_commands(report, panel)
    return report


def _species_shares(source: CellSource) -> dict[str, float]:
    genes = source.var[gene_features(source.var)]
    return {name: one.n_known / max(len(genes), 1) for name, one in guess_species(genes).items()}


def _judge_values(report: FileReport, sample: sp.csr_matrix) -> None:
    values, where = report.values, _spoken(report.layer)
    if report.n_features == 0:
        return  # `_judge_genes` says so
    if values.n_values == 0 and not values.n_nan + values.n_infinite:
        report.problems.append(f"{where} holds nothing but zeros in the {sample.shape[0]:,} cells looked at")
    elif values.kind != "counts":
        report.problems.append(f"{where} holds no raw counts but {values}")
    elif values.maximum > LARGEST_COUNT:
        report.problems.append(f"{where} holds {too_large(values.maximum)}")
    elif values.maximum == 1 and values.n_values > 100:
        report.warnings.append(f"all values of {where} are 0 or 1: it was told only whether a gene was seen")


def _look_elsewhere(path: str | Path, keys: list[str]) -> Iterator[tuple[str, MatrixKind]]:
    for key in keys:
        with open_source(path, layer=key) as other:
            yield key, describe_values(other, n_cells=N_CELLS // 4)


def _joined(report: FileReport, source: CellSource, numbers: np.ndarray, sample: sp.csr_matrix) -> str:
    """Say which cells hold counts, if two kinds of data were joined and a column of obs tells them apart."""
    if not report.values.joined:
        return ""
    counts = whole_cells(sample)
    text = f"{counts.sum():,} of the {len(counts):,} cells looked at hold counts and the others do not"
    for column in sorted(report.columns, key=lambda one: one.n_values):
        share = pd.Series(counts).groupby(source.obs[column.name].astype(str).to_numpy()[numbers]).mean()
        good = sorted(share.index[share == 1])
        if good and set(share) == {0.0, 1.0}:
            keep = f"adata[adata.obs[{column.name!r}].isin({good!r})].write_h5ad('counts.h5ad')"
            return f"{text}: {column.name} tells them apart. Keep those with counts, in Python: {keep}"
    return f"{text}; keep only those"


def _point_to_counts(report: FileReport, *, joined: str) -> None:
    found = [key for key, kind in report.elsewhere.items() if kind.kind == "counts"]
    if found:
        options = " or ".join(f"--layer {_option(key)}" for key in found)
        report.problems[-1] += f". Raw counts are in {' and '.join(map(_spoken, found))}: add {options}"
        return
    if joined:
        report.problems[-1] += f". Data of two kinds were joined: {joined}"
        return
    looked = f" (looked at {', '.join(map(_spoken, report.elsewhere))} too)" if report.elsewhere else ""
    message = f". There are no raw counts in this file{looked}: get them from whoever made it"
    kinds = {report.layer: report.values, **report.elsewhere}
    restorable = [key for key, kind in kinds.items() if kind.restorable]
    if restorable:
        message += (
            f"; or work them out: in {_spoken(restorable[0])} every value of a cell, logs undone, is a whole multiple "
            "of the smallest one"
        )
    elif (
        report.values.kind == "other"
        and report.values.n_values
        and not report.values.n_negative + report.values.n_nan + report.values.n_infinite
    ):
        message += "; estimated counts (RSEM, SoupX, CellBender, ...) can be rounded to whole numbers first"
    report.problems[-1] += message


def _judge_genes(report: FileReport, source: CellSource, panel: GenePanel, sample: sp.csr_matrix) -> None:
    try:
        genes = harmonise(source.var, panel, file=report.file)
    except DataError as error:
        report.problems.append(str(error).removeprefix(f"{report.file}: "))
        return
    report.genes = genes.report
    kinds = pd.Series(other_features(source.var)).value_counts()
    for kind, n in kinds[kinds.index.isin(_TRANSLATED)].items():
        report.warnings.append(
            f"{n:,} features are no genes but {kind}: left out of the expression; scssl translate --reference learns "
            "them from this file"
        )
    usable = np.isfinite(sample.data).all() and not (sample.data < 0).any()
    try:
        # Shares of log values say little, but scaled or broken ones nothing at all.
        if usable:
            genes.check_counts_share(sample)
    except DataError as error:
        report.problems.append(str(error).removeprefix(f"{report.file}: "))
    if genes.report.small:
        share = genes.report.measured / genes.report.n_panel
        more = "try --layer raw, which may have more" if "raw" in source.layers and source.layer != "raw" else ""
        report.warnings.append(
            f"only {genes.report.measured:,} of {genes.report.n_panel:,} panel genes are measured ({percent(share)}); "
            f"fine for a targeted panel, else {more or 'use the file before genes were selected'}"
        )


def _judge_cells(report: FileReport) -> None:
    if report.n_empty:
        of = "" if report.n_looked_at == report.n_cells else f" of {report.n_looked_at:,} looked at"
        cells = count(report.n_empty, "cell")
        report.warnings.append(f"no counts at all in {cells}{of}; a corpus leaves such cells out")
    if report.n_repeated_cells:
        report.warnings.append(f"{report.n_repeated_cells:,} cell names are repeated; they get numbered")
    if report.n_repeated_features:
        report.warnings.append(f"{report.n_repeated_features:,} feature names are repeated; their counts are summed")
    if report.by_column and report.n_values and report.n_values > 1e8:
        gigabytes = report.n_values * 16 / 1e9
        report.warnings.append(
            f"the matrix is stored by genes (CSC), so reading it by cells needs {gigabytes:.0f} GB of temporary disk"
        )


def _next_commands(report: FileReport, panel: str | Path | GenePanel) -> list[str]:
    file = shlex.quote(report.file)
    if not report.usable:
        return _fixing_commands(report, file, panel)
    layer = "" if report.layer == "X" else f" --layer {_option(report.layer)}"
    if not isinstance(panel, GenePanel) and (Path(panel) / MODEL_FILE).is_file():
        return [f"scssl embed {file} --model {shlex.quote(str(panel))}{layer} --out embedded.h5ad"]
    column = {one.role: one for one in report.columns}
    kept = [column[role].name for role in ("cell type", "donor", "condition") if role in column]
    donor = column.get("donor")
    # One donor at least for training, one to validate, one to test.
    split = shlex.quote(donor.name) if donor and donor.n_values > 2 else "cell"
    genes = panel.name if isinstance(panel, GenePanel) else str(panel)
    obs = f" --obs {shlex.quote(','.join(kept))}" if kept else ""
    unlabelled = sorted({value for one in report.columns if one.name in kept for value in one.not_known if value})
    unknown = f" --unlabelled {shlex.quote(','.join(unlabelled))}" if unlabelled else ""
    return [
        f"scssl corpus build {file} --out corpus --genes {shlex.quote(genes)}{obs}{unknown}{layer} --split-by {split}",
        "scssl pretrain corpus --out model",
    ]


def _fixing_commands(report: FileReport, file: str, panel: str | Path | GenePanel) -> list[str]:
    counts = [key for key, kind in report.elsewhere.items() if kind.kind == "counts"]
    chosen = "" if report.layer == "X" else f" --layer {_option(report.layer)}"
    layer = f" --layer {_option(counts[0])}" if counts else chosen
    likely = next(iter(report.species), None)
    other = report.genes is None and likely not in (None, report.panel) and report.species.get(str(likely), 0) >= 0.5
    if not counts and not other:
        return []
    genes = likely if other else panel.name if isinstance(panel, GenePanel) else str(panel)
    option = "" if genes == "human" else f" --panel {shlex.quote(str(genes))}"
    return [f"scssl check {file}{option}{layer}"]


def percent(share: float) -> str:
    """Write a share for people: ``66%``, ``0.5%``, ``less than 0.1%``."""
    if 0 < share < 0.001:
        return "less than 0.1%"
    return f"{share:.1%}" if 0 < share < 0.01 or 0.99 < share < 1 else f"{share:.0%}"


def _spoken(key: str) -> str:
    return key if key in ("X", "raw") else f"layer {key.removeprefix('layers/')!r}"


def _option(key: str) -> str:
    return shlex.quote(key.removeprefix("layers/"))


def _bytes_on_disk(path: Path | None) -> int:
    if path is None:
        return 0
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _bytes_in_memory(source: CellSource) -> int:
    # As scanpy would hold it: float32 values with int32 indices, or dense float32.
    return 8 * source.nnz + 8 * source.n_cells if source.nnz is not None else 4 * source.n_cells * source.n_features
