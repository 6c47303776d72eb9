"""Genes: ordered panels, and how the features of a file are matched to them."""

from __future__ import annotations

from scssl.genes.panel import GenePanel, load_panel
from scssl.genes.tables import mouse_to_human

__all__ = ["GenePanel", "load_panel", "mouse_to_human"]
