"""Decodes videos with PyAV (FFmpeg). The default backend, and the one that probing and analysis use.

Decoding uses one thread. Measured on two cores (benchmarks/decode.py), frame threads shorten one video by 10 to 30 %
for 5 to 50 % more work in total, while a job decodes as many videos at once as there are cores; and on damaged files
they give different pixels in each run.

Frames that the caller does not show and no other frame refers to are not decoded (packet_skipping.py).

Damage does not end a video: packets that cannot be decoded are counted and skipped; frames with concealed errors are
counted and kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from heapq import heappop, heappush
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from numpy.typing import NDArray

from pipeline.video.backends.container import ALLOWS_JUMPS, frame_rate, is_text, open_container
from pipeline.video.backends.declared_duration import declared_duration_s
from pipeline.video.backends.packet_skipping import (
    PacketToDecode,
    flags_unreferenced_frames,
    has_reliable_times,
    with_next_times,
)
from pipeline.video.backends.source import IsShown
from pipeline.video.backends.stream_choice import candidate_streams, open_decoder, video_stream
from pipeline.video.geometry import (
    Crop,
    Orientation,
    center_crop,
    coded_crop,
    display_size,
    orientation_from_matrix,
    pixel_aspect_ratio,
)
from pipeline.video.scale import Scaler, cropped, guesses_bt709, has_alpha, is_full_range
from pipeline.video.time_grid import TimedFrame, TimestampSelector
from pipeline.video.types import VideoInfo
from schemas.errors import InputError, Reason

_HAS_NO_PTS = {"avi"}
_HEAD_FRAMES = 3  # decoded when a video is opened, to describe it
_MAX_ASPECT_RATIO = 100
_HDR_CURVES = {16, 18}  # PQ, HLG (ISO/IEC 23091-2 transfer characteristics)
_SIDE_DATA: Any = SideDataContainer
_INTERLACED_ORDERS = {2, 3, 4, 5}  # AVFieldOrder


class PyAVSource:
    """One open video; see `pipeline.video.backends.source.AnalysisSource`."""

    def __init__(self, path: Path, *, size: int, max_pixels: int) -> None:
        self.path, self.size = path, size
        self.decode_errors = self.corrupt_frames = 0
        self.interlaced = False
        self._scaler = Scaler()
        self._is_shown: IsShown | None = None
        self._skippable: list[tuple[int, int]] = []  # presentation time and duration of packets that may be skipped
        with ExitStack() as stack:
            self._container = stack.enter_context(open_container(path, max_pixels=max_pixels))
            self._stream = video_stream(self._container, path, max_pixels=max_pixels)
            self._has_no_pts = self._container.format.name in _HAS_NO_PTS
            self._time_base = self._stream.time_base or Fraction(1, av.time_base)
            self._decoder, self.detail = open_decoder(self._stream, max_pixels=max_pixels)
            self._decoding = self._decoded()
            self._head = list(islice(self._decoding, _HEAD_FRAMES))
            if not self._head:
                raise InputError(Reason.UNREADABLE, f"{path}: no frame could be decoded. {self.detail}".strip())
            self.info = self._describe()
            self._stack = stack.pop_all()

    def __enter__(self) -> PyAVSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def tick_s(self) -> float:
        """Resolution of the stream's timestamps in seconds."""
        return float(self._time_base)

    @property
    def sar(self) -> Fraction:
        """Sample aspect ratio of the first frame."""
        return self._pixel_aspect_ratio(self._head[0])

    @property
    def guesses_bt709(self) -> bool:
        """Whether the first frame names no color matrix and BT.709 is assumed, because it is HD."""
        return guesses_bt709(self._head[0])

    @property
    def other_sizes(self) -> list[tuple[int, int]]:
        """Width and height of the video streams that were not chosen."""
        others = [s for s in candidate_streams(self._container) if s.index != self._stream.index]
        return [(s.codec_context.width, s.codec_context.height) for s in others if s.codec_context is not None]

    @property
    def has_alpha(self) -> bool:
        """Whether the first frame has an alpha channel or a palette."""
        return has_alpha(self._head[0])

    @property
    def default_duration_s(self) -> float:
        """Duration of a frame that has none in the file."""
        return 1 / self.info.frame_rate

    @property
    def allows_jumps(self) -> bool:
        """Whether the format allows discontinuities in its timestamps."""
        return self._container.format.name in ALLOWS_JUMPS

    def timed_frames(self, is_shown: IsShown | None = None) -> Iterator[TimedFrame[av.VideoFrame]]:
        """Decode the frames, in presentation order. Call once."""
        stamps = TimestampSelector(faults=int(self._has_no_pts))
        if has_reliable_times(self._container.format.name) and not self.info.interlaced:
            self._is_shown = is_shown
        last = self._head[0]
        for frame in chain(self._head, self._decoding):
            yield from self._skipped_before(frame.pts, last)
            ticks = stamps.select(frame.pts, frame.dts)
            time_s = None if ticks is None else self._seconds(ticks)
            last = frame
            yield TimedFrame(time_s, self._seconds(frame.duration or 0), frame)

    def render(self, frame: av.VideoFrame, crop: Crop | None = None) -> NDArray[np.uint8]:
        """Return the center crop of a frame, or of the part `crop` (displayed pixels): uint8 RGB [size, size, 3]."""
        sar, oriented = self._pixel_aspect_ratio(frame), orientation(frame)
        if crop is not None:
            displayed = self.info.width, self.info.height
            frame = cropped(frame, coded_crop(crop, displayed, (frame.width, frame.height), oriented))
        if not 1 / _MAX_ASPECT_RATIO <= frame.width * sar / frame.height <= _MAX_ASPECT_RATIO:
            raise InputError(
                Reason.UNREADABLE,
                f"{self.path}: {frame.width}x{frame.height} pixels with a pixel aspect ratio of {float(sar):.3g} are "
                f"too narrow for a center crop; the limit is {_MAX_ASPECT_RATIO} to 1",
            )
        placed = center_crop(frame.width, frame.height, sar, self.size)
        return self._scaler.center_crop(frame, placed, oriented, self.size)

    def thumbnail(self, frame: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return a whole frame scaled to (width, height), not rotated: uint8 RGB [height, width, 3]."""
        return self._scaler.thumbnail(frame, size)

    def oriented_frame(self, frame: av.VideoFrame) -> tuple[av.VideoFrame, Orientation]:
        """Return a frame as coded, and the orientation in which it is displayed."""
        return frame, orientation(frame)

    def _packets(self) -> Iterator[av.Packet]:
        try:
            yield from self._container.demux(self._stream)
        except av.FFmpegError as e:
            self.detail = f"reading stopped: {e.strerror or e}"

    def _decoded(self) -> Iterator[av.VideoFrame]:
        flagged = flags_unreferenced_frames(self._decoder.codec)
        for given in with_next_times(self._packets()):
            packet = given.packet
            is_skippable = self._is_skippable(given)
            if is_skippable and packet.pts is not None:
                heappush(self._skippable, (packet.pts, packet.duration or 0))
            if is_skippable and not flagged:
                continue
            if flagged:
                self._decoder.skip_frame = "NONREF" if is_skippable else "DEFAULT"
            try:
                frames = self._decoder.decode(packet)
            except av.FFmpegError as e:
                self.decode_errors += 1
                self.detail = self.detail or f"packet at {packet.pts}: {e.strerror or e}"
                continue
            for frame in frames:
                self.corrupt_frames += frame.is_corrupt
                self.interlaced |= frame.interlaced_frame
                yield frame

    def _is_skippable(self, given: PacketToDecode) -> bool:
        packet, until = given
        if self._is_shown is None or self.interlaced or packet.pts is None or until is None:
            return False
        codec = self._decoder.codec
        if not (flags_unreferenced_frames(codec) or (codec.intra_only and packet.is_keyframe)):
            return False
        start_s = self.info.start_s
        return not self._is_shown(self._seconds(packet.pts) - start_s, self._seconds(until) - start_s)

    def _skipped_before(self, pts: int | None, last: av.VideoFrame) -> Iterator[TimedFrame[av.VideoFrame]]:
        """Yield the frames that were skipped before `pts`; each has the content of the `last` decoded one.

        That content is shown only where damage takes the frames that should be.
        """
        while self._skippable and pts is not None and self._skippable[0][0] <= pts:
            ticks, duration = heappop(self._skippable)
            if ticks != pts:  # otherwise the decoder did not skip it
                yield TimedFrame(self._seconds(ticks), self._seconds(duration), last)

    def _time_of(self, frame: av.VideoFrame) -> float | None:
        one, other = (frame.dts, frame.pts) if self._has_no_pts else (frame.pts, frame.dts)
        ticks = other if one is None else one
        return None if ticks is None else self._seconds(ticks)

    def _seconds(self, ticks: int) -> float:
        return ticks * self._time_base.numerator / self._time_base.denominator

    def _pixel_aspect_ratio(self, frame: av.VideoFrame) -> Fraction:
        first = self._head[0]
        switched = (frame.width, frame.height) != (first.width, first.height)
        own = self._decoder.sample_aspect_ratio if switched else None
        return pixel_aspect_ratio(own or self._stream.sample_aspect_ratio)

    def _describe(self) -> VideoInfo:
        frame, stream, context = self._head[0], self._stream, self._stream.codec_context
        oriented, sar = orientation(frame), self._pixel_aspect_ratio(frame)
        width, height = display_size(frame.width, frame.height, sar, oriented)
        has_interlaced_frames = any(f.interlaced_frame for f in self._head)
        return VideoInfo(
            container=self._container.format.name,
            codec=context.codec.canonical_name,
            pix_fmt=frame.format.name,
            width=width,
            height=height,
            coded_width=frame.width,
            coded_height=frame.height,
            rotation=-90 * oriented.turns % 360,
            flipped=oriented.flip,
            sar=float(sar),
            frame_rate=float(frame_rate(self._container, stream)),
            duration_s=declared_duration_s(self._container, stream, self.path),
            start_s=self._time_of(frame) or 0.0,
            bit_depth=max(component.bits for component in frame.format.components),
            full_range=is_full_range(frame),
            hdr=frame.color_trc in _HDR_CURVES,
            interlaced=has_interlaced_frames or context.field_order in _INTERLACED_ORDERS,
            has_audio=bool(self._container.streams.audio),
            subtitle_streams=sum(is_text(s.codec_context) for s in self._container.streams.subtitles),
            is_picture=False,
            container_start_s=(self._container.start_time or 0) / av.time_base,
        )


def orientation(frame: av.VideoFrame) -> Orientation:
    """Return the orientation in which a frame is displayed, from its display matrix."""
    # Not `frame.side_data`: it and the frame reference each other, so that every frame would stay in memory until the
    # next garbage collection. A few hundred frames are a gigabyte.
    side_data: Any = _SIDE_DATA(frame)
    matrix = side_data.get("DISPLAYMATRIX")
    return Orientation() if matrix is None else orientation_from_matrix(np.frombuffer(bytes(matrix), np.int32).tolist())
