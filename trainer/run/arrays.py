"""Reads and writes the arrays of a checkpoint in parts, without Orbax, so that no array has to fit into memory.

`ArrayWriter` makes the folder `params` of a checkpoint as Orbax reads it: zarr arrays in one OCDBT database, and
`_METADATA`, which names them. Orbax itself can only save arrays that are in memory as a whole. Chunks are chosen by the
caller; a part should cover whole chunks, as a chunk that is written twice is read back in between.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from schemas.errors import InternalError
from schemas.runs.naming import earlier_name
from schemas.runs.storage import write_errors
from schemas.storage.location import located

_METADATA = "_METADATA"
_SMALL_CHUNK_BYTES = 64 << 20
_COMPRESSOR = {"id": "zstd", "level": 1}


class ArrayWriter:
    """Writes float32 arrays to a new folder, part by part; `finish` makes it complete."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
        self._open: dict[str, Any] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._left: dict[str, int] = {}  # values not written yet

    def create(self, name: str, shape: tuple[int, ...], *, chunks: tuple[int, ...]) -> None:
        """Create an array."""
        metadata = {
            "shape": list(shape),
            "chunks": list(chunks),
            "dtype": "<f4",
            "compressor": _COMPRESSOR,
            "fill_value": None,
            "dimension_separator": ".",
        }
        spec = _spec(self._folder, name) | {"metadata": metadata, "create": True}
        with write_errors(self._folder, what="checkpoint"):
            self._open[name] = ts.open(spec, context=self._context).result()
        self._shapes[name], self._left[name] = shape, math.prod(shape)

    def write(self, name: str, index: tuple[slice | int, ...], values: NDArray[Any]) -> None:
        """Write a part that was not written before."""
        with write_errors(self._folder, what="checkpoint"):
            self._open[name][index].write(np.ascontiguousarray(values, np.float32)).result()
        self._left[name] -= values.size

    def finish(self) -> None:
        """Write the metadata. Raises InternalError if a part of an array is missing."""
        if missing := {name: left for name, left in self._left.items() if left}:
            raise InternalError(f"an array of a checkpoint was not written as a whole; values left: {missing}")
        described = {
            str((name,)): {
                "key_metadata": [{"key": name, "key_type": 2}],
                "value_metadata": {"value_type": "jax.Array", "skip_deserialize": False, "write_shape": list(shape)},
            }
            for name, shape in self._shapes.items()
        }
        facts = {
            "tree_metadata": described,
            "use_ocdbt": True,
            "use_zarr3": False,
            "store_array_data_equal_to_fill_value": True,
            "custom_metadata": None,
        }
        (self._folder / _METADATA).write_text(json.dumps(facts))


class ArrayReader:
    """Reads parts of the arrays of the folder `params` of a checkpoint.

    Training writes one chunk per array and device, which may be gigabytes. The chunks of the array that was read last
    are kept if they are large, so the parts of one array should be read one after another.
    """

    def __init__(self, folder: Path) -> None:
        """Read the names of the arrays; raises ValueError or OSError if the folder is not of a checkpoint."""
        self._folder = folder
        described = json.loads(located(folder / _METADATA).read())["tree_metadata"]
        self._names = {entry["key_metadata"][0]["key"] for entry in described.values()}
        self._name, self._array = "", None  # the array that is open

    def read(self, name: str, index: tuple[slice | int, ...]) -> NDArray[np.float32]:
        """Return a part of an array, as float32; it may be stored in bfloat16."""
        if self._name != name:
            self._array = None  # releases the chunks of the array before
            self._array, self._name = self._opened(name), name
        assert self._array is not None
        return np.asarray(self._array[index].read().result(), np.float32)

    def _opened(self, name: str) -> Any:
        stored = name if name in self._names else earlier_name(name)

        def opened(cache_bytes: int) -> Any:
            context = ts.Context({"cache_pool": {"total_bytes_limit": cache_bytes}})
            return ts.open(_spec(self._folder, stored) | {"open": True}, context=context).result()

        array = opened(0)
        chunk_bytes = 4 * math.prod(array.chunk_layout.read_chunk.shape or ())  # none for a scalar
        if chunk_bytes <= _SMALL_CHUNK_BYTES:
            return array
        return opened(4 * math.prod(array.shape) + chunk_bytes)


def _spec(folder: Path, name: str) -> dict[str, Any]:
    store = {"driver": "ocdbt", "base": f"file://{folder.absolute()}/", "path": f"{name}/"}
    return {"driver": "zarr", "kvstore": store}
