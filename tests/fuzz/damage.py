"""How files are damaged: bytes at random, values in JSON; and a limit on the memory of who reads them."""

from __future__ import annotations

import copy
import resource
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from scssl.errors import DataError, FormatError

ROOM = 2 * 2**30
"""Bytes of address space that a reader may take beyond what the process has."""


@contextmanager
def bounded_memory():
    """Let huge allocations fail: a few altered bytes must not make a reader ask for terabytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def read_or_refused(reader, *args, **kwargs):
    """What a reader makes of damaged files: a value, or None if it refuses them in one of scssl's own ways."""
    with bounded_memory():
        try:
            return reader(*args, **kwargs)
        except (FormatError, DataError):
            return None


@st.composite
def damaged_bytes(draw, content: bytes, *, alphabet: bytes = b""):
    """Some bytes of a file overwritten, inserted or cut out, or the file cut off."""
    changed = bytearray(content)
    special = st.sampled_from([bytes([b]) for b in alphabet]) if alphabet else st.nothing()
    pieces = st.one_of(st.binary(min_size=1, max_size=12), special)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        match draw(st.sampled_from(["overwrite", "insert", "cut", "end"])):
            case "overwrite":
                piece = draw(pieces)
                changed[at : at + len(piece)] = piece
            case "insert":
                changed[at:at] = draw(pieces)
            case "cut":
                del changed[at : at + draw(st.integers(1, 40))]
            case "end":
                del changed[at:]
    return bytes(changed)


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 3),
        st.sampled_from([2**31, 2**40, 2**63, -(2**63), 10**30]),
        st.floats(allow_nan=True),
        st.text(max_size=4),
        st.sampled_from(["..", "/etc/passwd", "../../x", "\0", "\ud800", "uint16", "train"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=3,
)
"""Values that no settings have, or that are dangerous where a size or a path is expected."""


@st.composite
def damaged_json(draw, content):
    """A JSON value with one to three of the values in it replaced, removed, or of another key."""
    changed = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        parent, key = changed, None
        while isinstance(parent, dict | list) and parent:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            key = draw(st.sampled_from(keys))
            if isinstance(parent[key], dict | list) and parent[key] and draw(st.integers(0, 3)):
                parent = parent[key]
            else:
                break
        else:
            continue
        match draw(st.sampled_from(["replace", "remove", "double"])):
            case "replace":
                parent[key] = draw(JSON)
            case "remove":
                del parent[key]
            case "double" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[key]))
            case "double":
                parent[draw(st.text(max_size=4))] = copy.deepcopy(parent[key])
    return changed
