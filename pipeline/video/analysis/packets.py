"""One reading of a video's packets: what tells it from other videos, how long it lasts, what it weighs.

The hash is of the picture stream alone, so a file and its remux into another container are one video: of H.264 and
HEVC the slices (pipeline/video/analysis/nal.py), of other codecs the packets as they are; after the codec's name and
the picture's size. A reading that ends in an error is marked in the hash, so half a file is never taken for a whole
one.

Constant memory. Cost: 15 us a packet, and SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction

import av
import av.container
from av.video.stream import VideoStream

from pipeline.video.analysis.nal import Slices
from pipeline.video.backends.container import frame_rate
from pipeline.video.time_grid import Timeline

_CUT_SHORT = b"cut short"


class Packets:
    """Reads all packets of a stream once; the sums stand when `read` has ended."""

    def __init__(self, container: av.container.InputContainer, stream: VideoStream, *, clock_may_jump: bool) -> None:
        context = stream.codec_context
        self._container, self._stream = container, stream
        self._tick_s = float(stream.time_base or Fraction(1, av.time_base))
        self._slices = Slices.of(context.codec.canonical_name, context.extradata or b"")
        self._hash = hashlib.sha256(f"{context.codec.canonical_name} {context.width}x{context.height} ".encode())
        self._decoding = Timeline(typical_s=1 / float(frame_rate(stream)), jumps=clock_may_jump)
        self._lead_s: float | None = None
        self.count = self.size_bytes = 0
        self.found_s = 0.0  # from the first frame to the end of the last
        self.detail = ""  # why the reading ended before the file did

    def read(self) -> Iterator[tuple[av.Packet, float]]:
        """Yield every packet and when its frame is shown, in seconds from the start of the first."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as e:
                self._end(f"reading stopped: {e.strerror or e}")
                return
            if packet is None:
                return
            if packet.size:
                if packet.is_corrupt:
                    self._end(f"the packet at {packet.pts} is damaged or cut short")
                yield packet, self._take(packet)

    @property
    def content_id(self) -> str:
        """SHA-256, in hex."""
        return self._hash.hexdigest()

    def _end(self, detail: str) -> None:
        self.detail = self.detail or detail
        self._hash.update(_CUT_SHORT)

    def _take(self, packet: av.Packet) -> float:
        self.count += 1
        self.size_bytes += packet.size
        if self._slices is None:
            self._hash.update(memoryview(packet))
        else:
            for unit in self._slices.of_packet(bytes(packet)):
                self._hash.update(len(unit).to_bytes(4, "big"))
                self._hash.update(unit)
        shown_s = self._shown_s(packet)
        duration_s = (packet.duration or 0) * self._tick_s or self._decoding.typical_s
        self.found_s = max(self.found_s, shown_s + duration_s)
        return shown_s

    def _shown_s(self, packet: av.Packet) -> float:
        # Packets come in the order of decoding, whose times run forward; a frame is shown somewhat after that.
        ticks = packet.pts if packet.dts is None else packet.dts
        time_s = None if ticks is None else ticks * self._tick_s
        placed_s = self._decoding.place(time_s, (packet.duration or 0) * self._tick_s)
        if placed_s is None:
            placed_s = self._decoding.last_s
        delay_s = 0.0 if packet.pts is None or ticks is None else (packet.pts - ticks) * self._tick_s
        if self._lead_s is None:
            self._lead_s = delay_s
        return max(0.0, placed_s + delay_s - self._lead_s)
