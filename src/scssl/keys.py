"""The names under which scssl writes to an AnnData, all in one place."""

from __future__ import annotations

from typing import Final

EMBEDDING: Final = "X_scssl"
"""``obsm``: embedding, float32, shape (n_cells, n_latent)."""

LABEL: Final = "scssl_label"
"""``obs``: predicted label, categorical."""

CONFIDENCE: Final = "scssl_confidence"
"""``obs``: confidence of the predicted label, float32 in [0, 1]."""

SETTINGS: Final = "scssl"
"""``uns``: settings, versions and provenance of what scssl wrote; one sub-dictionary per task."""
