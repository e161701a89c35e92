"""Slices in packets with length prefixes and with start codes."""

from __future__ import annotations

import pytest

from pipeline.video.analysis.nal import SliceParser


def test_slices_are_found_with_lengths_and_with_start_codes() -> None:
    parameters, idr, slices = b"\x67abc", b"\x65\x01\x02\x03", (b"\x41\x09", b"\x41\x00\x00\x03\x01")
    codes = b"\0\0\0\1" + parameters + b"\0\0\1" + idr + b"\0\0\0\1\x06sei" + b"".join(b"\0\0\1" + s for s in slices)
    sizes = b"".join(len(u).to_bytes(2, "big") + u for u in (parameters, idr, *slices))
    with_codes = SliceParser.for_stream("h264", b"")
    with_lengths = SliceParser.for_stream("h264", bytes([1, 100, 0, 30, 0xFC | 1, 0xE1]))
    assert with_codes is not None
    assert with_lengths is not None
    assert list(with_codes.slices(codes + b"\0\0")) == list(with_lengths.slices(sizes)) == [idr, *slices]
    assert SliceParser.for_stream("vp9", b"") is None


@pytest.mark.parametrize("packet", [b"", b"\0", b"\0\0\1", b"\xff\xff\xff\xff\x65", b"\0\0\0\0\0\0\0\0"])
def test_invalid_packets_give_no_more_bytes_than_they_have(packet: bytes) -> None:
    for extradata in (b"", bytes([1, 100, 0, 30, 0xFF, 0xE1])):
        slices = SliceParser.for_stream("h264", extradata)
        assert slices is not None
        assert sum(map(len, slices.slices(packet))) <= len(packet)
