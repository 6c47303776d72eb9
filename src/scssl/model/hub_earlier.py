"""What earlier pushes left in a repository of the hub, and the next would leave there beside its own files."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scssl.model.files import CONFIG, FORMAT
from scssl.model.hub_client import LIBRARY, endpoint
from scssl.model.hub_kinds import INSIDE, MODEL, TASKS, files_of, kinds_of, largest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scssl.model.hub_client import HubId

ANNOTATOR: Final = "an annotator"
PUSHED: Final = {
    MODEL: {CONFIG: FORMAT},
    ANNOTATOR: {f"{INSIDE}/{CONFIG}": FORMAT, TASKS[ANNOTATOR][0]: "scssl-annotator"},
}
"""Kinds that scssl publishes, with the files that say what they are, and the ``format`` that these have."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What a repository held when it was looked at."""

    files: list[str]
    """Those that scssl published, or would have, and that are not written again."""
    commit: str | None
    """In which they are; None if the hub does not say."""


def outdated(hub: Any, client: Any, target: HubId, *, names: Iterable[str]) -> Earlier:
    """Return the files of published models and annotators in a repository that are not written again.

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
    Earlier
        Only files that a push itself writes. Whatever else is there is its owner's: also saved tasks of other kinds,
        which somebody uploaded by hand, and the models in them.
    """
    info = client.model_info(target.repo, files_metadata=True)
    sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings or []}
    there, written = kinds_of(sizes), set(names)
    found: set[str] = set()
    for kind, formats in PUSHED.items():
        stale = {name for name in files_of(kind) if name in sizes} - written
        if kind != MODEL and f"{INSIDE}/{CONFIG}" not in written and set(there).difference(PUSHED):
            # The model within is also that of the other task.
            stale = {name for name in stale if not name.startswith(f"{INSIDE}/")}
        if kind in there and stale and all(
            sizes[file] <= largest(file) and _format(hub, target.repo, file, commit=info.sha) == wanted
            for file, wanted in formats.items()
        ):  # fmt: skip
            found |= stale
    return Earlier(files=sorted(found), commit=info.sha)


def _format(hub: Any, repo: str, file: str, *, commit: str) -> Any:
    """Return what a file says that it is: other libraries have files of the same names."""
    with tempfile.TemporaryDirectory() as scratch:
        # Not in the cache, where it would look like the beginning of a model.
        path = hub.hf_hub_download(
            repo, file, revision=commit, local_dir=scratch, endpoint=endpoint(), library_name=LIBRARY
        )
        try:
            content = json.loads(Path(path).read_bytes())
        except (ValueError, RecursionError):
            return None
    return content.get("format") if isinstance(content, dict) else None
