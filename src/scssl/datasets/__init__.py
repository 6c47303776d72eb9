"""Data to try things on: simulated atlases, bundled real cells, downloads."""

from __future__ import annotations

from scssl.datasets.bundled import pbmc68k
from scssl.datasets.downloads import download, list_downloads
from scssl.datasets.simulate import simulate_atlas

__all__ = ["download", "list_downloads", "pbmc68k", "simulate_atlas"]
