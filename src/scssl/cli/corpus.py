"""``scssl corpus``: build, describe and verify corpora."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from scssl.cli._corpus_info import describe
from scssl.cli.audit import audit
from scssl.cli.common import Common, Outcome, Whole
from scssl.errors import SettingsError
from scssl.words import count

Duplicates = Literal["drop", "keep"]
Compress = Literal["zstd"]
__all__ = ["append", "audit", "build", "info", "verify"]


def build(
    *files: str,
    out: Path,
    genes: str = "human",
    obs: str = "",
    layer: str | None = None,
    source: str | None = None,
    measured: str | None = None,
    where: str | None = None,
    unlabelled: str = "",
    min_counts: Whole = 0,
    min_genes: Whole = 0,
    max_mito: float = 1.0,
    duplicates: Duplicates = "drop",
    split_by: str = "donor",
    val: float = 0.1,
    test: float = 0.1,
    seed: Whole = 0,
    compress: Compress | None = None,
    workers: Whole = 1,
    dask: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,
) -> Outcome:
    """Build a corpus from any number of files with raw counts, in bounded memory.

    It appears at OUT only when it is complete. A build that was interrupted goes on when the same command is given
    again. The files are not changed.

    Parameters
    ----------
    files
        .h5ad, .zarr, .h5mu, 10x .h5, or 10x mtx folders; SOMA experiments (folder or address); census:VERSION.
    out
        Folder to make.
    genes
        Genes of the corpus: human, mouse; union, intersection or hvg:N of the files; a file; a model or corpus folder.
    obs
        Columns of obs to keep, separated by commas. The column to split by is always kept. Where files name a column
        differently: cell_type=celltype_l2|annotation takes the first of these that a file has, else its cell_type.
    layer
        Where the raw counts are: X by default, raw for .raw.X, or the name of a layer.
    source
        Column of obs that names the source (study, batch) of each cell; by default every file is one source.
    measured
        uns:KEY of a table (genes by sources, true/false) of what was measured; by default the genes of the file.
    where
        Condition that cells must meet, e.g. 'tissue == "blood" and file not in ["a", "b"]'.
    unlabelled
        Values of the kept columns that mean "not known", separated by commas, e.g. unknown,unassigned.
    min_counts
        Leave out cells with fewer counts.
    min_genes
        Leave out cells with fewer genes seen.
    max_mito
        Leave out cells with a larger share of mitochondrial counts, e.g. 0.2.
    duplicates
        Cells that are in several files, by barcode and counts: drop all but one (that of the file that measured most
        genes), or keep them.
    split_by
        Column whose values (donors) stay together in one split; cell splits at random.
    val
        Share of the cells for validation.
    test
        Share of the cells for testing.
    seed
        Seed of the splits and of the order of cells.
    compress
        zstd stores counts in a quarter of the disk; reading them then takes more of the processor.
    workers
        Processes to work with (more than one needs scssl[dask]); each takes about 1.4 GB of memory.
    dask
        Address of a Dask scheduler to work on instead, e.g. tcp://node1:8786.
    overwrite
        Replace a corpus that is already there.
    common
        Options of every command.
    """
    del common
    if not files:
        message = "no files were given: scssl corpus build FILE... --out DIR"
        raise SettingsError(message)
    from scssl.corpus import Corpus

    corpus = Corpus.build(
        files,
        out,
        genes=genes,
        obs=obs,
        layer=layer,
        source=source,
        measured=measured,
        where=where,
        unlabelled=unlabelled,
        min_counts=min_counts,
        min_genes=min_genes,
        max_mito=max_mito,
        duplicates=duplicates,
        split_by=split_by,
        val=val,
        test=test,
        seed=seed,
        compress=compress,
        overwrite=overwrite,
        workers=workers,
        dask=dask,
    )
    outcome = describe(corpus.info())
    hint = f"\nNext: [bold]scssl pretrain {_escape(str(out))} --out MODEL[/bold]"
    return Outcome(result=outcome.result, text=outcome.text + hint)


def append(
    path: Path,
    /,
    *files: str,
    obs: str | None = None,
    layer: str | None = None,
    source: str | None = None,
    measured: str | None = None,
    where: str | None = None,
    unlabelled: str | None = None,
    min_counts: Whole | None = None,
    min_genes: Whole | None = None,
    max_mito: float | None = None,
    duplicates: Duplicates | None = None,
    workers: Whole = 1,
    dask: str | None = None,
    common: Common | None = None,
) -> Outcome:
    """Add the cells of more files to a corpus, without building it again.

    Its genes, the donors' splits and its columns stay as they are; new donors are shared out among the splits. Until
    all new cells are written, it is the old corpus. Options are those that it was built with, unless given here.

    Parameters
    ----------
    path
        Folder of the corpus.
    files
        As for corpus build.
    obs
        The columns that the corpus keeps, where these files have them under other names: cell_type=annotation,donor.
    layer
        Where the raw counts are.
    source
        Column of obs that names the source of each cell.
    measured
        uns:KEY of a table (genes by sources) of what was measured.
    where
        Condition that cells must meet.
    unlabelled
        Values of the kept columns that mean "not known", separated by commas.
    min_counts
        Leave out cells with fewer counts.
    min_genes
        Leave out cells with fewer genes seen.
    max_mito
        Leave out cells with a larger share of mitochondrial counts.
    duplicates
        Cells that the corpus has already, by barcode and counts: drop or keep.
    workers
        Processes to work with (more than one needs scssl[dask]).
    dask
        Address of a Dask scheduler to work on instead.
    common
        Options of every command.
    """
    del common
    if not files:
        message = "no files were given: scssl corpus append CORPUS FILE..."
        raise SettingsError(message)
    from scssl.corpus import Corpus

    given: dict[str, Any] = {
        "obs": obs,
        "layer": layer,
        "source": source,
        "measured": measured,
        "where": where,
        "unlabelled": unlabelled,
        "min_counts": min_counts,
        "min_genes": min_genes,
        "max_mito": max_mito,
        "duplicates": duplicates,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    return describe(Corpus.open(path).append(files, workers=workers, dask=dask, **changes).info())


def info(path: Path, /, *, common: Common | None = None) -> Outcome:
    """Say what is in a corpus: cells, genes, sources, columns, size.

    Parameters
    ----------
    path
        Folder of the corpus.
    common
        Options of every command.
    """
    del common
    from scssl.corpus import Corpus

    return describe(Corpus.open(path).info())


def verify(path: Path, /, *, common: Common | None = None) -> Outcome:
    """Recompute the checksums of a corpus: exit code 0 when it is whole, 2 when a file is missing or altered.

    Parameters
    ----------
    path
        Folder of the corpus.
    common
        Options of every command.
    """
    del common
    from scssl.corpus.format.verify import verify_folder

    n_files, problems = verify_folder(path)
    result = {"path": str(path), "files": n_files, "problems": problems, "whole": not problems}
    if not problems:
        return Outcome(result=result, text=f"{_escape(str(path))}: whole, {count(n_files, 'file')} checked")
    lines = [f"{_escape(str(path))}: [red]damaged[/red]. Copy it again from where it is whole, or build it again."]
    lines += [f"  {_escape(problem)}" for problem in problems]
    return Outcome(result=result, text="\n".join(lines), exit_code=2)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
