"""Subtitles that travel inside a video file, as plain text with times.

FFmpeg brings every text format (mov_text, SubRip, WebVTT, ASS) to the lines of an ASS script; what those say about
looks is taken off. Subtitles that are pictures (DVD, Blu-ray, DVB) are passed over. Reads the whole file, decodes
nothing but text.
"""

from __future__ import annotations

import re
from pathlib import Path

import av
from av.stream import Discard, Disposition
from av.subtitles.stream import SubtitleStream

from pipeline.video.backends.container import is_text, open_container

_FIELDS_BEFORE_TEXT = 8  # ReadOrder, Layer, Style, Name, MarginL, MarginR, MarginV, Effect
_OVERRIDES = re.compile(r"\{[^}]*\}")
_TAGS = re.compile(r"</?(?:i|b|u|s|c|v|font|ruby|rt|lang)\b[^>]*>", re.IGNORECASE)
_DRAWING = re.compile(r"\\p[1-9]")
_UNTIL_NEXT_S = 5.0  # the longest a line without an end stays


def read_subtitles(path: Path, *, video_start_s: float, max_pixels: int) -> list[tuple[float, float, str]]:
    """Return (start, end, text) of one text stream, seconds from the video's first frame, in order of time.

    The stream marked as default is read, else the first that is not only for forced lines, else the first. Lines
    that end before the video begins are left out. No text stream: an empty list.
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
    return [line for line in _with_ends(lines) if line[1] > max(0.0, line[0])]


def _rank(stream: SubtitleStream) -> tuple[bool, bool, int]:
    default = bool(stream.disposition & Disposition.default)
    return not default, bool(stream.disposition & Disposition.forced), stream.index


def _lines(packet: av.Packet[SubtitleStream], video_start_s: float) -> list[tuple[float, float, str]]:
    if not packet.size or packet.pts is None:
        return []
    try:
        rects = packet.decode()
    except av.FFmpegError:
        return []  # one line that makes no sense does not cost the others
    start = float(packet.pts * packet.time_base) - video_start_s
    end = start + float((packet.duration or 0) * packet.time_base)
    texts = [plain_text(rect.ass.decode("utf-8", "replace")) for rect in rects if hasattr(rect, "ass")]
    return [(start, end, text) for text in texts if text]


def plain_text(event: str) -> str:
    """The words of one ASS event (as FFmpeg gives it, without times); empty for drawings."""
    text = event.split(",", _FIELDS_BEFORE_TEXT)[-1]
    if any(_DRAWING.search(override) for override in _OVERRIDES.findall(text)):
        return ""
    text = _TAGS.sub("", _OVERRIDES.sub("", text))
    text = text.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ").replace("\r", "")
    return "\n".join(line.strip() for line in text.split("\n")).strip()


def _with_ends(lines: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    closed = []
    for number, (start, end, text) in enumerate(lines):
        if end <= start:
            following = lines[number + 1][0] if number + 1 < len(lines) else start + _UNTIL_NEXT_S
            end = min(following, start + _UNTIL_NEXT_S)
        closed.append((max(0.0, start), end, text))
    return closed
