"""NAL units of H.264 and HEVC: what is left of a stream when the framing of its container is taken off.

MP4 and Matroska write a unit's length before it, MPEG streams a start code; on the way between them, parameter sets
move in and out of the packets, and delimiters, messages (SEI) and filler come and go. The slices, which hold the
picture, stay byte for byte. A unit never ends in a zero byte, so zeros behind it are padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

_START_CODE = b"\0\0\1"
_H264_SLICES = frozenset({1, 2, 3, 4, 5, 19, 20, 21})  # ITU-T H.264, table 7-1
_HEVC_SLICES = frozenset(range(32))  # ITU-T H.265, table 7-1


class Slices:
    """Finds the slices in a stream's packets; `length_bytes` is 0 where start codes stand between the units."""

    def __init__(self, *, is_hevc: bool, length_bytes: int) -> None:
        self._is_hevc, self._length_bytes = is_hevc, length_bytes

    @classmethod
    def of(cls, codec: str, extradata: bytes) -> Self | None:
        """Read a stream's codec and its decoder configuration (avcC, hvcC); None for codecs without NAL units."""
        if codec not in {"h264", "hevc"}:
            return None
        is_hevc = codec == "hevc"
        at = 21 if is_hevc else 4  # of the byte whose last two bits say how long a length is, less one
        has_lengths = len(extradata) > at and extradata[0] == 1
        return cls(is_hevc=is_hevc, length_bytes=(extradata[at] & 3) + 1 if has_lengths else 0)

    def of_packet(self, packet: bytes) -> Iterator[bytes]:
        """Yield the slices of a packet, without framing and padding."""
        for unit in _after_lengths(packet, self._length_bytes) if self._length_bytes else _after_codes(packet):
            if unit and self._kind(unit[0]) in (_HEVC_SLICES if self._is_hevc else _H264_SLICES):
                yield unit.rstrip(b"\0")

    def _kind(self, header: int) -> int:
        return header >> 1 & 0x3F if self._is_hevc else header & 0x1F


def _after_lengths(packet: bytes, length_bytes: int) -> Iterator[bytes]:
    at = 0
    while at + length_bytes <= len(packet):
        start = at + length_bytes
        at = start + int.from_bytes(packet[at:start], "big")
        yield packet[start:at]  # a length that is too large gives what is there


def _after_codes(packet: bytes) -> Iterator[bytes]:
    at = packet.find(_START_CODE)
    while at >= 0:
        start = at + len(_START_CODE)
        at = packet.find(_START_CODE, start)
        yield packet[start:at] if at >= 0 else packet[start:]
