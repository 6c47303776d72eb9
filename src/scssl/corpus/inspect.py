"""Everything that `scssl check` says about a file: values, genes, cells, annotation, and what to do next."""

from __future__ import annotations

from scssl.corpus.values import MatrixKind, check_counts, describe_matrix, describe_values

__all__ = ["MatrixKind", "check_counts", "describe_matrix", "describe_values"]
