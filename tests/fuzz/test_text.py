"""Damaged text files: gene sets, panels, label maps, tables of terms, ontologies, conditions, settings."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scssl.errors import SettingsError
from scssl.genes import GenePanel
from scssl.genes.gmt import read_gmt
from scssl.genes.programmes import Programmes
from scssl.genes.regulators import read_factors, read_targets
from scssl.ontology import CellOntology
from scssl.ontology.schemes import read_terms
from scssl.tasks.annotate.labels import read_label_map
from tests.fuzz.damage import damaged_bytes, read_or_refused

PANEL = GenePanel.from_names(["CD3D", "CD8A", "MS4A1", "LYZ", "STAT1", "GAPDH"], name="six")

GMT = b"# sets\nA\tfirst\tCD3D\tCD8A\nA\t\tLYZ\r\n\nSTAT1_01\tfactor\tGAPDH\n"
TARGETS = b"tf,target,weight\nSTAT1,CD3D,1\nSTAT1,LYZ,-0.5\nGAPDH,CD8A,nan\n"
NAMES = b"\xef\xbb\xbfCD3D\nENSG00000111640.15\nno gene\n"
TABLE = b'id,symbol\nENSG00000111640,GAPDH\nENSG00000090382,"LYZ"\n'
MAP = b'from,to\nT cell,CD4T\n"B, naive",B\nx,\n'
YAML = b"T cell: CD4T\nB: &b [1]\nx: ~\n"
JSON = b'{"T cell": "CD4T", "x": null, "n": 1}'
TERMS = b'label,term\nT,CL:0000084\n"B ""x""",\n'
OBO = b"""format-version: 1.2
data-version: x

[Term]
id: CL:0000000
name: cell

[Term]
id: CL:0000084
name: T cell
synonym: "T-cell \\"x\\"" EXACT []
is_a: CL:0000000 {is_inferred="true"} ! cell
alt_id: CL:0000001

[Typedef]
id: part_of
"""


def saved(name, write):
    """What scssl itself writes to a file."""

    def content(folder: Path) -> bytes:
        write(folder / name)
        return (folder / name).read_bytes()

    return content


def programmes(path):
    members = [[True, True, False, False, False, False], [False, False, True, True, True, False]]
    import numpy as np

    found = Programmes(
        names=["a", "b"], members=np.array(members), regulators=np.eye(2, 6, dtype=bool), descriptions=["", "x"],
        panel=PANEL,
    )  # fmt: skip
    found.save(path, panel=PANEL)


READERS = {
    "sets.gmt": (lambda _: GMT, read_gmt),
    "sets.gmt.gz": (lambda _: gzip.compress(GMT), read_gmt),
    "saved.gmt": (saved("saved.gmt", programmes), lambda path: Programmes.read(path, PANEL)),
    "targets.csv": (lambda _: TARGETS, read_targets),
    "factors.txt": (lambda _: NAMES, read_factors),
    "names.txt": (lambda _: NAMES, GenePanel.from_file),
    "table.csv": (lambda _: TABLE, GenePanel.from_file),
    "genes.tsv": (saved("genes.tsv", PANEL.save), GenePanel.from_file),
    "map.csv": (lambda _: MAP, read_label_map),
    "map.tsv": (lambda _: MAP.replace(b",", b"\t"), read_label_map),
    "map.yaml": (lambda _: YAML, read_label_map),
    "map.json": (lambda _: JSON, read_label_map),
    "terms.csv": (lambda _: TERMS, read_terms),
    "cl.obo": (lambda _: OBO, CellOntology.open),
}
MARKS = b'\t\n\r",;:#[]{}&*!|>%@`\\\x00\xff\x85\x1f\x8b'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=30)
def test_damaged_files_are_read_or_refused(folder, name, data):
    content, reader = READERS[name]
    (folder / f"damaged-{name}").write_bytes(data.draw(damaged_bytes(content(folder), alphabet=MARKS)))
    read_or_refused(reader, folder / f"damaged-{name}")


@pytest.mark.parametrize("name", READERS)
@given(content=st.binary(max_size=200))
@settings(max_examples=10)
def test_any_bytes_are_read_or_refused(folder, name, content):
    (folder / f"any-{name}").write_bytes(content)
    read_or_refused(READERS[name][1], folder / f"any-{name}")


@given(text=st.text(alphabet="ab()[]=!<>'\"andornoti ,0.-*\n\\", max_size=40) | st.text(max_size=30))
@settings(max_examples=100)
def test_conditions_are_understood_or_refused(text):
    import pandas as pd

    from scssl.corpus.where import Condition

    obs = pd.DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]})
    try:
        holds = read_or_refused(lambda: Condition(text).holds(obs))
    except SettingsError:
        return
    assert holds is None or (holds.shape == (2,) and holds.dtype == bool)
