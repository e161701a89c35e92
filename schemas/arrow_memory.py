"""The memory that Arrow arrays take as Python values, estimated before they are converted."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

_PER_VALUE = 60  # bytes of a text or number, and of what refers to it
_PER_LIST = 100
_PER_STRUCT = 240


def memory_of(columns: Iterable[pa.Array]) -> int:
    """Return the bytes that all values take in Python; a value that a dictionary has once counts each time."""
    return sum(map(_memory, columns))


def _memory(array: pa.Array) -> int:
    kind = array.type
    if isinstance(array, pa.DictionaryArray):
        return _PER_VALUE * len(array) + _bytes_of_entries(array)
    if pa.types.is_struct(kind):
        return _PER_STRUCT * len(array) + memory_of(array.flatten())
    if isinstance(array, pa.FixedSizeListArray):
        return _PER_LIST * len(array) + _memory(array.flatten())
    if isinstance(array, pa.ListArray | pa.LargeListArray):  # a map is a list, too
        first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return _PER_LIST * len(array) + _memory(array.values.slice(first, last - first))
    return _PER_VALUE * len(array) + array.nbytes


def _bytes_of_entries(array: pa.DictionaryArray) -> int:
    lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
    return pc.sum(lengths.cast(pa.int64())).as_py() or 0
