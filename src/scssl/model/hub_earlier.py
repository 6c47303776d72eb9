"""What earlier pushes left in a repository of the hub, and the next would leave there beside its own files."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scssl.model.files import CONFIG, FORMAT
from scssl.model.hub_client import LIBRARY, endpoint
from scssl.model.hub_kinds import INSIDE, MODEL, files_of, kinds_of, largest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scssl.model.hub_client import HubId


def left_over(hub: Any, client: Any, target: HubId, *, names: Iterable[str]) -> list[str]:
    """Return the files of models and saved tasks in a repository that are not written again.

    Those of a model would make a model of an annotator beside them; others would only never be read.

    Parameters
    ----------
    hub, client
        The client's package, and the client.
    target
        The repository, which is there.
    names
        Files that are about to be written.

    Returns
    -------
    list of str
        Only files that scssl itself writes, of what it can load: whatever else is there is its owner's.
    """
    info = client.model_info(target.repo, files_metadata=True)
    sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings or []}
    found: set[str] = set()
    for kind in kinds_of(sizes):
        stale = {name for name in files_of(kind) if name in sizes}.difference(names)
        config = CONFIG if kind == MODEL else f"{INSIDE}/{CONFIG}"
        if stale and sizes[config] <= largest(config) and _is_ours(hub, target.repo, config, commit=info.sha):
            found |= stale
    return sorted(found)


def _is_ours(hub: Any, repo: str, config: str, *, commit: str) -> bool:
    """Whether a config is that of a model of scssl: other libraries have files of the same names."""
    with tempfile.TemporaryDirectory() as scratch:
        # Not in the cache, where it would look like the beginning of a model.
        path = hub.hf_hub_download(
            repo, config, revision=commit, local_dir=scratch, endpoint=endpoint(), library_name=LIBRARY
        )
        try:
            content = json.loads(Path(path).read_bytes())
        except (ValueError, RecursionError):
            return False
    return isinstance(content, dict) and content.get("format") == FORMAT
