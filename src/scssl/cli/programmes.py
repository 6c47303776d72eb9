"""`scssl programmes`: which genes act together, by published sets or by the cells of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from scssl.cli.common import Common, Outcome, Whole

if TYPE_CHECKING:
    from scssl.corpus import Corpus
    from scssl.genes import GenePanel, Programmes
    from scssl.genes.mapping import SetsReport

EXAMPLES = 5
"""Genes named per programme."""


def programmes(
    spec: str,
    /,
    *,
    panel: str | None = None,
    corpus: Path | None = None,
    min_coverage: float = 0.5,
    min_genes: Whole = 10,
    max_genes: Whole | None = None,
    regulators: Literal["auto", "names", "none"] = "auto",
    out: Path | None = None,
    show: Whole = 20,
    seed: Whole = 0,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    common: Common | None = None,  # noqa: ARG001
) -> Outcome:
    """Show gene programmes over a panel: how many, their sizes, what the panel covers of them and they of it.

    Parameters
    ----------
    spec
        A GMT file (.gmt, .gmt.gz); a table of transcription factors and targets; modules:N, learned from --corpus;
        regulons:FILE, targets learned from --corpus for a list of transcription factors; or a collection to fetch:
        msigdb:H, msigdb:C2:REACTOME, msigdb:C3:TFT, msigdb:C5, msigdb:C7, msigdb:C8, collectri.
    panel
        Genes: human, mouse, the folder of a model or corpus, or a file of genes; by default those of --corpus, or
        human.
    corpus
        Corpus, or file of cells, to learn from. For sets from files: only genes that are measured in it count.
    min_coverage
        Least share of a set's genes that must be on the panel.
    min_genes
        Fewest genes on the panel.
    max_genes
        Most genes on the panel.
    regulators
        Whether names of sets, such as STAT1_01, tell transcription factors: auto where most of a file's do.
    out
        .gmt to write the programmes to, by Ensembl IDs.
    show
        Programmes in the table; all of them are in --json.
    seed
        Seed of the sample of cells that is learned from.
    overwrite
        Replace OUT.
    """
    from scssl.errors import SettingsError
    from scssl.genes import Limits, load_panel
    from scssl.genes.load import load_reported

    if out is not None and out.exists() and not overwrite:
        message = f"{out} exists already; choose another name, or add --overwrite"
        raise SettingsError(message)
    if out is not None and not out.absolute().parent.is_dir():
        message = f"{out}: there is no folder {out.absolute().parent} to write it to"
        raise SettingsError(message)
    limits = Limits(min_coverage=min_coverage, min_genes=min_genes, max_genes=max_genes)
    store = None if corpus is None else _open(corpus, panel)
    genes = load_panel(panel) if panel is not None else load_panel("human") if store is None else store.panel
    found, report = load_reported(spec, panel=genes, limits=limits, corpus=store, seed=seed, regulators=regulators)
    if out is not None:
        found.save(out)
    result = _result(found, report, genes, out)
    return Outcome(result=result, text="\n".join(_lines(result, show=show)))


def _open(path: Path, panel: str | None) -> Corpus:
    from scssl.corpus import Corpus
    from scssl.corpus.gather import gather

    if (path / "corpus.json").is_file():
        return Corpus.open(path)
    return gather(path, genes=panel)


def _result(found: Programmes, report: SetsReport | None, panel: GenePanel, out: Path | None) -> dict[str, Any]:
    names = [symbol or gene for gene, symbol in zip(panel.ids, panel.symbols, strict=True)]
    rows = [
        {
            "name": name,
            "description": description,
            "n_genes": int(size),
            "coverage": float(share),
            "regulators": [names[i] for i in regulators.nonzero()[0]],
            "examples": [names[i] for i in members.nonzero()[0][:EXAMPLES]],
        }
        for name, description, size, share, members, regulators in zip(
            *(found.names, found.descriptions, found.sizes, found.coverage, found.members, found.regulators),
            strict=True,
        )
    ]
    sizes = sorted(row["n_genes"] for row in rows)
    return {
        "panel": panel.name,
        "n_panel": len(panel),
        "n_programmes": len(found),
        "n_regulated": sum(bool(row["regulators"]) for row in rows),
        "covered": found.covered,
        "smallest": sizes[0],
        "median": sizes[len(sizes) // 2],
        "largest": sizes[-1],
        "report": None if report is None else report.to_dict(),
        "out": None if out is None else str(out),
        "programmes": rows,
    }


def _lines(result: dict[str, Any], *, show: int) -> list[str]:
    from rich.markup import escape

    lines = [
        f"[bold]{result['n_programmes']:,} programmes[/bold] of {result['smallest']:,} to {result['largest']:,} genes "
        f"(median {result['median']:,}); together they cover {result['covered']:.1%} of the {result['n_panel']:,} "
        f"genes of the panel {escape(repr(result['panel']))}",
    ]
    if result["n_regulated"]:
        lines.append(f"{result['n_regulated']:,} of them have a transcription factor on the panel")
    if result["out"] is not None:
        lines.append(f"written to {escape(result['out'])}")
    rows = result["programmes"][:show]
    width = min(max((len(row["name"]) for row in rows), default=0), 60)
    lines += ["", f"  {'programme':<{width}}  genes  coverage  examples"] if rows else []
    for row in rows:
        factor = f"[{', '.join(row['regulators'])}] " if row["regulators"] else ""
        name = row["name"] if len(row["name"]) <= width else f"{row['name'][: width - 3]}..."
        more = ", ..." if row["n_genes"] > EXAMPLES else ""
        text = (
            f"{name:<{width}}  {row['n_genes']:>5}  {row['coverage']:>8.0%}  {factor}{', '.join(row['examples'])}{more}"
        )
        lines.append(f"  {escape(text)}")
    n = result["n_programmes"] - len(rows)
    return [*lines, f"  and {n:,} more (--show N, or all with --json)"] if n > 0 else lines
