"""The sizes that the pages of a Parquet file declare, compared with the bytes that they have, before Arrow reads them.

Arrow unpacks a page into as much memory as its header declares, up to 2 GiB, and holds a page of each column at a time.
The footer has sizes of its own, which can be smaller. A header is a Thrift struct in the compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

_MAX_RATIO = 1000  # unpacked bytes of the columns of a row group over packed bytes; 2 to 10 for text
_MAX_UNCHECKED_BYTES = 512 << 20  # smaller ones may have any ratio
_MAX_PAGES_BYTES = 2 << 30  # of a page of each column
_HEADER_BYTES = (1 << 10, 1 << 14, 16 << 20)  # read at a time, as headers have values of any length; Arrow's limit
_UNPACKED, _PACKED = 2, 3  # fields of a header
_MAX_DEPTH = 16
_MAX_PAGES = 1_000_000  # of a column of a row group; they have a megabyte or 20,000 rows


@dataclass(frozen=True)
class _Pages:
    """The pages of some columns: bytes of the file, unpacked bytes, and those of the largest page of each column."""

    packed: int = 0
    unpacked: int = 0
    largest: int = 0


def require_plausible_pages(stream: BinaryIO, group: pq.RowGroupMetaData, columns: Collection[str]) -> None:
    """Raise pa.ArrowInvalid if the pages of these columns would take much more memory than their bytes are worth."""
    chunks = [group.column(index) for index in range(group.num_columns)]
    found = [_pages(stream, chunk) for chunk in chunks if chunk.path_in_schema.partition(".")[0] in columns]
    packed, unpacked = sum(one.packed for one in found), sum(one.unpacked for one in found)
    if unpacked > max(_MAX_UNCHECKED_BYTES, _MAX_RATIO * packed):
        raise pa.ArrowInvalid(
            f"its pages unpack from {packed:,} to {unpacked:,} bytes, more than {_MAX_RATIO:,} times as much: a "
            "decompression bomb"
        )
    if (most := sum(one.largest for one in found)) > _MAX_PAGES_BYTES:
        raise pa.ArrowInvalid(
            f"a page of each column takes {most:,} bytes of memory, the limit is {_MAX_PAGES_BYTES:,}: write the file "
            "with smaller pages"
        )


def _pages(stream: BinaryIO, chunk: pq.ColumnChunkMetaData) -> _Pages:
    """Return what the headers of a column declare, up to one that cannot be read: Arrow does not read it, either."""
    starts = [chunk.data_page_offset, *([chunk.dictionary_page_offset] if chunk.has_dictionary_page else [])]
    first = at = min(starts)
    end = min(first + chunk.total_compressed_size, stream.seek(0, 2))
    unpacked, largest, count = 0, 0, 0
    while 0 <= at < end and (header := _header(stream, at)) is not None:
        length, packed, size = header
        unpacked, largest, count = unpacked + size, max(largest, size), count + 1
        at += length + packed
        if count > _MAX_PAGES:
            raise pa.ArrowInvalid(f"the column {chunk.path_in_schema!r} has more than {_MAX_PAGES:,} pages")
    return _Pages(min(at, end) - first, unpacked, largest)


def _header(stream: BinaryIO, at: int) -> tuple[int, int, int] | None:
    """Return the length of the header at a position, and the packed and unpacked bytes of its page."""
    for most in _HEADER_BYTES:
        stream.seek(at)
        reader = _Compact(data := stream.read(most))
        try:
            fields = reader.struct()
        except IndexError:  # it is longer
            if len(data) < most:
                return None
            continue
        except ValueError:
            return None
        packed, unpacked = fields.get(_PACKED, -1), fields.get(_UNPACKED, -1)
        return (reader.at, packed, unpacked) if packed >= 0 and unpacked >= 0 else None
    return None


class _Compact:
    """Reads a struct in the compact protocol; raises IndexError past the end, ValueError for what is not a struct."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, int]:
        """Return the numbers among the fields of a struct."""
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")
        fields: dict[int, int] = {}
        name = 0
        while head := self._byte():
            name = name + (head >> 4) if head >> 4 else self._number()
            value = None if head & 15 in (1, 2) else self._value(head & 15, depth)  # true and false have no bytes
            if value is not None:
                fields[name] = value
        return fields

    def _value(self, kind: int, depth: int) -> int | None:
        """Read a value, and return it if it is a number."""
        match kind:
            case 1 | 2 | 3:  # a truth value in a list, a byte
                self._skip(1)
            case 4 | 5 | 6:
                return self._number()
            case 7:
                self._skip(8)
            case 8:
                self._skip(self._varint())
            case 9 | 10:
                self._list(depth)
            case 12:
                self.struct(depth + 1)
            case _:  # maps, which no header has
                raise ValueError(f"type {kind}")
        return None

    def _list(self, depth: int) -> None:
        head = self._byte()
        for _ in range(self._varint() if head >> 4 == 15 else head >> 4):
            self._value(head & 15, depth + 1)

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number of more than ten bytes")

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self.at - 1]

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise IndexError
