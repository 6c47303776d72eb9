"""A compressed array of a shard: pieces packed by zstd, in one file, read through zarrs.

A zarr v3 array with one shard, so one file, of inner chunks of `PIECE` elements: what a range of cells needs is found
with one look at the index at the file's end. Gene indices are stored as differences (they rise within a cell, so the
differences are small), bytes are shuffled so that zstd sees the mostly zero high bytes together, and each piece carries
a checksum. Any zarr opens it; zarrs does it on all cores, without holding up Python.
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scssl.errors import FormatError
from scssl.log import logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

PIECE: Final = 1 << 16
"""Elements packed together: a block of 256 cells with 2,000 nonzeros each touches 8 or 9 pieces."""
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
        from scssl.corpus.sources import Reading

        start, stop, _ = part.indices(self.length)
        if stop <= start:
            return np.empty(0, dtype=self.dtype)
        with Reading(str(self.path)):
            packed, piece, differences = _open(self, os.getpid())
            # zarr takes a file that is gone or empty for one that is all zero.
            if not self.path.stat().st_size:
                message = f"{self.path}: is empty: damaged or truncated; copy the corpus again, or build it again"
                raise FormatError(message)
            first = start // piece * piece
            # Whole pieces: of parts of them, zarrs would not compare the checksum.
            values = np.asarray(packed[first : -(-stop // piece) * piece])
            if differences:
                values = np.cumsum(values.reshape(-1, piece), axis=1, dtype=self.dtype).reshape(-1)
            return values[start - first : stop - first]


@lru_cache(maxsize=4096)
def _open(vector: ZarrVector, process: int) -> tuple[zarr.Array, int, bool]:
    """Return the packed array with its padding, elements per piece, and whether it holds differences."""
    import zarr
    from zarr.core.metadata import ArrayV3Metadata
    from zarr.storage import LocalStore, StorePath

    folder = vector.path.parent.parent
    content = json.loads((folder / "zarr.json").read_bytes())
    (sharding,) = content["codecs"]
    (padded,) = content["chunk_grid"]["configuration"]["chunk_shape"]
    (piece,) = sharding["configuration"]["chunk_shape"]
    if content["shape"] != [vector.length] or content["data_type"] != vector.dtype.name or padded % piece:
        message = f"{folder / 'zarr.json'}: does not describe {vector.length:,} {vector.dtype.name}; it was altered"
        raise FormatError(message)
    # zarrs knows no delta filter: it unpacks whole pieces of differences, which are summed after it.
    codecs = sharding["configuration"]["codecs"]
    kept = [codec for codec in codecs if codec["name"] != _DELTA]
    sharding["configuration"]["codecs"] = kept
    metadata = ArrayV3Metadata.from_dict({**content, "shape": [padded], "codecs": [sharding]})
    store = LocalStore(folder, read_only=True)
    array = zarr.AsyncArray(metadata=metadata, store_path=StorePath(store))
    pipeline = zarrs_pipeline()
    # The threads of zarrs do not live on in a fork of the process that started them: it would wait for ever.
    if pipeline is not None and process == _process_of_zarrs():
        # Of this array alone: the codec pipeline in zarr's configuration is the user's.
        object.__setattr__(array, "codec_pipeline", pipeline.from_array_metadata_and_store(metadata, store))
    return zarr.Array(array), piece, len(kept) < len(codecs)


@cache
def _process_of_zarrs() -> int:
    """Return the process that used zarrs first; a fork inherits the answer."""
    return os.getpid()


@cache
def zarrs_pipeline() -> Any:
    """Return the class that unpacks with zarrs, or None where it is not installed, which is said once."""
    try:
        from zarrs import ZarrsCodecPipeline
    except ImportError:
        logger.info("reading compressed corpora is about 3 times as fast with zarrs: pip install 'scssl[zstd]'")
        return None
    return ZarrsCodecPipeline


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
