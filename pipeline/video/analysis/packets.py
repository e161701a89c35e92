"""Reads the packets of a video stream once: content hash, duration, size.

The hash covers the video stream only, so a file and its remux into another container are the same video. It is the
SHA-256 of the codec's name and picture size, followed by the slices of H.264 and HEVC (pipeline/video/analysis/nal.py)
or the packets of other codecs, with the alpha channel that Matroska stores next to them. If reading ends with an error,
the hash is marked, so a truncated file never equals a complete one.

Constant memory. Cost: 15 us per packet, and SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import av
import av.container
from av.packet import PktSideDataT
from av.video.stream import VideoStream

from pipeline.video.analysis.activity import ActivityMeter
from pipeline.video.analysis.nal import SliceParser
from pipeline.video.backends.container import frame_rate
from pipeline.video.backends.stream_choice import has_separate_alpha
from pipeline.video.packet_clock import PacketClock

_TRUNCATION_MARK = b"cut short"
_ALPHA: PktSideDataT = "matroska_block_additional"


class PacketReader:
    """Reads all packets of a stream once; its attributes are complete after `read` has ended."""

    def __init__(self, container: av.container.InputContainer, stream: VideoStream, *, allows_jumps: bool) -> None:
        context = stream.codec_context
        self._container, self._stream = container, stream
        self._parser = SliceParser.for_stream(context.codec.canonical_name, context.extradata or b"")
        self._hash = hashlib.sha256(f"{context.codec.canonical_name} {context.width}x{context.height} ".encode())
        default_duration_s = 1 / float(frame_rate(container, stream))
        self._clock = PacketClock(stream.time_base, default_duration_s=default_duration_s, allows_jumps=allows_jumps)
        self._first_s: float | None = None
        self._end_s = 0.0
        self._has_separate_alpha = has_separate_alpha(stream)
        self._activity = ActivityMeter()
        self.count = self.size_bytes = 0
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
    def end_s(self) -> float:
        """End of the last frame, in seconds from the start of the first."""
        return max(0.0, self._end_s - (self._first_s or 0.0))

    @property
    def activity(self) -> bytes:
        """The bytes between key frames over time; see pipeline.video.analysis.activity."""
        return self._activity.levels()

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
        if self._has_separate_alpha and packet.has_sidedata(_ALPHA):
            self._hash.update(memoryview(packet.get_sidedata(_ALPHA)))
        if self._parser is None:
            self._hash.update(memoryview(packet))
        else:
            for unit in self._parser.slices(bytes(packet)):
                self._hash.update(len(unit).to_bytes(4, "big"))
                self._hash.update(unit)
        placed = self._clock.place(packet)
        if packet.is_keyframe:
            self._activity.add_key_frame(placed.start_s)
        else:
            self._activity.add(placed.start_s, packet.size)
        if not packet.is_discard:  # an edit list shows a part of the packets only
            self._first_s = placed.start_s if self._first_s is None else min(self._first_s, placed.start_s)
            self._end_s = max(self._end_s, placed.end_s)
        return placed.start_s
