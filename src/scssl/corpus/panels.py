"""The panel of a corpus: built in, from a file, or from the files that go into it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scssl.genes import GenePanel, load_panel

if TYPE_CHECKING:
    from anndata import AnnData


def choose_panel(
    spec: str | Path | GenePanel, origins: Sequence[str | Path | AnnData], *, layer: str | None = None
) -> GenePanel:
    return load_panel(spec)
