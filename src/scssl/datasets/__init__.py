"""Data to try things on: simulated atlases, bundled real cells, downloads."""

from __future__ import annotations

from scssl.datasets.simulate import simulate_atlas

__all__ = ["simulate_atlas"]
