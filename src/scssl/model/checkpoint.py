"""Read the tensors of a checkpoint that torch wrote: nothing pickled in it is executed, nothing large is allocated."""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
import zipfile
from typing import TYPE_CHECKING, Any, Final

import torch

from scssl.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAFETENSORS: Final = ".safetensors"
MAX_PICKLE_BYTES: Final = 64 * 2**20
"""What describes the tensors; a network has some dozens of them."""

_HARMLESS: Final = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor_v2|parameter)|torch\.\w+Storage|torch\.(Size|device)"
    r"|torch\.(float|bfloat|int|uint)\d+|_codecs\.encode|builtins\.set|__builtin__\.set"
)
"""All that a checkpoint of plain values and dense tensors names. torch allows more, such as classes that allocate what
they are told to."""
_BY_NAME: Final = {"GLOBAL"}
_NEVER: Final = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
_MALFORMED: Final = (
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What torch and the standard library raise for files that are not what they should be."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of torch or Lightning, or a .safetensors file of weights.

    The tensors are mapped, not read: what is not used costs nothing.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        With ``state_dict``, the tensors by name, and whatever else there is.

    Raises
    ------
    FormatError
        If it is missing, malformed, compressed, or holds pickled objects other than tensors and plain values.
    """
    if not path.is_file():
        message = f"{path}: there is no such checkpoint file"
        raise FormatError(message)
    content = _read_safetensors(path) if path.suffix == SAFETENSORS else _read_torch(path)
    if not isinstance(content, dict):
        message = f"{path} holds a {type(content).__name__}, not weights by name"
        raise FormatError(message)
    # Some of the paper's networks were saved as the bare weights.
    bare = bool(content) and all(isinstance(value, torch.Tensor) for value in content.values())
    content = {"state_dict": content} if bare else content
    weights = content.get("state_dict")
    fits = isinstance(weights, dict) and bool(weights)
    if not fits or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in weights.items()):  # type: ignore[union-attr]
        message = f"{path} has no 'state_dict' of tensors by name: it is not a checkpoint of a network"
        raise FormatError(message)
    return content


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        message = f"{path} cannot be read, it is truncated or altered: {error}"
        raise FormatError(message) from error


def _read_torch(path: Path) -> Any:
    _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _MALFORMED as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        message = f"{path} cannot be read as a checkpoint, it is truncated, altered or of another kind: {reason}"
        raise FormatError(message) from error


def _check_archive(path: Path) -> None:
    """Refuse, before torch sees it, what is not an archive of plain values and tensors stored as they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                message = f"{path} is compressed, as torch writes no checkpoint; unpack it, or save the weights again"
                raise FormatError(message)
            for entry in entries:
                if entry.filename.endswith(".pkl"):
                    _check_pickle(path, archive, entry)
    except _MALFORMED as error:
        message = (
            f"{path} is not a checkpoint of torch 1.6 or later, or a truncated one: {error}. Older ones are executed "
            "when they are read, which is never done here"
        )
        raise FormatError(message) from error


def _check_pickle(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    if entry.file_size > MAX_PICKLE_BYTES:
        message = f"{path}: the description of its tensors takes {entry.file_size:,} bytes, more than any network's"
        raise FormatError(message)
    strange = sorted({name for name in _named(archive.read(entry)) if not _HARMLESS.fullmatch(name)})
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        message = (
            f"{path} holds pickled objects ({', '.join(strange[:3])}{more}), which could run any program, and is not "
            "read. If you trust it, save the weights alone where it came from: safetensors.torch.save_file("
            "torch.load(FILE, weights_only=False)['state_dict'], 'weights.safetensors')"
        )
        raise FormatError(message)


def _named(content: bytes) -> Iterator[str]:
    """Yield the names of what a pickle would import, without importing it."""
    for code, argument, _ in pickletools.genops(content):
        if code.name in _BY_NAME:
            yield str(argument).replace(" ", ".", 1)
        elif code.name in _NEVER:
            yield f"opcode {code.name}"
