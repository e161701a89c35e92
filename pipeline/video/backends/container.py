"""Telling pictures from videos, opening videos with FFmpeg, and what a container says about the video in it.

A file is opened as what it is, never as what it points to: only local files are read, and formats that are lists
of other files (HLS, DASH, concat scripts, image sequences) or devices are not among those that are allowed.
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

# Formats that hold their media themselves. Audio-only ones are here so that they are refused for the right reason.
_FORMATS = (
    "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,flv,live_flv,ogg,asf,mxf,nut,rm,wtv,dv,"
    "yuv4mpegpipe,mjpeg,gif,apng,mp3,wav,flac,aac,ac3,eac3,aiff,amr,caf,w64,dts,truehd"
)
_TEXT_SUBTITLES = {"ass", "ssa", "subrip", "srt", "mov_text", "webvtt", "text"}
_DURATION_FROM_ZERO = {"matroska,webm", "flv"}  # their duration counts from time 0, not from the first frame


def is_picture(path: Path, head: bytes) -> bool:
    """Whether a file that begins with `head` (32 bytes) is a picture. Raises InputError for HEIC."""
    if head[:3] == b"\xff\xd8\xff":
        return path.suffix.lower() not in {".mjpg", ".mjpeg"}  # JPEGs one after another are a video
    if head[4:8] == b"ftyp":
        if {head[at : at + 4] for at in range(8, 32, 4)} & {b"avif", b"avis"}:
            return True
        if head[8:12] in {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
            raise InputError(Reason.UNREADABLE, f"{path}: HEIC pictures are not read; make it a JPEG or PNG first")
        return False
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*"))


@contextmanager
def open_container(path: Path, *, max_pixels: int) -> Iterator[av.container.InputContainer]:
    """Open a local media file for reading. Raises InputError UNREADABLE where no allowed format fits."""
    try:
        container = av.open(
            f"file:{path.absolute()}",  # a name with a colon in it must not become a protocol
            mode="r",
            options={"max_pixels": str(max_pixels)},
            container_options={"protocol_whitelist": "file", "format_whitelist": _FORMATS},
            metadata_errors="replace",
        )
    except av.FFmpegError as e:
        message = "not a video or picture that can be read, or cut short before its index"
        raise InputError(Reason.UNREADABLE, f"{path}: {message} ({e.strerror or e})") from e
    with container:
        yield container


def video_stream(container: av.container.InputContainer, path: Path, *, max_pixels: int) -> VideoStream:
    """Return the default video stream, else the first; cover art is none. The other streams are not read.

    Raises InputError NO_VIDEO, TOO_LARGE, or UNREADABLE where FFmpeg knows no decoder.
    """
    art = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & art]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise InputError(Reason.NO_VIDEO, f"{path}: no video stream in it, only {kinds}")
    stream = next((s for s in streams if s.disposition & Disposition.default), streams[0])
    context = stream.codec_context
    if context is None:
        raise InputError(Reason.UNREADABLE, f"{path}: FFmpeg has no decoder for its video stream")
    if context.width * context.height > max_pixels:
        pixels = f"{context.width}x{context.height} pixels; the limit is {max_pixels} in all (max_pixels)"
        raise InputError(Reason.TOO_LARGE, f"{path}: {pixels}")
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return stream


def is_text(context: av.CodecContext | None) -> bool:
    """Whether a subtitle stream holds text (not pictures of text)."""
    return context is not None and context.name in _TEXT_SUBTITLES


def frame_rate(stream: VideoStream) -> Fraction:
    """Average frames a second; 25 where the file does not say."""
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def promised_s(container: av.container.InputContainer, stream: VideoStream, path: Path) -> float:
    """Seconds of video that the container promises.

    In order: the stream's own duration, its DURATION tag (Matroska), the file's duration (which may be that of a
    longer sound track), and where nothing is said the sum over the packets, read but not decoded. FFmpeg itself
    lowers what an AVI promises to what its size can hold, so of an AVI cut short only part of the loss shows.
    """
    tick_s = stream.time_base or Fraction(1, av.time_base)
    if stream.duration:
        return float(stream.duration * tick_s)
    promised = _clock_text_s(stream.metadata.get("DURATION", "")) or (container.duration or 0) / av.time_base
    start = float((stream.start_time or 0) * tick_s)
    if container.format.name in _DURATION_FROM_ZERO and promised > start:
        promised -= start
    return promised if promised > 0 else _scanned_s(path, stream)


def _scanned_s(path: Path, stream: VideoStream) -> float:
    # A recording of a browser, or a bare stream. No pixel is decoded, so no limit on them is needed.
    with open_container(path, max_pixels=1) as container:
        packets = [(p.pts, p.duration or 0) for p in container.demux(container.streams[stream.index]) if p.size]
    spans = [(pts, pts + duration) for pts, duration in packets if pts is not None]
    if not spans:
        return float(len(packets) / frame_rate(stream))
    ticks = max(end for _, end in spans) - min(start for start, _ in spans)
    return float(ticks * (stream.time_base or Fraction(1, av.time_base)))


def _clock_text_s(text: str) -> float:
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0
