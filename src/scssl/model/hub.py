"""Models on the Hugging Face hub: fetch and keep, load without a network, publish, list."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scssl.errors import DataError, FormatError, SettingsError, import_extra
from scssl.fetch import announce
from scssl.log import logger
from scssl.model.card import card_text, check_licence
from scssl.model.files import CARD, CONFIG, FORMAT
from scssl.model.hub_cache import (
    COMMIT,
    Published,
    cached,
    check,
    fetch_large,
    in_cache,
    remember,
)
from scssl.model.hub_client import (
    LIBRARY,
    HubId,
    api,
    bars,
    cache_dir,
    endpoint,
    offline,
    reach,
    understood,
    unreachable,
)
from scssl.model.hub_earlier import outdated
from scssl.model.hub_kinds import FILES, NEEDED, largest, taken, taken_in
from scssl.model.hub_out import check_out, copy_out
from scssl.words import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scssl.model.cell_model import CellModel


def pull(hub_id: str, *, out: Path | str | None = None, overwrite: bool = False) -> Path:
    """Fetch a model, or a saved task such as an annotator, from the hub, or find it where an earlier call left it.

    Size and licence are shown before anything is transferred. An interrupted transfer goes on where it was. Only its
    own files are taken, and each is checked against its checksum. With ``HF_HUB_OFFLINE=1``, or without a network,
    what is in the cache is used.

    Parameters
    ----------
    hub_id
        ``owner/name``, or ``owner/name@revision`` for one branch, tag or commit: a commit never changes.
    out
        Folder to make for it, which appears only when complete; by default it stays in the cache of the hub's client.
    overwrite
        Replace what is at `out`, if that is of the same kind and holds nothing else.

    Returns
    -------
    pathlib.Path
        Folder of the model, which `scssl.load` reads; or of the task, which its own `load` reads.

    Raises
    ------
    MissingExtraError
        If huggingface_hub is not installed.
    SettingsError
        If it is no ID, or there is something at `out`.
    DataError
        If the hub cannot be reached, or has no such model.
    FormatError
        If it is not a model of scssl, or a file is not the one that was published.
    """
    wanted = HubId.parse(hub_id)
    import_extra("huggingface_hub", extra="hub")
    if out is not None:
        check_out(Path(out), overwrite=overwrite)
    folder = _fetch(wanted)
    if out is None:
        return folder
    copy_out(folder, Path(out), overwrite=overwrite)
    return Path(out)


def push(
    model: CellModel | Path | str,
    *,
    to: str,
    licence: str | None = None,
    private: bool = False,
    description: str = "Model of scssl",
) -> str:
    """Publish a model on the hub, with its card.

    Files of what scssl published in the same place before are replaced, or removed; files of others stay. Nothing is
    published if the repository changes meanwhile.

    Parameters
    ----------
    model
        The model, or its folder.
    to
        ``owner/name``; made if it is not there.
    licence
        As the hub spells it, e.g. ``"cc-by-4.0"``; not needed where the card has one.
    private
        Let only the owner see it, if it is made now.
    description
        Of the change.

    Returns
    -------
    str
        ``owner/name@commit``, by which exactly this model can be loaded for ever.

    Raises
    ------
    MissingExtraError
        If huggingface_hub is not installed.
    SettingsError
        If the ID or licence is not possible.
    DataError
        If the hub cannot be reached or does not allow it.
    """
    from scssl.model.cell_model import CellModel

    target = destination(to)
    import_extra("huggingface_hub", extra="hub")
    chosen = publishable(model if isinstance(model, CellModel) else CellModel.load(model), licence=licence)
    with tempfile.TemporaryDirectory() as scratch:
        # Written anew from what was read: nothing else that lies in a folder is published.
        folder = Path(scratch) / "model"
        chosen.save(folder)
        manifest = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        (folder / CARD).write_text(card_text(manifest, name=target.repo), encoding="utf-8")
        names = [name for name in FILES if (folder / name).is_file()]
        terms = str(chosen.card["licence"])
        return upload(folder, names, target=target, licence=terms, private=private, description=description)


def destination(to: str) -> HubId:
    """Return where to publish.

    Raises
    ------
    SettingsError
        If it is no ID, or one of a revision.
    """
    target = HubId.parse(to)
    if target.revision != "main":
        message = f"{to!r}: leave out the revision; what is pushed becomes a new one"
        raise SettingsError(message)
    return target


def publishable(model: CellModel, *, licence: str | None) -> CellModel:
    """Return a model with a licence, and without places on the publisher's disk.

    Parameters
    ----------
    model
        The model.
    licence
        See `push`.

    Raises
    ------
    SettingsError
        If there is no licence, or the hub does not know it.
    """
    given = licence or str(model.card.get("licence", ""))
    if not licence and ";" in given:
        message = "the model's card has no licence, and a published model needs one: --licence cc-by-4.0, or another"
        raise SettingsError(message)
    task = dict(model.config.task)
    if isinstance(task.get("programmes"), str):
        # The name of the file that they were read from, not where on somebody's disk it lay.
        task["programmes"] = re.sub(r"(^|:)[^:]*[/\\]", r"\1", task["programmes"])
    card = {**model.card, "licence": check_licence(given)}
    if isinstance(learned := card.get("supervised"), dict) and "reference" in learned:
        card["supervised"] = {**learned, "reference": re.split(r"[/\\]", str(learned["reference"]))[-1]}
    return replace(model, card=card, config=replace(model.config, task=task))


def upload(folder: Path, names: Sequence[str], *, target: HubId, licence: str, private: bool, description: str) -> str:
    """Send files of a folder to the hub, and return ``owner/name@commit``; see `push`.

    Parameters
    ----------
    folder, names
        The files.
    target
        From `destination`.
    licence, private, description
        See `push`.
    """
    hub = import_extra("huggingface_hub", extra="hub")
    size = sum((folder / name).stat().st_size for name in names)
    terms = f"{licence}, {'private' if private else 'public'}"
    announce(f"uploading {count(len(names), 'file')}, {size / 1e6:.1f} MB, {terms} -> {target.repo}")
    client = api(hub)
    with understood(target, doing="uploaded to"), bars(hub):
        client.create_repo(target.repo, private=private, exist_ok=True)
        operations = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in names]
        earlier = outdated(hub, client, target, names=names)
        if earlier.files:
            announce(f"removing what was published there before: {', '.join(earlier.files)}")
        operations += [hub.CommitOperationDelete(path_in_repo=name, is_folder=False) for name in earlier.files]
        # The hub refuses it, should somebody have changed what was looked at.
        done = client.create_commit(
            target.repo, operations=operations, commit_message=description, parent_commit=earlier.commit
        )
    return f"{target.repo}@{done.oid}"


def list_cached() -> list[dict[str, Any]]:
    """List the models of scssl in the cache of the hub's client, without a network.

    Returns
    -------
    list of dict
        ``model`` (``owner/name@commit``), ``revisions`` (branches and tags), ``n_genes``, ``n_latent``, ``bytes``,
        ``path``.
    """
    hub = import_extra("huggingface_hub", extra="hub")
    try:
        cache = hub.scan_cache_dir(cache_dir(hub))
    except hub.CacheNotFound:
        return []
    found = []
    for repo in sorted(cache.repos, key=lambda repo: str(repo.repo_id)):
        for revision in sorted(repo.revisions, key=lambda revision: str(revision.commit_hash)):
            folder = Path(revision.snapshot_path)
            try:
                manifest = json.loads((folder / taken_in(folder)[0]).read_text(encoding="utf-8"))
                shape = {"n_genes": manifest["n_genes"], "n_latent": manifest["config"]["architecture"]["n_latent"]}
            except (OSError, ValueError, LookupError, TypeError):
                continue
            if manifest.get("format") == FORMAT:
                name = f"{repo.repo_id}@{revision.commit_hash}"
                size = int(revision.size_on_disk)
                found.append(
                    {"model": name, "revisions": sorted(revision.refs), **shape, "bytes": size, "path": str(folder)}
                )
    return found


def list_online(*, owner: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """List the models of scssl that the hub has.

    Parameters
    ----------
    owner
        Only those of one user or organisation.
    limit
        At most so many.

    Returns
    -------
    list of dict
        ``model`` (``owner/name``), ``revision`` (commit), ``modified`` (ISO 8601), ``downloads``.

    Raises
    ------
    SettingsError
        If `limit` is below 1.
    DataError
        If the hub cannot be reached.
    """
    if limit < 1:
        message = f"limit is {limit}; it must be 1 or more"
        raise SettingsError(message)
    hub = import_extra("huggingface_hub", extra="hub")
    with understood(None, doing="listed from"):
        reach(hub)
        found = list(api(hub).list_models(filter=LIBRARY, author=owner, limit=limit))
    return [
        {
            "model": entry.id,
            "revision": entry.sha,
            "modified": None if entry.last_modified is None else entry.last_modified.isoformat(),
            "downloads": entry.downloads,
        }
        for entry in found
    ]


def _fetch(wanted: HubId) -> Path:
    """Return the folder of a model in the cache, complete and checked."""
    hub = import_extra("huggingface_hub", extra="hub")
    kept = cached(hub, wanted)
    if kept is not None and (offline(hub) or COMMIT.fullmatch(wanted.revision)):
        return kept
    if offline(hub):
        message = f"{wanted} is not in the cache, and HF_HUB_OFFLINE is set; fetch it with a network: scssl models pull"
        raise DataError(message)
    try:
        with understood(wanted, doing="downloaded from"):
            info = api(hub).model_info(wanted.repo, revision=wanted.revision, files_metadata=True)
    except DataError as error:
        if kept is None or not unreachable(error.__cause__):
            raise
        logger.warning("%s The model in the cache is used: %s", error, kept)
        return kept
    if info.sha is None or not COMMIT.fullmatch(info.sha):
        message = f"{wanted}: the hub does not say which commit that is"
        raise DataError(message)
    files = _files(info, wanted)
    pinned = HubId(repo=wanted.repo, revision=info.sha)
    missing = {name: file for name, file in files.items() if in_cache(hub, pinned, name) is None}
    if missing:
        _announce(wanted, info, missing, cache=cache_dir(hub))
    for name, file in reversed(files.items()):
        with understood(wanted, doing="downloaded from"), bars(hub):
            fetch_large(hub, pinned, name, file)
            path = Path(
                hub.hf_hub_download(
                    wanted.repo,
                    name,
                    revision=info.sha,
                    cache_dir=cache_dir(hub),
                    endpoint=endpoint(),
                    library_name=LIBRARY,
                )
            )
        check(path, file, where=str(wanted))
    remember(hub, wanted, commit=info.sha)
    return path.parents[name.count("/")]


def _files(info: Any, wanted: HubId) -> dict[str, Published]:
    """Return what the hub says of the files that are taken, the config first."""
    listed = {entry.rfilename: entry for entry in info.siblings or []}
    names = taken(listed)
    if not names:
        absent = [name for name in NEEDED if name not in listed]
        message = f"{wanted} is not a model of scssl: it has no {', '.join(absent)}"
        raise FormatError(message)
    files = {}
    for name in names:
        lfs = listed[name].lfs
        files[name] = Published(
            size=listed[name].size, sha256=None if lfs is None else lfs.sha256, blob=listed[name].blob_id
        )
    for name, file in files.items():
        if (file.size or 0) > largest(name):
            message = f"{wanted}: its {name} is larger than that of any model or task ({file.size:,} bytes)"
            raise FormatError(message)
    return files


def _announce(wanted: HubId, info: Any, files: dict[str, Published], *, cache: str) -> None:
    sizes = [file.size for file in files.values()]
    amount = f"{sum(size or 0 for size in sizes) / 1e6:.1f} MB" if None not in sizes else "size not told by the hub"
    data = info.card_data
    licence = str((data.get("license") if data is not None else None) or "licence not stated")
    announce(f"downloading {wanted} ({info.sha[:10]}): {count(len(files), 'file')}, {amount}, {licence} -> {cache}")
