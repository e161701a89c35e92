"""Decodes pictures with Pillow: PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, ICO, recognized by their first bytes.

A still picture is a video of one frame at time 0, in the orientation of its EXIF tag. A GIF, WebP, PNG or AVIF of more
than one frame is a video; a frame with a duration of 10 ms or less is shown for 100 ms, as in browsers, and the default
image of an animated PNG is not shown. Of a file with several pictures (pages of a TIFF, views of an MPO) the first is
used, of an icon the largest. Pixels become RGB in pipeline/video/backends/picture_pixels.py. HEIC is rejected: FFmpeg
would return one tile of the picture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.video.backends.picture_pixels import bit_depth, rgb_pixels
from pipeline.video.backends.source import IsShown
from pipeline.video.geometry import EXIF_ORIENTATIONS, Crop, Orientation, center_crop, coded_crop, display_size
from pipeline.video.scale import Scaler
from pipeline.video.time_grid import TimedFrame
from pipeline.video.types import VideoInfo
from schemas.errors import InputError, Reason

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "ICO")
_ANIMATED = {"GIF", "WEBP", "PNG", "AVIF"}
_EXIF_ORIENTATION = 274
_MIN_DURATION_S, _DEFAULT_DURATION_S = 0.011, 0.1
_MAX_ASPECT_RATIO = 100
_APPLIES_ORIENTATION = "TIFF"  # Pillow rotates these pictures itself
# What Pillow raises on a damaged file.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


class PictureSource:
    """One open picture or animation; see `pipeline.video.backends.source.AnalysisSource`."""

    tick_s = 0.001
    default_duration_s = _DEFAULT_DURATION_S
    allows_jumps = False
    interlaced = False
    corrupt_frames = 0

    def __init__(self, path: Path, *, size: int, max_pixels: int) -> None:
        self.path, self.size = path, size
        self.decode_errors = 0
        self.detail = ""
        self._scaler = Scaler()
        Image.MAX_IMAGE_PIXELS = None  # replaced by `max_pixels` below, before anything is unpacked
        try:
            self._image = Image.open(path, formats=_FORMATS)
        except (UnidentifiedImageError, *_DAMAGE) as e:
            raise InputError(Reason.UNREADABLE, f"{path}: starts like a picture but cannot be read ({e})") from e
        width, height = self._image.size
        if width * height > max_pixels:
            self._image.close()
            raise InputError(
                Reason.TOO_LARGE, f"{path}: {width}x{height} pixels, the limit is {max_pixels} in total (max_pixels)"
            )
        self._first, self._frames = 0, 1
        try:
            pictures = getattr(self._image, "n_frames", 1)
            if self._image.format == "WEBP" and pictures > 1:
                _keep_alpha(self._image)
            if self._image.format in _ANIMATED:
                self._first = int(getattr(self._image, "default_image", False))
                self._frames = pictures - self._first
            elif pictures > 1:
                self.detail = f"the first of {pictures} pictures in the file"
            self.info = self._describe()
        except _DAMAGE as e:
            self._image.close()
            raise InputError(Reason.UNREADABLE, f"{path}: a damaged picture ({e})") from e

    def __enter__(self) -> PictureSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self._image.close()

    def timed_frames(self, is_shown: IsShown | None = None) -> Iterator[TimedFrame[NDArray[np.uint8]]]:
        """Decode all frames, in order. The content is uint8 RGB [height, width, 3], not rotated."""
        time_s = 0.0
        for number in range(self._frames):
            try:
                self._image.seek(self._first + number)
                pixels = rgb_pixels(self._image)
            except _DAMAGE as e:
                self.decode_errors += 1
                self.detail = f"picture {number + 1} of {self._frames}: {e}"
                if number == 0:
                    raise InputError(Reason.UNREADABLE, f"{self.path}: a damaged picture ({e})") from e
                return
            duration_s = self._duration_s()
            yield TimedFrame(time_s, duration_s, pixels)
            time_s += duration_s

    def render(self, pixels: NDArray[np.uint8], crop: Crop | None = None) -> NDArray[np.uint8]:
        """Return the center crop of a frame, or of the part `crop` (displayed pixels): uint8 RGB [size, size, 3]."""
        height, width = pixels.shape[:2]
        if crop is not None:
            displayed = self.info.width, self.info.height
            left, top, width, height = coded_crop(crop, displayed, (width, height), self._orientation())
            pixels = np.ascontiguousarray(pixels[top : top + height, left : left + width])
        if not 1 / _MAX_ASPECT_RATIO <= width / height <= _MAX_ASPECT_RATIO:
            raise InputError(
                Reason.UNREADABLE,
                f"{self.path}: a picture of {width}x{height} is too narrow for a center crop; the limit is "
                f"{_MAX_ASPECT_RATIO} to 1",
            )
        placed = center_crop(width, height, Fraction(1), self.size)
        frame, oriented = self.oriented_frame(pixels)
        return self._scaler.center_crop(frame, placed, oriented, self.size)

    def thumbnail(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return a whole frame scaled to (width, height), not rotated: uint8 RGB [height, width, 3]."""
        return self._scaler.thumbnail(av.VideoFrame.from_ndarray(pixels, format="rgb24"), size)

    def oriented_frame(self, pixels: NDArray[np.uint8]) -> tuple[av.VideoFrame, Orientation]:
        """Return a frame as an FFmpeg frame, and the orientation in which it is displayed."""
        return av.VideoFrame.from_ndarray(pixels, format="rgb24"), self._orientation()

    def _duration_s(self) -> float:
        if self._frames == 1:
            return 0.0
        duration_s = float(self._image.info.get("duration") or 0) / 1000
        return duration_s if duration_s >= _MIN_DURATION_S else _DEFAULT_DURATION_S

    def _total_s(self) -> float:
        if self._frames == 1:
            return 0.0
        total = 0.0
        for number in range(self._first, self._first + self._frames):
            self._image.seek(number)
            self._image.load()  # some formats give the duration only then
            total += self._duration_s()
        self._image.seek(0)
        return total

    def _orientation(self) -> Orientation:
        if self._image.format == _APPLIES_ORIENTATION:
            return Orientation()
        tag = self._image.getexif().get(_EXIF_ORIENTATION)
        return EXIF_ORIENTATIONS.get(tag if isinstance(tag, int) else 1, Orientation())

    def _describe(self) -> VideoInfo:
        oriented = self._orientation()
        coded_width, coded_height = self._image.size
        width, height = display_size(coded_width, coded_height, Fraction(1), oriented)
        duration_s = self._total_s()
        return VideoInfo(
            container=str(self._image.format).lower(),
            codec=str(self._image.format).lower(),
            pix_fmt=self._image.mode,
            width=width,
            height=height,
            coded_width=coded_width,
            coded_height=coded_height,
            rotation=-90 * oriented.turns % 360,
            flipped=oriented.flip,
            sar=1.0,
            frame_rate=self._frames / duration_s if duration_s else 0.0,
            duration_s=duration_s,
            start_s=0.0,
            bit_depth=bit_depth(self._image),
            full_range=True,
            hdr=False,
            interlaced=False,
            has_audio=False,
            subtitle_streams=0,
            is_picture=self._frames == 1,
        )


def _keep_alpha(animation: Any) -> None:
    # The alpha flag of a WebP file only tells whether its frames have alpha. Where no frame has covered the canvas yet,
    # it is transparent as well, but Pillow then drops the alpha channel that libwebp returns.
    if animation.rawmode == "RGBX":
        animation.rawmode = animation._mode = "RGBA"
