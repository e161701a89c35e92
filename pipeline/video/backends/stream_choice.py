"""Chooses the video stream of a file by the rule of the `ffmpeg` command, and opens its decoder.

The rule (FFmpeg documentation, "Automatic stream selection"; fftools/ffmpeg_mux_init.c): a stream that has packets
comes before one that has none; among those the one with the most pixels, where the default disposition counts as
5,000,000 pixels; the first of equals. Cover art and thumbnail tracks are never the video, and a stream without a
decoder only if no other is left.

VP8 and VP9 store alpha as a second picture next to each packet in Matroska. FFmpeg's own decoders ignore it, so such
streams are decoded with libvpx, which gives the same colors.
"""

from __future__ import annotations

from pathlib import Path

import av
import av.container
from av.codec.context import ThreadType
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from pipeline.video.backends.container import open_container
from schemas.errors import InputError, Reason

_NOT_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails
_DEFAULT_BONUS_PIXELS = 5_000_000
_PROBED_BYTES, _PROBED_S = 5_000_000, 5.0  # what FFmpeg reads of a file at most before it chooses
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def candidate_streams(container: av.container.InputContainer) -> list[VideoStream]:
    """Return the streams that can be the video: all but cover art and thumbnails."""
    return [stream for stream in container.streams.video if not stream.disposition & _NOT_VIDEO]


def video_stream(container: av.container.InputContainer, path: Path, *, max_pixels: int) -> VideoStream:
    """Return the video stream that `ffmpeg` chooses. Other streams are not demuxed.

    Raises InputError NO_VIDEO, TOO_LARGE, or UNREADABLE where FFmpeg has no decoder.
    """
    candidates = candidate_streams(container)
    if not candidates:
        types = ", ".join(sorted({stream.type for stream in container.streams})) or "no streams"
        raise InputError(Reason.NO_VIDEO, f"{path}: no video stream; the file contains {types}")
    stream = candidates[0] if len(candidates) == 1 else _best(candidates, path)
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


def _best(candidates: list[VideoStream], path: Path) -> VideoStream:
    with_packets = _streams_with_packets(path)

    def score(stream: VideoStream) -> tuple[bool, bool, int]:
        context = stream.codec_context
        pixels = 0 if context is None else context.width * context.height
        bonus = _DEFAULT_BONUS_PIXELS if stream.disposition & Disposition.default else 0
        return context is not None, stream.index in with_packets, pixels + bonus

    return max(candidates, key=score)  # the first of equals


def _streams_with_packets(path: Path) -> set[int]:
    # PyAV does not tell which streams FFmpeg found packets of, so the file is opened again; nothing is decoded.
    found: set[int] = set()
    size_bytes = 0
    with open_container(path, max_pixels=1) as container:
        indices = {stream.index for stream in candidate_streams(container)}
        first_s: float | None = None
        try:
            for packet in container.demux():
                size_bytes += packet.size
                if packet.size:
                    found.add(packet.stream_index)
                time_s = None if packet.dts is None else float(packet.dts * packet.time_base)
                first_s = time_s if first_s is None else first_s
                is_late = time_s is not None and first_s is not None and time_s - first_s > _PROBED_S
                if found >= indices or is_late or size_bytes > _PROBED_BYTES:
                    break
        except av.FFmpegError:
            pass  # damage is reported by the reader of the stream
    return found


def has_separate_alpha(stream: VideoStream) -> bool:
    """Whether the file stores an alpha channel next to the packets of the stream."""
    return stream.metadata.get("alpha_mode") == "1"


def open_decoder(stream: VideoStream, *, max_pixels: int) -> tuple[av.VideoCodecContext, str]:
    """Return a single-threaded decoder of the stream that keeps its alpha channel, and a note on what it cannot keep.

    `max_pixels` also limits frames after a change of size in mid-stream.
    """
    context, note = stream.codec_context, ""
    if has_separate_alpha(stream):
        name = context.codec.canonical_name
        if name in _ALPHA_DECODERS:
            context = _with_alpha(_ALPHA_DECODERS[name], context)
        else:
            note = f"the alpha channel of {name} cannot be decoded; the picture is taken as opaque"
    context.thread_type, context.thread_count = ThreadType.NONE, 1
    context.options = {"max_pixels": str(max_pixels)}
    return context, note


def _with_alpha(decoder: str, native: av.VideoCodecContext) -> av.VideoCodecContext:
    context = av.CodecContext.create(decoder, "r")
    assert isinstance(context, av.VideoCodecContext)
    context.extradata = native.extradata
    # What the container declares; the bit stream of VP8 does not have it.
    context.colorspace, context.color_range = native.colorspace, native.color_range
    context.color_primaries, context.color_trc = native.color_primaries, native.color_trc
    return context
