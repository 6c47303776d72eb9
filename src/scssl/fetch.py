"""Fetching public files: size and licence are shown before, and what is kept is checked by hash."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scssl.errors import DataError, FormatError, import_extra
from scssl.log import logger

TIMEOUT = 30.0
"""Seconds without an answer after which a server counts as unreachable."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """What is known about a data set before it is fetched."""

    url: str
    description: str
    licence: str
    size: int | None = None
    """Bytes; None where only the server knows."""
    hash: str | None = None
    """``"md5:..."`` or ``"sha256:..."`` as published; None where no one has published one: then that of the first
    download is kept beside the file, and later uses are checked against it."""
    member: str | None = None
    """For an archive: the folder in it that holds the cells."""


def fetch(entry: Download, *, name: str, file_name: str, folder: Path | str | None = None) -> Path:
    """Fetch a file, or find it where an earlier call left it.

    Parameters
    ----------
    entry
        What to fetch.
    name
        What to call it when it is announced.
    file_name
        What to call the file.
    folder
        Where to keep it; by default the user's cache folder.

    Raises
    ------
    MissingExtraError
        If pooch is not installed.
    DataError
        If the server cannot be reached or does not have the file.
    FormatError
        If the file is not the one expected.
    """
    pooch = import_extra("pooch", extra="download")
    target = Path(folder) if folder is not None else Path(pooch.os_cache("scssl"))
    file = target / file_name
    remembered = file.with_name(f"{file.name}.sha256")
    expected = entry.hash
    if expected is None and remembered.is_file():
        expected = f"sha256:{remembered.read_text(encoding='ascii').strip()}"
    if not file.is_file():
        _announce(name, entry, file)
    path = _retrieve(pooch, entry, file, expected=expected)
    if entry.hash is None and not remembered.is_file():
        remembered.write_text(f"{pooch.file_hash(str(path), alg='sha256')}\n", encoding="ascii")
    return file


def _announce(name: str, entry: Download, file: Path) -> None:
    """Say what is about to be fetched; scssl's users see it also where they have set up no logging."""
    size = entry.size or _size_on_server(entry.url)
    amount = f"{size / 1e6:.1f} MB" if size else "size not told by the server"
    announce(f"downloading {name}: {entry.description}; {amount}, {entry.licence}; {entry.url} -> {file}")


def announce(text: str) -> None:
    """Say what is about to be transferred.

    Parameters
    ----------
    text
        One line: what, how large, under which licence, and where to.
    """
    if logger.level == logging.NOTSET:
        sys.stderr.write(f"{text}\n")
    else:
        logger.info("%s", text)


def _size_on_server(url: str) -> int | None:
    import requests

    try:
        answer = requests.head(url, timeout=TIMEOUT, allow_redirects=True)
    except requests.RequestException:
        return None
    length = answer.headers.get("Content-Length", "")
    return int(length) if answer.ok and length.isdecimal() else None


def _retrieve(pooch: Any, entry: Download, file: Path, *, expected: str | None) -> Path:
    import requests

    level = pooch.get_logger().level
    # pooch's own words repeat what was announced.
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        found = pooch.retrieve(
            entry.url,
            known_hash=expected,
            fname=file.name,
            path=file.parent,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
        )
    except requests.RequestException as error:
        message = f"{entry.url} cannot be downloaded ({type(error).__name__}); is there a network?"
        raise DataError(message) from error
    except ValueError as error:
        message = (
            f"{entry.url} is not the file expected (its hash is not {expected}): the transfer failed or the file was "
            f"changed. Try again; if that was meant, remove {file} and {file.name}.sha256"
        )
        raise FormatError(message) from error
    finally:
        pooch.get_logger().setLevel(level)
    return Path(found)
