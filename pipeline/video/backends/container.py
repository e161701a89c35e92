"""Opens media files with FFmpeg.

Files are untrusted. Only local files are opened, and formats that reference other files (HLS, DASH, concat scripts,
image sequences) or devices are not allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import av.container
from av.video.stream import VideoStream

from schemas.errors import InputError, Reason

# Formats that contain their media. Audio-only formats are included so that they are rejected as NO_VIDEO.
_FORMATS = (
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,flv,live_flv,ogg,asf,mxf,nut,rm,wtv,dv,"
    "yuv4mpegpipe,mjpeg,gif,apng,mp3,wav,flac,aac,ac3,eac3,aiff,amr,caf,w64,dts,truehd"
)
BARE_STREAMS = {"mpegvideo", "m4v", "h264", "hevc", "vvc", "av1", "obu", "mjpeg", "dv"}
"""Formats that are the packets of one codec, without a container."""
ALLOWS_JUMPS = {"mpegts", "mpeg"}
"""Formats that allow discontinuities in their timestamps."""
_TEXT_SUBTITLES = {"ass", "ssa", "subrip", "srt", "mov_text", "webvtt", "text"}
_DEFAULT_FRAME_RATE = Fraction(25)


@contextmanager
def open_container(path: Path, *, max_pixels: int) -> Iterator[av.container.InputContainer]:
    """Open a local media file. Raises InputError UNREADABLE where it has no allowed format."""
    try:
        container = av.open(
            f"file:{path.absolute()}",  # a colon in the name must not select a protocol
            mode="r",
            options={"max_pixels": str(max_pixels)},
            container_options={"protocol_whitelist": "file", "format_whitelist": _FORMATS},
            metadata_errors="replace",
        )
    except av.FFmpegError as e:
        message = "not a supported video or picture, or truncated before its index"
        raise InputError(Reason.UNREADABLE, f"{path}: {message} ({e.strerror or e})") from e
    with container:
        yield container


def is_text(context: av.CodecContext | None) -> bool:
    """Whether a subtitle stream holds text, not bitmaps."""
    return context is not None and context.name in _TEXT_SUBTITLES


def frame_rate(container: av.container.InputContainer, stream: VideoStream) -> Fraction:
    """Return the average frames per second; 25 where neither the file nor the codec declares it."""
    average, guessed = stream.average_rate, stream.guessed_rate
    if (
        container.format.name in BARE_STREAMS
    ):  # their average is FFmpeg's default, also where the codec declares another
        average, guessed = guessed, average
    return average or guessed or _DEFAULT_FRAME_RATE
