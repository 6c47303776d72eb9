"""A small ontology, as a file in the format of the real one."""

from __future__ import annotations

import pytest

from scssl.ontology import CellOntology

OBO = """format-version: 1.2
data-version: small/2026
ontology: cl

[Term]
id: CL:0000000
name: cell

[Term]
id: CL:0000255
name: eukaryotic cell
is_a: CL:0000000 ! cell

[Term]
id: CL:0000988
name: hematopoietic cell
is_a: CL:0000255 ! eukaryotic cell

[Term]
id: CL:0000738
name: leukocyte
is_a: CL:0000988

[Term]
id: CL:0000542
name: lymphocyte
is_a: CL:0000738 {is_inferred="true"} ! leukocyte

[Term]
id: CL:0000236
name: B cell
alt_id: CL:0000999
synonym: "B lymphocyte" EXACT []
synonym: "B-cell" EXACT [PMID:1]
is_a: CL:0000542 {is_inferred="true"} ! lymphocyte

[Term]
id: CL:0000084
name: T cell
synonym: "T lymphocyte" EXACT []
is_a: CL:0000542 ! lymphocyte
relationship: develops_from CL:0000236 ! B cell

[Term]
id: CL:0000791
name: mature alpha-beta T cell
is_a: CL:0000084 ! T cell

[Term]
id: CL:0000624
name: CD4-positive, alpha-beta T cell
is_a: CL:0000791 ! mature alpha-beta T cell

[Term]
id: CL:0000625
name: CD8-positive, alpha-beta T cell
is_a: CL:0000791 ! mature alpha-beta T cell

[Term]
id: CL:0000814
name: mature NK T cell
synonym: "NK T cell" EXACT []
is_a: CL:0000791 ! mature alpha-beta T cell

[Term]
id: CL:0000623
name: natural killer cell
synonym: "NK cell" EXACT []
synonym: "null cell" BROAD []
is_a: CL:0000542 ! lymphocyte

[Term]
id: CL:0000576
name: monocyte
is_a: CL:0000738 ! leukocyte

[Term]
id: CL:0000860
name: classical monocyte
is_a: CL:0000576 ! monocyte

[Term]
id: CL:0000875
name: non-classical monocyte
is_a: CL:0000576 ! monocyte

[Term]
id: CL:0001054
name: CD14-positive monocyte
is_a: CL:0000576 ! monocyte

[Term]
id: CL:0000567
name: parafollicular cell
synonym: "C cell" EXACT []
synonym: "PFC" EXACT []
is_a: CL:0000255 ! eukaryotic cell

[Term]
id: CL:0000057
name: fibroblast
is_a: CL:0000255 ! eukaryotic cell

[Term]
id: CL:0000003
name: obsolete old lymphocyte
is_obsolete: true
replaced_by: CL:0000542

[Term]
id: CL:0000004
name: obsolete cell by organism
is_obsolete: true
consider: CL:0000000

[Term]
id: GO:0000001
name: no cell type

[Typedef]
id: part_of
name: part of
"""
# Leukocytes are to be a minority, as in the real ontology: what most cells are says nothing.
OTHERS = "".join(f"\n[Term]\nid: CL:88000{i}\nname: receptor {i} neuron\nis_a: CL:0000255\n" for i in range(10, 30))


@pytest.fixture
def obo(tmp_path):
    path = tmp_path / "cl.obo"
    path.write_text(OBO + OTHERS, encoding="utf-8")
    return path


@pytest.fixture
def ontology(obo):
    return CellOntology.open(obo)


@pytest.fixture(scope="session")
def real_ontology(real_data):
    path = real_data / "cell_ontology_basic_2022-12-15.obo"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return CellOntology.open(path)
