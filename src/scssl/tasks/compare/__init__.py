"""Compare: two conditions, with donors as the units."""

from __future__ import annotations

from scssl.tasks.compare.comparer import Comparer
from scssl.tasks.compare.comparison import Comparison
from scssl.tasks.compare.null import NullReport

__all__ = ["Comparer", "Comparison", "NullReport"]
