"""Draw the figure of the README from a finished demo.

Usage: python scripts/readme_figure.py DEMO_DIR docs/figure.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from scssl.report import embedding


def main(demo: Path, out: Path) -> None:
    """Draw the held-out cells, coloured by type and by donor."""
    cells = pd.read_csv(demo / "cells_atlas.csv")
    figure = embedding(cells[["x", "y"]].to_numpy(), cells[["cell_type", "donor"]])
    figure.savefig(out, dpi=110, facecolor="white", metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
