"""Opens media files with FFmpeg, distinguishes pictures from videos, and reads what a container declares.

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
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from schemas.errors import InputError, Reason

# Formats that contain their media. Audio-only formats are included so that they are rejected as NO_VIDEO.
_FORMATS = (
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,flv,live_flv,ogg,asf,mxf,nut,rm,wtv,dv,"
    "yuv4mpegpipe,mjpeg,gif,apng,mp3,wav,flac,aac,ac3,eac3,aiff,amr,caf,w64,dts,truehd"
)
_TEXT_SUBTITLES = {"ass", "ssa", "subrip", "srt", "mov_text", "webvtt", "text"}
_DURATION_FROM_ZERO = {"matroska,webm", "flv"}  # their duration counts from time 0, not from the first frame
_DEFAULT_FRAME_RATE = Fraction(25)


def is_picture(path: Path, head: bytes) -> bool:
    """Whether a file that begins with `head` (32 bytes) is a picture. Raises InputError for HEIC."""
    if head[:3] == b"\xff\xd8\xff":
        return path.suffix.lower() not in {".mjpg", ".mjpeg"}  # a sequence of JPEGs is a video
    if head[4:8] == b"ftyp":
        if {head[at : at + 4] for at in range(8, 32, 4)} & {b"avif", b"avis"}:
            return True
        if head[8:12] in {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
            raise InputError(Reason.UNREADABLE, f"{path}: HEIC is not supported; convert the picture to JPEG or PNG")
        return False
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*"))


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


def video_stream(container: av.container.InputContainer, path: Path, *, max_pixels: int) -> VideoStream:
    """Return the default video stream, otherwise the first, ignoring cover art. Other streams are not demuxed.

    Raises InputError NO_VIDEO, TOO_LARGE, or UNREADABLE where FFmpeg has no decoder.
    """
    cover_art = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & cover_art]
    if not streams:
        types = ", ".join(sorted({stream.type for stream in container.streams})) or "no streams"
        raise InputError(Reason.NO_VIDEO, f"{path}: no video stream; the file contains {types}")
    stream = next((s for s in streams if s.disposition & Disposition.default), streams[0])
    context = stream.codec_context
    if context is None:
        raise InputError(Reason.UNREADABLE, f"{path}: FFmpeg has no decoder for the video stream")
    if context.width * context.height > max_pixels:
        raise InputError(
            Reason.TOO_LARGE,
            f"{path}: {context.width}x{context.height} pixels, the limit is {max_pixels} in total (max_pixels)",
        )
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return stream


def is_text(context: av.CodecContext | None) -> bool:
    """Whether a subtitle stream holds text, not bitmaps."""
    return context is not None and context.name in _TEXT_SUBTITLES


def frame_rate(stream: VideoStream) -> Fraction:
    """Return the average frames per second; 25 where the file does not declare it."""
    return stream.average_rate or stream.guessed_rate or _DEFAULT_FRAME_RATE


def declared_duration_s(container: av.container.InputContainer, stream: VideoStream, path: Path) -> float:
    """Return the seconds of video that the container declares.

    In order of preference: the stream's own duration, its DURATION tag (Matroska), the file's duration (which may be
    that of a longer audio stream), and otherwise the sum over all packets, read but not decoded. FFmpeg reduces the
    duration of an AVI to what the file size can hold, so only part of the loss shows in a truncated AVI.
    """
    tick_s = stream.time_base or Fraction(1, av.time_base)
    if stream.duration:
        return float(stream.duration * tick_s)
    declared = _parse_clock_s(stream.metadata.get("DURATION", "")) or (container.duration or 0) / av.time_base
    start = float((stream.start_time or 0) * tick_s)
    if container.format.name in _DURATION_FROM_ZERO and declared > start:
        declared -= start
    return declared if declared > 0 else _scan_duration_s(path, stream)


def _scan_duration_s(path: Path, stream: VideoStream) -> float:
    # For browser recordings and bare streams. Nothing is decoded, so the limit on pixels has no effect.
    with open_container(path, max_pixels=1) as container:
        packets = [(p.pts, p.duration or 0) for p in container.demux(container.streams[stream.index]) if p.size]
    spans = [(pts, pts + duration) for pts, duration in packets if pts is not None]
    if not spans:
        return float(len(packets) / frame_rate(stream))
    ticks = max(end for _, end in spans) - min(start for start, _ in spans)
    return float(ticks * (stream.time_base or Fraction(1, av.time_base)))


def _parse_clock_s(text: str) -> float:
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0
