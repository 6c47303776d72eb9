"""Figures, and the page that shows a run; also importable as ``scssl.pl``."""

from __future__ import annotations

from scssl.report.compare import donor_shares, programme_shifts, volcano
from scssl.report.compare_ranking import comparison_overview, share_changes, state_shifts
from scssl.report.confusion import confusion_matrix
from scssl.report.curves import loss_curve
from scssl.report.embedding import embedding, umap
from scssl.report.explain import explanation
from scssl.report.integrate import before_and_after, integration_table
from scssl.report.page import render, write_page
from scssl.report.reconstruct import gene_scores, held_out
from scssl.report.reliability import reliability
from scssl.report.run import Run, Section
from scssl.report.scores import score_bars
from scssl.report.simulate import simulation_cells, simulation_means, simulation_table
from scssl.report.study import differences, learning_curves, method_scores, type_scores
from scssl.report.style import palette
from scssl.report.translate import translation_bars, translation_scatter

__all__ = [
    "Run",
    "Section",
    "before_and_after",
    "comparison_overview",
    "confusion_matrix",
    "differences",
    "donor_shares",
    "embedding",
    "explanation",
    "gene_scores",
    "held_out",
    "integration_table",
    "learning_curves",
    "loss_curve",
    "method_scores",
    "palette",
    "programme_shifts",
    "reliability",
    "render",
    "score_bars",
    "share_changes",
    "simulation_cells",
    "simulation_means",
    "simulation_table",
    "state_shifts",
    "translation_bars",
    "translation_scatter",
    "type_scores",
    "umap",
    "volcano",
    "write_page",
]
