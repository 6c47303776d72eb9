"""Expression of all genes of a panel for each cell, read from a model's decoder, and scored on what was held out."""

from __future__ import annotations

from scssl.tasks.reconstruct.reconstruction import Reconstruction
from scssl.tasks.reconstruct.reconstructor import Reconstructor
from scssl.tasks.reconstruct.scoring import Evaluation

__all__ = ["Evaluation", "Reconstruction", "Reconstructor"]
