"""Genes: ordered panels, how the features of a file are matched to them, and programmes of genes over them."""

from __future__ import annotations

from scssl.genes.from_data import VariableGenes, panel_of_files
from scssl.genes.gmt import GeneSet, read_gmt, write_gmt
from scssl.genes.harmonise import GeneMap, HarmoniseReport, harmonise
from scssl.genes.load import load_programmes
from scssl.genes.modules import learn_modules
from scssl.genes.panel import GenePanel, load_panel
from scssl.genes.programmes import Limits, Programmes
from scssl.genes.regulons import learn_regulons
from scssl.genes.tables import gene_table, mouse_to_human

__all__ = [
    "GeneMap",
    "GenePanel",
    "GeneSet",
    "HarmoniseReport",
    "Limits",
    "Programmes",
    "VariableGenes",
    "gene_table",
    "harmonise",
    "learn_modules",
    "learn_regulons",
    "load_panel",
    "load_programmes",
    "mouse_to_human",
    "panel_of_files",
    "read_gmt",
    "write_gmt",
]
