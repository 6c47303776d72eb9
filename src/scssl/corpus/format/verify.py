"""Recompute the checksums of a corpus."""

from __future__ import annotations

from pathlib import Path

from scssl.corpus.format.manifest import check_files, read_manifest
from scssl.errors import FormatError


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
    problems = check_files(root, content) or _misfits(root)
    return len(content["files"]) + 1, problems


def _misfits(root: Path) -> list[str]:
    """Say what does not fit together although every file is as it was written."""
    from scssl.corpus.store import Corpus

    try:
        corpus = Corpus.open(root)
        obs = corpus.obs()
    except FormatError as error:
        return [str(error)]
    told = {entry["name"]: sum(entry["n_cells"].values()) for entry in corpus.report["sources"]}
    found = obs["source"].value_counts().to_dict()
    return [
        f"source {name!r}: {found.get(name, 0):,} cells are there, {n:,} are reported"
        for name, n in told.items()
        if found.get(name, 0) != n
    ]
