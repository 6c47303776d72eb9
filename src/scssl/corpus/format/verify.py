"""Recompute the checksums of a corpus."""

from __future__ import annotations

from pathlib import Path

from scssl.corpus.format.manifest import check_files, read_manifest


def verify_folder(path: str | Path) -> tuple[int, list[str]]:
    """Check every file of a corpus, also of one that is too damaged to open.

    Parameters
    ----------
    path
        Folder of the corpus.

    Returns
    -------
    n_files : int
        Files checked, the manifest included.
    problems : list of str
        One sentence per file that is missing, altered or unknown; empty when the corpus is whole.

    Raises
    ------
    FormatError
        If the manifest itself is missing or altered.
    """
    root = Path(path)
    content = read_manifest(root)
    return len(content["files"]) + 1, check_files(root, content)
