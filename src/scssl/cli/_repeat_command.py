"""The command of a run as it can be given again elsewhere: inputs where they were, everything written in one folder."""

from __future__ import annotations

import inspect
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scssl.environment import expanded
from scssl.errors import ScsslError

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Final = (
    "annotate", "compare", "demo", "embed", "integrate", "pretrain", "reconstruct", "simulate", "study", "translate",
)  # fmt: skip
"""Commands that can be given again; anything else that a folder names is not run."""
WRITTEN: Final = ("out", "save", "figures", "explain")
"""Options with a place to write to: each gets one in the scratch folder."""
LEFT_OUT: Final = ("overwrite", "resume", "logger", "common")
"""Options that change nothing of the outcome. Loggers may write to someone's account."""
MODELS: Final = ("model", "init")
"""Options that also take a model on the hub."""
TEXTS: Final = ("genes", "programmes", "ontology")
"""Options that take a file or a word."""
WORDS: Final = ("all", "measured", "human", "mouse", "union", "intersection", "bundled", "none")
"""What these words mean comes before files of the same name."""
MAX_BYTES: Final = 2**20
"""Files of settings that are larger are not read."""


@dataclass(frozen=True, kw_only=True)
class Again:
    """A command to be given."""

    words: list[str]
    """After `scssl`."""
    places: dict[Path, Path]
    """Where the run wrote to, as an absolute path, and where it will now."""


class UnrepeatableError(ScsslError):
    """A command cannot be given again; the message says why."""


def command_again(ran: Mapping[str, Any], *, scratch: Path) -> Again:
    """Read the command of a run, and turn it into one whose inputs are where they were, and which writes elsewhere.

    Parameters
    ----------
    ran
        ``command`` and the ``folder`` in which it was given, as a capsule has them: anyone may have written it.
    scratch
        Folder to write to.

    Returns
    -------
    Again
        With absolute paths, so that it can be given in any folder.

    Raises
    ------
    UnrepeatableError
        If it is no command that can be given again, its folder is gone, its settings are in what is no file or too
        large a one, or a model is on the hub alone.
    """
    name, bound = _parsed(ran)
    start = expanded(str(ran.get("folder", "")))
    # What a relative folder means would depend on where `scssl verify` is called.
    if not start.is_absolute() or not start.is_dir():
        message = "the folder in which its command was given is not there"
        raise UnrepeatableError(message)
    words = [name]
    places: dict[Path, Path] = {}
    given = dict(bound.arguments)
    if name == "demo":
        given.setdefault("out", bound.signature.parameters["out"].default)
    for option, value in given.items():
        if option in LEFT_OUT or value is None or value is False:
            continue
        flag = f"--{option.rstrip('_').replace('_', '-')}"
        if option in WRITTEN:
            old = start / expanded(str(value))
            if expanded(str(value)).name in ("", ".."):
                message = f"{flag} of its command names no file or folder"
                raise UnrepeatableError(message)
            new = scratch / str(len(places)) / old.name
            new.parent.mkdir()
            places[old], value = new, new
        if value is True:
            words.append(flag)
            continue
        if option == "config":
            value = _config(start / expanded(str(value)), start=start, scratch=scratch)
        positional = bound.signature.parameters[option].kind is inspect.Parameter.POSITIONAL_ONLY
        for one in value if isinstance(value, list | tuple) else (value,):
            text = _text(option, one, start)
            words.append(text if positional else f"{flag}={text}")
    return Again(words=words, places=places)


def _parsed(ran: Mapping[str, Any]) -> tuple[str, inspect.BoundArguments]:
    """Return the command and its options, as the command line itself reads them."""
    from cyclopts import CycloptsError

    from scssl.cli.app import make_app

    message = "it was not made by a command that can be given again"
    try:
        text = str(ran.get("command", ""))
        # What no system takes as the word of a command.
        os.fsencode(f"{text}{ran.get('folder', '')}")
        words = shlex.split(text)
        if words[:2] == ["scssl", "corpus"]:
            corpus = "corpora are not built a second time: what they hold is checked by its checksums"
            raise UnrepeatableError(corpus)
        if "\0" in text or len(words) < 2 or words[0] != "scssl" or words[1] not in COMMANDS:
            raise UnrepeatableError(message)
        command, bound, _ = make_app(used=words[1:3]).parse_args(words[1:], exit_on_error=False, print_error=False)
    except (ValueError, CycloptsError) as error:
        raise UnrepeatableError(message) from error
    if command.__name__ != words[1]:
        # Its help, or its version.
        raise UnrepeatableError(message)
    return words[1], bound


def _text(option: str, value: Any, start: Path) -> str:
    """Return a value as a word of the command, with paths that do not depend on the folder it is given in."""
    if isinstance(value, Path):
        place = start / expanded(str(value))
        if option in MODELS and not _is_there(place):
            return _on_hub(str(value)) or str(place)
        return str(place)
    text = str(value)
    if option in TEXTS:
        return _of_file(text, start)
    key, given, rest = text.partition("=")
    if option == "set_" and given and key.endswith("programmes"):
        return f"{key}={_of_file(rest, start)}"
    return text


def _config(file: Path, *, start: Path, scratch: Path) -> Path:
    """Return a file of settings whose paths do not depend on the folder: as it is, or else one in the scratch folder.

    A path in them starts from the folder in which the command was given, not from that of the file.
    """
    import yaml

    try:
        # The command would wait for a pipe, and read a device for ever.
        if file.exists() and not file.is_file():
            message = f"its file of settings, {file}, is a folder, a pipe or a device"
            raise UnrepeatableError(message)
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            message = f"its file of settings, {file}, is larger than settings ever are ({MAX_BYTES:,} bytes)"
            raise UnrepeatableError(message)
        values = yaml.safe_load(content.decode())
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        # The command says it better.
        return file
    absolute = _of_settings(values, start)
    if absolute == values:
        return file
    new = scratch / "settings" / file.name
    new.parent.mkdir()
    new.write_text(yaml.safe_dump(absolute), encoding="utf-8")
    return new


def _of_settings(values: Any, start: Path, *, depth: int = 2) -> Any:
    """Return settings with the files they name as absolute paths; no deeper than those of a task in a task."""
    if not isinstance(values, dict):
        return values
    return {
        name: _of_file(value, start) if name == "programmes" and isinstance(value, str)
        else _of_settings(value, start, depth=depth - 1) if depth else value
        for name, value in values.items()
    }  # fmt: skip


def _of_file(text: str, start: Path) -> str:
    """Return a text that may name a file, as an absolute path if it does."""
    from scssl.genes.collections import is_collection

    if not text or text in WORDS or is_collection(text):
        return text
    if _is_there(start / expanded(text)):
        return str(start / expanded(text))
    kind, _, rest = text.partition(":")
    return f"{kind}:{_of_file(rest, start)}" if kind == "regulons" and rest else text


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:
        # Longer than any name, such as a list of genes, or not for this user to see.
        return False


def _on_hub(text: str) -> str | None:
    """Return a model on the hub if it is in the cache of this machine, None if it can be none."""
    from scssl.errors import import_extra
    from scssl.model.hub_cache import cached
    from scssl.model.hub_client import HubId

    if not HubId.like(text):
        return None
    try:
        kept = cached(import_extra("huggingface_hub", extra="hub"), HubId.parse(text))
    except ScsslError:
        kept = None
    if kept is None:
        message = f"its model, {text}, is on the hub at most, and nothing is fetched here: scssl models pull {text}"
        raise UnrepeatableError(message)
    return text
