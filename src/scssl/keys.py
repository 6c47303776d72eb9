"""The names under which scssl writes to an AnnData, all in one place."""

from __future__ import annotations

from typing import Final

EMBEDDING: Final = "X_scssl"
"""``obsm``: embedding, float32, shape (n_cells, n_latent)."""

INTEGRATED: Final = "X_scssl_integrated"
"""``obsm``: embedding with the batches of a study brought together, float32, shape (n_cells, n_latent)."""

LABEL: Final = "scssl_label"
"""``obs``: predicted label, categorical; "unknown" for rejected cells."""

CONFIDENCE: Final = "scssl_confidence"
"""``obs``: probability of the best guess, float32 in [0, 1]."""

LABEL_SET: Final = "scssl_label_set"
"""``obs``: label set in words, categorical: one label, what its labels have in common, or the labels."""

UNKNOWN: Final = "scssl_unknown"
"""``obs``: why a cell was rejected, categorical; "" if it was not."""

PROTEIN: Final = "scssl_protein"
"""``obsm``: predicted proteins, float32, shape (n_cells, n_proteins); names and scale in ``uns``."""

PEAKS: Final = "scssl_atac"
"""``obsm``: predicted peaks, float32, shape (n_cells, n_peaks); names and scale in ``uns``."""

EXPRESSION: Final = "scssl_expression"
"""``layers``: reconstructed expression, float32 log1p of counts per 10,000; NaN where nothing is known. With "_sd":
how far measurements stray from it; "scssl_counts", "scssl_counts_sd": the same as counts."""

PANEL_EXPRESSION: Final = "X_scssl_expression"
"""``obsm``: the same for all genes asked for, whose names are in ``uns``, float32, shape (n_cells, n_genes)."""

RECONSTRUCTED: Final = "scssl_reconstructed"
"""``var``: whether the gene's expression was reconstructed, bool."""

SHIFT: Final = "scssl_shift"
"""``obs``: how far cells of the type move under a condition, 1 being the usual distance between types, float32."""

CONTROL_CELL: Final = "scssl_control_cell"
"""``obs`` of simulated cells: name of the control cell that a cell was made of."""

SIMULATED_TYPE: Final = "scssl_type"
"""``obs`` of simulated cells: cell type whose change was predicted, categorical."""

SIMULATED_DONOR: Final = "scssl_donor"
"""``obs`` of simulated cells: donor, categorical."""

SIMULATED_BY: Final = "scssl_method"
"""``obs`` of simulated cells: the model, or the baseline, that predicted them, categorical."""

CASE_MEASURED: Final = "scssl_case_measured"
"""``obs`` of simulated cells: whether cells of the same type and donor were learned from under the case, bool."""

CHANGE: Final = "scssl_change"
"""``varm`` of simulated cells: table, genes by groups, change of log1p of mean counts per 10,000. With "_sd": how far
it may be off; +- 1.645 of it is to hold 90 % of the measured changes once the error of measuring is added."""

BESIDE_CELLS: Final = "beside_cells"
BESIDE_GENES: Final = "beside_genes"
"""In ``uns["scssl"]["simulate"]`` of cells that were scored: tables of simulated beside measured cells, for a page."""

SETTINGS: Final = "scssl"
"""``uns``: settings, versions and provenance of what scssl wrote; one sub-dictionary per task."""

RECORD: Final = "record"
"""In a task's sub-dictionary of ``uns["scssl"]``: command, inputs, model, timings, scores and versions, as JSON."""
