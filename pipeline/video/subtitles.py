"""Reads text subtitle streams of video files as events with times.

FFmpeg converts every text format (mov_text, SubRip, WebVTT, ASS) to events of an ASS script; their formatting remains.
Bitmap subtitles (DVD, Blu-ray, DVB) are ignored. Reads the whole file, decodes only text.
"""

from __future__ import annotations

from pathlib import Path

import av
from av.stream import Discard, Disposition
from av.subtitles.stream import SubtitleStream

from pipeline.video.backends.container import is_text, open_container
from pipeline.video.types import SubtitleLine

_FIELDS_BEFORE_TEXT = 8  # ReadOrder, Layer, Style, Name, MarginL, MarginR, MarginV, Effect
_MAX_OPEN_S = 5.0  # duration of a line without an end, at most


def read_subtitles(path: Path, *, video_start_s: float, max_pixels: int) -> list[SubtitleLine]:
    """Return the lines of one text stream, in order of time; an empty list without a text stream.

    The stream is the default one, otherwise the first that is not forced, otherwise the first. Times are negative
    before the first frame, which is at `video_start_s` on the file's clock.
    """
    with open_container(path, max_pixels=max_pixels) as container:
        streams = [stream for stream in container.streams.subtitles if is_text(stream.codec_context)]
        if not streams:
            return []
        chosen = min(streams, key=_rank)
        for stream in container.streams:
            if stream.index != chosen.index:
                stream.discard = Discard.all
        lines = [line for packet in container.demux(chosen) for line in _lines(packet, video_start_s)]
    lines.sort(key=lambda line: line[:2])
    return _with_ends(lines)


def _rank(stream: SubtitleStream) -> tuple[bool, bool, int]:
    default = bool(stream.disposition & Disposition.default)
    return not default, bool(stream.disposition & Disposition.forced), stream.index


def _lines(packet: av.Packet[SubtitleStream], video_start_s: float) -> list[SubtitleLine]:
    if not packet.size or packet.pts is None:
        return []
    try:
        rects = packet.decode()
    except av.FFmpegError:
        return []  # an invalid event does not affect the others
    start = float(packet.pts * packet.time_base) - video_start_s
    end = start + float((packet.duration or 0) * packet.time_base)
    texts = [event_text(rect.ass.decode("utf-8", "replace")) for rect in rects if hasattr(rect, "ass")]
    return [(start, end, text) for text in texts if text.strip()]


def event_text(event: str) -> str:
    """Return the text of an ASS event in FFmpeg's form (without times), the last of its fields."""
    return event.split(",", _FIELDS_BEFORE_TEXT)[-1]


def _with_ends(lines: list[SubtitleLine]) -> list[SubtitleLine]:
    closed = []
    for number, (start, end, text) in enumerate(lines):
        if end <= start:
            following = lines[number + 1][0] if number + 1 < len(lines) else start + _MAX_OPEN_S
            end = min(following, start + _MAX_OPEN_S)
        closed.append((start, end, text))
    return closed
