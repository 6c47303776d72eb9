"""Models in the cache of the hub's client: found without a network, and checked."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scssl.errors import FormatError
from scssl.model.files import CONFIG
from scssl.model.hub_client import LIBRARY, cache_dir, endpoint
from scssl.model.hub_kinds import INSIDE, taken_in

if TYPE_CHECKING:
    from scssl.model.hub_client import HubId

COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the hub says of a file."""

    size: int | None
    sha256: str | None
    blob: str | None
    """Of git: what small files are known by."""


def cached(hub: Any, wanted: HubId) -> Path | None:
    """Return the folder of a complete model in the cache, checked against the names that its files are kept under."""
    for config in (CONFIG, f"{INSIDE}/{CONFIG}"):
        path = in_cache(hub, wanted, config)
        if path is None:
            continue
        folder = path.parents[config.count("/")]
        names = taken_in(folder)
        for name in names:
            kept = (folder / name).resolve().name
            is_sha256, is_blob = re.fullmatch(r"[0-9a-f]{64}", kept), COMMIT.fullmatch(kept)
            said = Published(size=None, sha256=kept if is_sha256 else None, blob=kept if is_blob else None)
            check(folder / name, said, where=f"{wanted}, {name}")
        if names:
            return folder
    return None


def in_cache(hub: Any, wanted: HubId, name: str) -> Path | None:
    """Return a file of a model in the cache, None if it is not there."""
    found = hub.try_to_load_from_cache(wanted.repo, name, revision=wanted.revision, cache_dir=cache_dir(hub))
    return Path(found) if isinstance(found, str) else None


def fetch_large(hub: Any, pinned: HubId, name: str, file: Published) -> None:
    """Fetch a large file to where the hub's client keeps it, going on where an earlier call was stopped.

    The client itself begins anew in each call.

    Parameters
    ----------
    hub
        The client's package.
    pinned
        Repository and commit.
    name
        Of the file.
    file
        What the hub says of it.
    """
    if file.sha256 is None or file.size is None or not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
        return
    blobs = _repository(hub, pinned) / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    target, partial = blobs / file.sha256, blobs / f"{file.sha256}.partial"
    with hub.utils.WeakFileLock(f"{partial}.lock"):
        if target.exists():
            return
        done = partial.stat().st_size if partial.exists() else 0
        with partial.open("ab" if done < file.size else "wb") as stream:
            hub.file_download.http_get(
                hub.hf_hub_url(pinned.repo, name, revision=pinned.revision, endpoint=endpoint()),
                stream,
                resume_size=done if done < file.size else 0,
                headers=hub.utils.build_hf_headers(library_name=LIBRARY),
                expected_size=file.size,
                displayed_filename=name,
            )
        check(partial, file, where=str(pinned), name=name)
        partial.replace(target)
    Path(f"{partial}.lock").unlink(missing_ok=True)


def _repository(hub: Any, wanted: HubId) -> Path:
    separator: str = hub.constants.REPO_ID_SEPARATOR
    return Path(cache_dir(hub)) / separator.join(["models", *wanted.repo.split("/")])


def remember(hub: Any, wanted: HubId, *, commit: str) -> None:
    """Note in the cache which commit a branch or tag was, for use without a network."""
    if wanted.revision == commit:
        return
    ref = _repository(hub, wanted) / "refs" / wanted.revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    temporary = ref.with_name(f"{ref.name}.{os.getpid()}")
    temporary.write_text(commit, encoding="ascii")
    temporary.replace(ref)


def check(path: Path, file: Published, *, where: str, name: str = "") -> None:
    """Make sure that a file is the one that was published."""
    if file.sha256 is not None:
        with path.open("rb") as stream:
            good = hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    elif file.blob is not None:
        content = path.read_bytes()
        # What git calls a file by; the hub keeps no other checksum of small ones.
        digest = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
        digest.update(content)
        good = digest.hexdigest() == file.blob
    else:
        good = True
    if not good:
        # Both the name and what it points to, so that the next call fetches it again.
        resolved = path.resolve()
        path.unlink(missing_ok=True)
        resolved.unlink(missing_ok=True)
        what = f"{where}: {name or path.name} is not the file that was published"
        message = f"{what}, its checksum differs; it was removed, so try again"
        raise FormatError(message)
