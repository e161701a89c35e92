"""The duration of the video that a file promises, to compare with what can be decoded.

Formats without a header for it (MPEG program and transport streams, bare streams of a codec, NUT) promise the frames
that they contain: all packets are read, but not decoded. FFmpeg would estimate their duration from the last timestamps,
the bit rate or 25 frames per second, which is wrong for short files and bare streams. Some formats (FLV, ASF, Matroska
without tags) declare one duration for all streams. Where another stream, such as longer audio, lasts as long, it says
nothing about the video, whose packets are read as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.container
from av.video.stream import VideoStream

from pipeline.video.backends.container import ALLOWS_JUMPS, BARE_STREAMS, frame_rate, open_container
from pipeline.video.packet_clock import PacketClock

_MEASURED = {*BARE_STREAMS, *ALLOWS_JUMPS, "nut"}
_ONE_FOR_ALL_STREAMS = {"asf", "asf_o"}  # FFmpeg gives each stream the duration of the file
_FROM_ZERO = {"matroska,webm", "flv"}  # their duration counts from time 0, not from the first frame
_END_TOLERANCE_S = 1.0  # a stream that ends so close to the end of the file lasts as long as the file


def declared_duration_s(container: av.container.InputContainer, stream: VideoStream, path: Path) -> float:
    """Return the seconds of video that the file promises.

    In order of preference: the stream's own duration; its DURATION tag (Matroska); the file's duration, unless that is
    the duration of another stream; and otherwise the duration of all packets. FFmpeg reduces the duration of an AVI to
    what the file size can hold, so only part of the loss shows in a truncated AVI.
    """
    name = container.format.name
    tick_s = stream.time_base or Fraction(1, av.time_base)
    if name in _MEASURED:
        return _packets_s(path, stream)
    if stream.duration and name not in _ONE_FOR_ALL_STREAMS:
        return float(stream.duration * tick_s)
    start_s = float((stream.start_time or 0) * tick_s) if name in _FROM_ZERO else 0.0
    if (tagged_s := _parse_clock_s(stream.metadata.get("DURATION", ""))) > start_s:
        return tagged_s - start_s
    file_s = (container.duration or 0) / av.time_base
    if file_s <= start_s:
        return _packets_s(path, stream)
    if len(container.streams) > 1 and _others_end_s(path, stream) >= file_s - _END_TOLERANCE_S:
        return _packets_s(path, stream)
    return file_s - start_s


def _packets_s(path: Path, stream: VideoStream) -> float:
    """Return the seconds of video in the packets of the file."""
    with open_container(path, max_pixels=1) as container:  # nothing is decoded: the limit on pixels has no effect
        allows_jumps = container.format.name in ALLOWS_JUMPS
        default_s = 1 / float(frame_rate(container, stream))
        clock = PacketClock(stream.time_base, default_duration_s=default_s, allows_jumps=allows_jumps)
        for packet in _packets(container, [stream.index]):
            clock.place(packet)
    return clock.end_s


def _others_end_s(path: Path, stream: VideoStream) -> float:
    """Return the time at which the last packet of all streams but `stream` ends."""
    with open_container(path, max_pixels=1) as container:
        others = [other.index for other in container.streams if other.index != stream.index]
        times = ((p.pts, p.duration or 0, p.time_base) for p in _packets(container, others))
        return max((float((pts + duration) * tick) for pts, duration, tick in times if pts is not None), default=0.0)


def _packets(container: av.container.InputContainer, indices: list[int]) -> Iterator[av.Packet]:
    packets = container.demux([container.streams[index] for index in indices])
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return  # a damaged end: what comes before it counts
        if packet is None:
            return
        if packet.size:
            yield packet


def _parse_clock_s(text: str) -> float:
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0
