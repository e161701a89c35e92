"""Reads the packets of a video stream once: content hash, duration, size.

The hash covers the video stream only, so a file and its remux into another container are the same video. It is the
SHA-256 of the codec's name and picture size, followed by the slices of H.264 and HEVC (pipeline/video/analysis/nal.py)
or the packets of other codecs. If reading ends with an error, the hash is marked, so a truncated file never equals a
complete one.

Constant memory. Cost: 15 us per packet, and SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction

import av
import av.container
from av.video.stream import VideoStream

from pipeline.video.analysis.nal import SliceParser
from pipeline.video.backends.container import frame_rate
from pipeline.video.time_grid import Timeline

_TRUNCATION_MARK = b"cut short"


class PacketReader:
    """Reads all packets of a stream once; its attributes are complete after `read` has ended."""

    def __init__(self, container: av.container.InputContainer, stream: VideoStream, *, allows_jumps: bool) -> None:
        context = stream.codec_context
        self._container, self._stream = container, stream
        self._tick_s = float(stream.time_base or Fraction(1, av.time_base))
        self._parser = SliceParser.for_stream(context.codec.canonical_name, context.extradata or b"")
        self._hash = hashlib.sha256(f"{context.codec.canonical_name} {context.width}x{context.height} ".encode())
        self._decoding_times = Timeline(1 / float(frame_rate(stream)), allows_jumps=allows_jumps)
        self._first_delay_s: float | None = None
        self.count = self.size_bytes = 0
        self.end_s = 0.0  # end of the last frame, from the start of the first
        self.detail = ""  # why reading ended before the end of the file

    def read(self) -> Iterator[tuple[av.Packet, float]]:
        """Yield every packet and the presentation time of its frame, in seconds from the first."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as e:
                self._mark_truncated(f"reading stopped: {e.strerror or e}")
                return
            if packet is None:
                return
            if packet.size:
                if packet.is_corrupt:
                    self._mark_truncated(f"the packet at {packet.pts} is damaged or truncated")
                yield packet, self._add(packet)

    @property
    def content_id(self) -> str:
        """SHA-256 of the stream, in hex."""
        return self._hash.hexdigest()

    def _mark_truncated(self, detail: str) -> None:
        self.detail = self.detail or detail
        self._hash.update(_TRUNCATION_MARK)

    def _add(self, packet: av.Packet) -> float:
        self.count += 1
        self.size_bytes += packet.size
        if self._parser is None:
            self._hash.update(memoryview(packet))
        else:
            for unit in self._parser.slices(bytes(packet)):
                self._hash.update(len(unit).to_bytes(4, "big"))
                self._hash.update(unit)
        time_s = self._presentation_s(packet)
        duration_s = (packet.duration or 0) * self._tick_s or self._decoding_times.default_duration_s
        self.end_s = max(self.end_s, time_s + duration_s)
        return time_s

    def _presentation_s(self, packet: av.Packet) -> float:
        # Packets are in decoding order, in which decoding times ascend; a frame is presented with some delay.
        ticks = packet.pts if packet.dts is None else packet.dts
        time_s = None if ticks is None else ticks * self._tick_s
        placed_s = self._decoding_times.place(time_s, (packet.duration or 0) * self._tick_s)
        if placed_s is None:
            placed_s = self._decoding_times.last_s
        delay_s = 0.0 if packet.pts is None or ticks is None else (packet.pts - ticks) * self._tick_s
        if self._first_delay_s is None:
            self._first_delay_s = delay_s
        return max(0.0, placed_s + delay_s - self._first_delay_s)
