"""Videos through PyAV (FFmpeg): the default backend, and the only one that probes.

Decoding runs on one thread. Measured on two cores (benchmarks/decode.py), frame threads shorten one video by 10 to 30 %
for 5 to 50 % more work in all, while a job decodes as many videos at once as there are cores; and on damaged files
they give other pixels on each run.

Damage does not end a video: packets that cannot be decoded are counted and passed over, frames that the decoder
painted over are kept and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import ThreadType
from av.sidedata.sidedata import SideDataContainer
from numpy.typing import NDArray

from pipeline.video.backends.container import frame_rate, is_text, open_container, promised_s, video_stream
from pipeline.video.scale import Scaler, cropped, guesses_bt709, is_full_range
from pipeline.video.time_grid import (
    Crop,
    Orientation,
    Timed,
    TimeStamps,
    coded_crop,
    geometry,
    orientation_of,
    pixel_shape,
    shown_size,
)
from pipeline.video.types import VideoInfo
from schemas.errors import InputError, Reason

_CLOCK_MAY_JUMP = {"mpegts", "mpeg"}
_HAS_NO_PTS = {"avi"}
_HEAD_FRAMES = 3  # decoded to describe a video
_LARGEST_ASPECT = 100
_HDR_CURVES = {16, 18}  # PQ, HLG (ISO/IEC 23091-2 transfer characteristics)
_SIDE_DATA: Any = SideDataContainer
_INTERLACED_ORDERS = {2, 3, 4, 5}  # AVFieldOrder


class PyAVSource:
    """One open video, a context manager. Use `timed_frames` once."""

    def __init__(self, path: Path, *, size: int, max_pixels: int) -> None:
        self.path, self.size = path, size
        self.decode_errors = self.corrupt_frames = 0
        self.interlaced = False
        self.detail = ""
        self._scaler = Scaler()
        with ExitStack() as stack:
            self._container = stack.enter_context(open_container(path, max_pixels=max_pixels))
            self._stream = video_stream(self._container, path, max_pixels=max_pixels)
            self._has_no_pts = self._container.format.name in _HAS_NO_PTS
            self._time_base = self._stream.time_base or Fraction(1, av.time_base)
            context = self._stream.codec_context
            context.thread_type, context.thread_count = ThreadType.NONE, 1
            context.options = {"max_pixels": str(max_pixels)}  # holds after a switch in mid-stream too
            self._decoding = self._decoded()
            self._head = list(islice(self._decoding, _HEAD_FRAMES))
            if not self._head:
                raise InputError(Reason.UNREADABLE, f"{path}: not one frame could be decoded. {self.detail}".strip())
            self.info = self._describe()
            self._stack = stack.pop_all()

    def __enter__(self) -> PyAVSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def tick_s(self) -> float:
        """Seconds in one unit of the stream's time base."""
        return float(self._time_base)

    @property
    def sar(self) -> Fraction:
        """Width of a coded pixel over its height, in the first frame."""
        return self._pixel_shape(self._head[0])

    @property
    def guesses_bt709(self) -> bool:
        """Whether the first frame names no color matrix and is large enough that BT.709 is taken."""
        return guesses_bt709(self._head[0])

    @property
    def typical_s(self) -> float:
        """How long a frame lasts where the file does not say."""
        return 1 / self.info.frame_rate

    @property
    def clock_may_jump(self) -> bool:
        """Whether the format's times may be reset in mid-stream."""
        return self._container.format.name in _CLOCK_MAY_JUMP

    def timed_frames(self) -> Iterator[Timed[av.VideoFrame]]:
        """Decode all frames, in presentation order."""
        stamps = TimeStamps(faults=int(self._has_no_pts))
        for frame in chain(self._head, self._decoding):
            ticks = stamps.best(frame.pts, frame.dts)
            time_s = None if ticks is None else self._seconds(ticks)
            yield Timed(time_s, self._seconds(frame.duration or 0), frame)

    def render(self, frame: av.VideoFrame, crop: Crop | None = None) -> NDArray[np.uint8]:
        """Make a frame of this video, or a part of it, the square that is wanted: uint8 [size, size, 3]."""
        sar, turned = self._pixel_shape(frame), orientation(frame)
        if crop is not None:
            shown = self.info.width, self.info.height
            frame = cropped(frame, coded_crop(crop, shown, (frame.width, frame.height), turned))
        if not 1 / _LARGEST_ASPECT <= frame.width * sar / frame.height <= _LARGEST_ASPECT:
            shape = f"{frame.width}x{frame.height} with pixels {float(sar):.3g} times as wide as high"
            raise InputError(Reason.UNREADABLE, f"{self.path}: a picture of {shape} has no middle square")
        placed = geometry(frame.width, frame.height, sar, self.size)
        return self._scaler.square(frame, placed, turned, self.size)

    def rough(self, frame: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Make a frame of this video a picture of (width, height): uint8 [height, width, 3]; see Scaler.rough."""
        return self._scaler.rough(frame, size)

    def shown(self, frame: av.VideoFrame) -> tuple[av.VideoFrame, Orientation]:
        """Return a frame of this video as it is, and how it must be turned."""
        return frame, orientation(frame)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as e:
                self.detail = f"reading stopped: {e.strerror or e}"
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.FFmpegError as e:
                self.decode_errors += 1
                self.detail = self.detail or f"packet at {packet.pts}: {e.strerror or e}"
                continue
            for frame in frames:
                self.corrupt_frames += frame.is_corrupt
                self.interlaced |= frame.interlaced_frame
                yield frame

    def _time_of(self, frame: av.VideoFrame) -> float | None:
        one, other = (frame.dts, frame.pts) if self._has_no_pts else (frame.pts, frame.dts)
        ticks = other if one is None else one
        return None if ticks is None else self._seconds(ticks)

    def _seconds(self, ticks: int) -> float:
        return ticks * self._time_base.numerator / self._time_base.denominator

    def _pixel_shape(self, frame: av.VideoFrame) -> Fraction:
        first = self._head[0]
        switched = (frame.width, frame.height) != (first.width, first.height)
        own = self._stream.codec_context.sample_aspect_ratio if switched else None
        return pixel_shape(own or self._stream.sample_aspect_ratio)

    def _describe(self) -> VideoInfo:
        frame, stream, context = self._head[0], self._stream, self._stream.codec_context
        turned, sar = orientation(frame), self._pixel_shape(frame)
        width, height = shown_size(frame.width, frame.height, sar, turned)
        combed = any(f.interlaced_frame for f in self._head)
        return VideoInfo(
            container=self._container.format.name,
            codec=context.codec.canonical_name,
            pix_fmt=frame.format.name,
            width=width,
            height=height,
            coded_width=frame.width,
            coded_height=frame.height,
            rotation=-90 * turned.turns % 360,
            flipped=turned.flip,
            sar=float(sar),
            frame_rate=float(frame_rate(stream)),
            duration_s=promised_s(self._container, stream, self.path),
            start_s=self._time_of(frame) or 0.0,
            bit_depth=max(component.bits for component in frame.format.components),
            full_range=is_full_range(frame),
            hdr=frame.color_trc in _HDR_CURVES,
            interlaced=combed or context.field_order in _INTERLACED_ORDERS,
            has_audio=bool(self._container.streams.audio),
            subtitle_streams=sum(is_text(s.codec_context) for s in self._container.streams.subtitles),
            is_picture=False,
        )


def orientation(frame: av.VideoFrame) -> Orientation:
    """How the file asks for a frame to be turned and mirrored (its display matrix)."""
    # Not `frame.side_data`: that and the frame would hold each other, and every frame stay until the garbage collector
    # comes by; a few hundred of them are a gigabyte.
    side_data: Any = _SIDE_DATA(frame)
    matrix = side_data.get("DISPLAYMATRIX")
    return Orientation() if matrix is None else orientation_of(np.frombuffer(bytes(matrix), np.int32).tolist())
