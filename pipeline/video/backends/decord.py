"""Decodes videos with decord, a second, independent decoder for comparison.

decord (0.6, with FFmpeg 4, unmaintained) is used only for what it does correctly. Its timestamps are float32, and
wrong in MPEG streams, where it also drops the first frames; it rotates pictures in MP4 but not in Matroska, ignores
pixel aspect ratio and mirroring, assumes BT.601 for untagged HD, cannot open AV1, and may hang (the time limit ends
that). Therefore times, pixel aspect ratio and orientation come from PyAV, which reads the packets without decoding
them, and only MP4/MOV, Matroska and AVI are accepted. A file is rejected, with the advice to use PyAV, where decord
counts other frames or other times than the container has, chooses another video stream, ignores an alpha channel, or
replaces a frame that it cannot decode by a neighbor.
Errors that its decoder conceals within a frame are not counted, as decord does not report them.

Frames are selected and scaled as with PyAV. Cost: decoding plus a conversion to RGB at full size.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
from numpy.typing import NDArray

from pipeline.video.backends.container import open_container
from pipeline.video.backends.pyav import PyAVSource
from pipeline.video.backends.source import IsShown
from pipeline.video.backends.stream_choice import video_stream
from pipeline.video.geometry import Crop, Orientation, center_crop, coded_crop
from pipeline.video.scale import Scaler, bt601_to_bt709
from pipeline.video.time_grid import TimedFrame
from schemas.errors import InputError, Reason

_ROTATES_ITSELF = "mov,mp4,m4a,3gp,3g2,mj2"
_CONTAINERS = {_ROTATES_ITSELF, "matroska,webm", "avi"}
_TIME_TOLERANCE_S = 0.002
_NO_FAULT = 1e-9  # the share of frames that decord may replace by their neighbors; 0 means any
_ERRORS = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, AssertionError, StopIteration)


class DecordSource:
    """One open video; see `pipeline.video.backends.source.FrameSource`. The content of a frame is its number."""

    allows_jumps = False
    corrupt_frames = decode_errors = 0
    detail = ""

    def __init__(self, path: Path, *, size: int, max_pixels: int) -> None:
        self.path, self.size = path, size
        with PyAVSource(path, size=size, max_pixels=max_pixels) as reference:
            self.info, self.tick_s = reference.info, reference.tick_s
            self.default_duration_s = reference.default_duration_s
            self._sar, self._matrix_is_guessed = reference.sar, reference.guesses_bt709
            has_alpha, other_sizes = reference.has_alpha, reference.other_sizes
        self.interlaced = self.info.interlaced
        if self.info.container not in _CONTAINERS:
            raise self._rejection(f"decord does not read {self.info.container} correctly")
        if self.info.flipped:
            raise self._rejection("decord ignores that the video is mirrored")
        if has_alpha:
            raise self._rejection("decord ignores the alpha channel")
        if self._has_size_of_the_video(other_sizes):
            raise self._rejection("it has several video streams of one size, of which decord may choose another")
        self._times = self._packet_times(max_pixels)
        self._reader = self._open()
        self._next = 0
        self._pixels = np.zeros((0, 0, 3), np.uint8)  # of the frame before `_next`
        self._scaler = Scaler()

    def __enter__(self) -> DecordSource:
        return self

    def __exit__(self, *exception: object) -> None:
        del self._reader  # decord closes its file and threads with the object

    def timed_frames(self, is_shown: IsShown | None = None) -> Iterator[TimedFrame[int]]:
        """Yield the number of each frame and its time, without decoding."""
        for number, (time_s, duration_s) in enumerate(self._times):
            yield TimedFrame(time_s, duration_s, number)

    def render(self, number: int, crop: Crop | None = None) -> NDArray[np.uint8]:
        """Return the center crop of frame `number`, or of its part `crop`: uint8 RGB [size, size, 3].

        Calls of this method and of `thumbnail` have ascending frame numbers.
        """
        pixels = self._decode(number)
        turns, sar = -self.info.rotation // 90 % 4, self._sar
        if self.info.container == _ROTATES_ITSELF:
            turns, sar = 0, (1 / sar if turns % 2 else sar)
        height, width = pixels.shape[:2]
        if crop is not None:
            displayed = self.info.width, self.info.height
            left, top, width, height = coded_crop(crop, displayed, (width, height), Orientation(turns))
            pixels = np.ascontiguousarray(pixels[top : top + height, left : left + width])
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        placed = center_crop(width, height, sar, self.size)
        rgb = self._scaler.center_crop(frame, placed, Orientation(turns), self.size)
        return bt601_to_bt709(rgb) if self._matrix_is_guessed else rgb

    def thumbnail(self, number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return frame `number` scaled to (width, height): uint8 RGB [height, width, 3]."""
        return self._scaler.thumbnail(av.VideoFrame.from_ndarray(self._decode(number), format="rgb24"), size)

    def _decode(self, number: int) -> NDArray[np.uint8]:
        try:
            if number > self._next:
                self._reader.skip_frames(number - self._next)
            if number >= self._next:
                self._pixels, self._next = self._reader.next().asnumpy(), number + 1
        except _ERRORS as e:
            raise self._rejection(f"decord could not decode frame {number} of {len(self._times)}") from e
        height, width = self._pixels.shape[:2]
        if not self._has_size_of_the_video([(width, height)]):
            raise self._rejection("decord chooses another video stream")
        return self._pixels

    def _has_size_of_the_video(self, sizes: list[tuple[int, int]]) -> bool:
        """Whether any of the sizes (width, height) is that of the video, perhaps rotated."""
        own = sorted((self.info.coded_width, self.info.coded_height))
        return any(sorted(size) == own for size in sizes)

    def _open(self) -> Any:
        try:
            reader = decord.VideoReader(str(self.path.absolute()), num_threads=1, fault_tol=_NO_FAULT)
            times = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
        except _ERRORS as e:
            raise self._rejection(f"decord cannot open it (codec {self.info.codec})") from e
        if len(times) != len(self._times):
            raise self._rejection(f"decord counts {len(times)} frames, the container {len(self._times)}")
        self._require_same_times(times)
        return reader

    def _require_same_times(self, times: NDArray[np.float64]) -> None:
        expected = np.asarray([time_s for time_s, _ in self._times])
        difference_s = np.abs((times - times[0]) - (expected - expected[0])).max()
        tolerance_s = _TIME_TOLERANCE_S + 1e-6 * abs(expected).max()  # decord's times are float32
        if not difference_s <= tolerance_s or abs(expected[0] - self.info.start_s) > _TIME_TOLERANCE_S:
            raise self._rejection("decord's timestamps differ from the container's")

    def _packet_times(self, max_pixels: int) -> list[tuple[float, float]]:
        with open_container(self.path, max_pixels=max_pixels) as container:
            stream = video_stream(container, self.path, max_pixels=max_pixels)
            tick = stream.time_base or Fraction(1, av.time_base)
            packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
            if any(p.pts is None for p in packets):
                raise self._rejection("its packets have no timestamps, and decord's are not reliable")
            return sorted((float((p.pts or 0) * tick), float((p.duration or 0) * tick)) for p in packets)

    def _rejection(self, problem: str) -> InputError:
        return InputError(Reason.UNREADABLE, f"{self.path}: {problem}; use backend=pyav")
