"""Genes: ordered panels, and how the features of a file are matched to them."""

from __future__ import annotations

from scssl.genes.from_data import VariableGenes, panel_of_files
from scssl.genes.harmonise import GeneMap, HarmoniseReport, harmonise
from scssl.genes.panel import GenePanel, load_panel
from scssl.genes.tables import gene_table, mouse_to_human

__all__ = [
    "GeneMap",
    "GenePanel",
    "HarmoniseReport",
    "VariableGenes",
    "gene_table",
    "harmonise",
    "load_panel",
    "mouse_to_human",
    "panel_of_files",
]
