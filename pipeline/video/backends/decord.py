"""Videos through decord: the second backend, behind the same door, for its pixels only.

decord (0.6, FFmpeg 4, unmaintained) is held to what it does right. Its time stamps are float32, and wrong in MPEG
streams, where it also drops the first frames; it turns pictures in MP4 and not in Matroska, knows neither pixel
shape nor mirroring, takes BT.601 for untagged HD, cannot open AV1, and may hang (the time limit ends that). So
times, pixel shape and turning come from PyAV, which reads the packets through without decoding them; only MP4/MOV,
Matroska and AVI are accepted; and a file is refused, with the advice to use PyAV, where decord counts other frames
or other times than the container has, or puts a neighbor in the place of a frame it cannot decode. Damage
that its decoder paints over within a frame is not counted, as decord does not tell it.

Frames are chosen and scaled as for PyAV. Cost: decoding plus a conversion to RGB at full size.
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

from pipeline.video.backends.container import open_container, video_stream
from pipeline.video.backends.pyav import PyAVSource
from pipeline.video.scale import Scaler, bt601_to_bt709
from pipeline.video.time_grid import Crop, Orientation, Timed, coded_crop, geometry
from schemas.errors import InputError, Reason

_TURNS_ITSELF = "mov,mp4,m4a,3gp,3g2,mj2"
_CONTAINERS = {_TURNS_ITSELF, "matroska,webm", "avi"}
_TIMES_AGREE_S = 0.002
_NO_FAULT = 1e-9  # the share of frames that decord may replace by their neighbors; it takes 0 for "any"
_ERRORS = (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError, AssertionError, StopIteration)


class DecordSource:
    """One open video, a context manager; `timed_frames` gives frame numbers, `render` fetches their pixels."""

    clock_may_jump = False
    corrupt_frames = decode_errors = 0
    detail = ""

    def __init__(self, path: Path, *, size: int, max_pixels: int) -> None:
        self.path, self.size = path, size
        with PyAVSource(path, size=size, max_pixels=max_pixels) as look:
            self.info, self.tick_s, self.typical_s = look.info, look.tick_s, look.typical_s
            self._sar, self._matrix_is_guessed = look.sar, look.guesses_bt709
        self.interlaced = self.info.interlaced
        if self.info.container not in _CONTAINERS:
            raise self._refusal(f"decord does not read {self.info.container} rightly")
        if self.info.flipped:
            raise self._refusal("decord does not see that its pictures are to be mirrored")
        self._times = self._packet_times(max_pixels)
        self._reader = self._open()
        self._next = 0
        self._pixels = np.zeros((0, 0, 3), np.uint8)  # of the frame before that
        self._scaler = Scaler()

    def __enter__(self) -> DecordSource:
        return self

    def __exit__(self, *exception: object) -> None:
        del self._reader  # decord frees its file and threads with the object

    def timed_frames(self) -> Iterator[Timed[int]]:
        """Yield the number of each frame and its time, without decoding."""
        for number, (time_s, duration_s) in enumerate(self._times):
            yield Timed(time_s, duration_s, number)

    def render(self, number: int, crop: Crop | None = None) -> NDArray[np.uint8]:
        """Decode frame `number` and make it, or a part of it, the square that is wanted: uint8 [size, size, 3].

        Each call of this and of `rough` is for the same frame as the last one or a later one.
        """
        pixels = self._decoded(number)
        turns, sar = -self.info.rotation // 90 % 4, self._sar
        if self.info.container == _TURNS_ITSELF:
            turns, sar = 0, (1 / sar if turns % 2 else sar)
        height, width = pixels.shape[:2]
        if crop is not None:
            shown = self.info.width, self.info.height
            left, top, width, height = coded_crop(crop, shown, (width, height), Orientation(turns))
            pixels = np.ascontiguousarray(pixels[top : top + height, left : left + width])
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        square = self._scaler.square(frame, geometry(width, height, sar, self.size), Orientation(turns), self.size)
        return bt601_to_bt709(square) if self._matrix_is_guessed else square

    def rough(self, number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Make frame `number` a picture of (width, height): uint8 [height, width, 3]; see Scaler.rough."""
        return self._scaler.rough(av.VideoFrame.from_ndarray(self._decoded(number), format="rgb24"), size)

    def _decoded(self, number: int) -> NDArray[np.uint8]:
        try:
            if number > self._next:
                self._reader.skip_frames(number - self._next)
            if number >= self._next:
                self._pixels, self._next = self._reader.next().asnumpy(), number + 1
        except _ERRORS as e:
            raise self._refusal(f"decord could not decode up to frame {number} of {len(self._times)}") from e
        return self._pixels

    def _open(self) -> Any:
        try:
            reader = decord.VideoReader(str(self.path.absolute()), num_threads=1, fault_tol=_NO_FAULT)
            times = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
        except _ERRORS as e:
            raise self._refusal(f"decord cannot open it (codec {self.info.codec})") from e
        if len(times) != len(self._times):
            raise self._refusal(f"decord counts {len(times)} frames, the container {len(self._times)}")
        own = np.asarray([time_s for time_s, _ in self._times])
        apart_s = np.abs((times - times[0]) - (own - own[0])).max()
        if not apart_s <= _TIMES_AGREE_S + 1e-6 * abs(own).max() or abs(own[0] - self.info.start_s) > _TIMES_AGREE_S:
            raise self._refusal("decord's times are not those of the container")
        return reader

    def _packet_times(self, max_pixels: int) -> list[tuple[float, float]]:
        with open_container(self.path, max_pixels=max_pixels) as container:
            stream = video_stream(container, self.path, max_pixels=max_pixels)
            tick = stream.time_base or Fraction(1, av.time_base)
            packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
            if any(p.pts is None for p in packets):
                raise self._refusal("its packets have no times, and decord's are not reliable")
            return sorted((float((p.pts or 0) * tick), float((p.duration or 0) * tick)) for p in packets)

    def _refusal(self, what: str) -> InputError:
        return InputError(Reason.UNREADABLE, f"{self.path}: {what}; use backend=pyav")
