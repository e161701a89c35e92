"""NAL units of H.264 and HEVC: the coded slices of a stream, independent of its container.

MP4 and Matroska put the length before each unit, MPEG streams a start code; a remux between them moves parameter sets
into or out of the packets, and adds or drops delimiters, messages (SEI) and filler. The slices, which hold the picture,
stay the same byte for byte. A unit never ends in a zero byte, so trailing zeros are padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

_START_CODE = b"\0\0\1"
_H264_SLICES = frozenset({1, 2, 3, 4, 5, 19, 20, 21})  # ITU-T H.264, table 7-1
_HEVC_SLICES = frozenset(range(32))  # ITU-T H.265, table 7-1


class SliceParser:
    """Finds the slices in the packets of a stream. `length_bytes` is 0 where units are separated by start codes."""

    def __init__(self, *, is_hevc: bool, length_bytes: int) -> None:
        self._is_hevc, self._length_bytes = is_hevc, length_bytes

    @classmethod
    def for_stream(cls, codec: str, extradata: bytes) -> Self | None:
        """Create a parser from the codec's name and its decoder configuration (avcC, hvcC).

        Returns None for codecs without NAL units.
        """
        if codec not in {"h264", "hevc"}:
            return None
        is_hevc = codec == "hevc"
        at = 21 if is_hevc else 4  # the byte whose last two bits are the size of a length, minus one
        has_lengths = len(extradata) > at and extradata[0] == 1
        return cls(is_hevc=is_hevc, length_bytes=(extradata[at] & 3) + 1 if has_lengths else 0)

    def slices(self, packet: bytes) -> Iterator[bytes]:
        """Yield the slices of a packet, without framing and padding."""
        units = _split_by_length(packet, self._length_bytes) if self._length_bytes else _split_by_start_code(packet)
        for unit in units:
            if unit and self._unit_type(unit[0]) in (_HEVC_SLICES if self._is_hevc else _H264_SLICES):
                yield unit.rstrip(b"\0")

    def _unit_type(self, header: int) -> int:
        return header >> 1 & 0x3F if self._is_hevc else header & 0x1F


def _split_by_length(packet: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at + length_bytes <= len(packet):
        start = at + length_bytes
        at = start + int.from_bytes(packet[at:start], "big")
        yield packet[start:at]  # truncated where the length is too large


def _split_by_start_code(packet: bytes) -> Iterator[bytes]:
    at = packet.find(_START_CODE)
    while at >= 0:
        start = at + len(_START_CODE)
        at = packet.find(_START_CODE, start)
        yield packet[start:at] if at >= 0 else packet[start:]
