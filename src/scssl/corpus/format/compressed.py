"""A compressed array of a shard: pieces packed by zstd, in one file.

A zarr v3 array with one shard, so one file, of inner chunks of `PIECE` elements: what a range of cells needs is found
with one look at the index at the file's end. Gene indices are stored as differences (they rise within a cell, so the
differences are small), bytes are shuffled so that zstd sees the mostly zero high bytes together, and each piece carries
a checksum. Any zarr opens it. Here it is read without: looking up a piece and unpacking it are a few lines, which take
half the time of zarrs, leave zarr's threads and event loop out of the loader, and work in a fork.
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

PIECE: Final = 1 << 16
"""Elements packed together: a block of 256 cells with 2,000 nonzeros each touches 8 or 9 pieces."""
LARGEST_PIECE: Final = 1 << 20
"""Elements of a piece that are read at most."""
LEVEL: Final = 1
"""Of zstd. Higher levels pack shuffled counts and differences no better, and take 2 to 6 times as long."""
_DELTA: Final = "numcodecs.delta"


@dataclass(frozen=True)
class ZarrVector:
    """A one-dimensional array that stays packed in its file; slicing reads and unpacks what the asked range needs.

    Several threads may slice at the same time, and what travels between processes is the path.
    """

    path: Path
    dtype: np.dtype
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, part: slice) -> NDArray[Any]:
        from numcodecs import blosc

        from scssl.corpus.sources.source import Reading

        start, stop, _ = part.indices(self.length)
        if stop <= start:
            return np.empty(0, dtype=self.dtype)
        with Reading(str(self.path)):
            piece, n_pieces, differences = _describe(self)
            first, last = start // piece, -(-stop // piece)
            out = np.empty((last - first, piece), dtype=self.dtype)
            size = 16 * n_pieces + 4
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(end - size, 0))
                places = np.frombuffer(_checked(file.read(size), size), dtype="<u8").reshape(-1, 2)
                for values, (offset, length) in zip(out, places[first:last].tolist(), strict=True):
                    if offset + length > end:
                        message = "a piece lies beyond its end"
                        raise ValueError(message)
                    file.seek(offset)
                    blosc.decompress(_checked(file.read(length), length), values)
        if differences:
            np.cumsum(out, axis=1, dtype=self.dtype, out=out)
        return out.reshape(-1)[start - first * piece : stop - first * piece]


@lru_cache(maxsize=4096)
def _describe(vector: ZarrVector) -> tuple[int, int, bool]:
    """Return elements per piece, how many pieces there are, and whether they are differences."""
    description = vector.path.parent.parent / "zarr.json"
    content = json.loads(description.read_bytes())
    (sharding,) = content["codecs"]
    (padded,) = content["chunk_grid"]["configuration"]["chunk_shape"]
    (piece,) = sharding["configuration"]["chunk_shape"]
    names = [codec["name"] for codec in sharding["configuration"]["codecs"]]
    fits = names[-3:] == ["bytes", "blosc", "crc32c"] and names[:-3] in ([], [_DELTA])
    # With sizes that nobody wrote, a few altered bytes could ask for any amount of memory.
    fits = fits and 0 < piece <= LARGEST_PIECE and 0 < padded < vector.length + piece and padded % piece == 0
    if content["shape"] != [vector.length] or content["data_type"] != vector.dtype.name or not fits:
        message = f"{description}: does not describe {vector.length:,} {vector.dtype.name}; it was altered"
        raise FormatError(message)
    return piece, padded // piece, len(names) > 3


def _checked(content: bytes, size: int) -> memoryview:
    """Return what the last four bytes are the checksum of."""
    from google_crc32c import value

    if len(content) != size or value(content[:-4]) != int.from_bytes(content[-4:], "little"):
        message = "its checksum does not fit"
        raise ValueError(message)
    return memoryview(content)[:-4]


def write_compressed(
    group: zarr.Group, name: str, values: NDArray[Any], *, differences: bool, attributes: Mapping[str, Any]
) -> None:
    """Write an array into a zarr group, packed by zstd into one file.

    Parameters
    ----------
    group, name
        Where to.
    values
        (n > 0,) unsigned integers.
    differences
        Store the differences between neighbours within a piece: for values that mostly rise in small steps.
    attributes
        Of the array.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec

    size = values.dtype.itemsize
    delta: dict[str, Any] = {"name": _DELTA, "configuration": {"dtype": f"<u{size}"}}
    pack = BloscCodec(typesize=size, cname="zstd", clevel=LEVEL, shuffle="shuffle", blocksize=PIECE * size)
    with warnings.catch_warnings():
        # The filter comes with every zarr-python, which warns that other zarrs may not have it.
        warnings.filterwarnings("ignore", message="Numcodecs codecs are not in the Zarr version 3 specification")
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(PIECE,),
            shards=(-(-values.size // PIECE) * PIECE,),
            filters=[delta] if differences else None,
            compressors=[pack, Crc32cCodec()],
            fill_value=0,
            attributes=dict(attributes),
            config={"write_empty_chunks": True},
        )
        array[:] = values
