"""Transcripts: text with times, from a .srt or .vtt file or a subtitle stream.

SubRip has no specification: what players accept is accepted (a point instead of the comma, missing hours, numbers or
blank lines). Of WebVTT (https://www.w3.org/TR/webvtt1/) only text and times are read; identifiers, settings, notes,
styles and regions are ignored. A malformed time makes the file invalid, because it would otherwise be read as speech.
Cost: the whole file in memory, up to a limit.
"""

from __future__ import annotations

import codecs
import html
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigError, InputError, Reason

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_TIME = r"(?:(\d{1,4}):)?(\d{1,3}):(\d{1,2})(?:[.,](\d{1,3}))?"
_TIMING = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_BROKEN_TIMING = re.compile(r"\s*-?\d[^\s>]*\s*-->|\s*\d+:\d+:\d+[.,]\d+\s*->")
_NUMBER = re.compile(r"\s*\d+\s*")

_TAG = re.compile(
    r"</?(?:[biusc]|v|lang|ruby|rt|font|span)(?:[ .\t][^<>]*)?>"  # formatting
    r"|<(?:\d+:)?\d+:\d+\.\d+>"  # karaoke times
    r"|\{\\[^{}]*\}",  # SubStation overrides
    re.IGNORECASE,
)
_BREAK = re.compile(r"<br ?/?>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z][a-z0-9]*);", re.IGNORECASE)
_MAX_ROLLING_GAP_S = 0.05  # between two rolling captions
_MAX_ROLL_LINES = 4  # in one rolling caption


@dataclass(frozen=True)
class Cue:
    """A part of a transcript: `text` is shown from `start_s` to `end_s`, in seconds from the start of the video."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, kw_only=True)
class TranscriptConfig:
    """How transcripts are read."""

    max_bytes: int = 16 << 20
    """Maximum size of a file. Larger files are rejected."""
    encoding: str | None = None
    """Encoding of files that are not UTF-8 and have no byte order mark, for example cp1252. It is never guessed."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be at least 1, got {self.max_bytes}")
        try:
            "a".encode(self.encoding or "utf-8")
        except LookupError as e:
            raise ConfigError(
                f"encoding must be a text encoding known to Python, such as cp1252; got {self.encoding!r}"
            ) from e


def read_transcript(path: Path, config: TranscriptConfig = TranscriptConfig()) -> list[Cue]:
    """Return the cues of a .srt or .vtt file, recognized by its content. See `parse_transcript`."""
    try:
        if (size := path.stat().st_size) > config.max_bytes:
            raise _invalid(f"{size:,} bytes, the limit is {config.max_bytes:,}")
        data = path.read_bytes()
    except OSError as e:
        raise _invalid(f"{path} cannot be read: {e.strerror or e}") from e
    return parse_transcript(data, config)


def parse_transcript(data: bytes, config: TranscriptConfig = TranscriptConfig()) -> list[Cue]:
    """Return the cues in the bytes of a .srt or .vtt file, cleaned and in order of time.

    Tags are removed, entities are decoded, blank and exactly repeated cues are dropped, and an end before its start
    becomes the start; cues can overlap and have no duration. Rolling WebVTT captions (each cue repeats the previous
    line, as speech recognition writes them) are unrolled. Raises InputError (BAD_TRANSCRIPT) for files without cues
    (except WebVTT), binary files and malformed times.
    """
    lines = re.split(r"\r\n|\r|\n", _text(data, config))
    is_vtt = lines[0].startswith("WEBVTT")
    cues = _ordered(_cues(lines, is_vtt=is_vtt))
    if is_vtt:
        return list(_unrolled(cues))
    if not cues:
        raise _invalid(
            "it has no cues; expected SubRip (.srt) or WebVTT (.vtt) with times such as `00:00:01,000 --> 00:00:02,000`"
        )
    return cues


def embedded_cues(events: Iterable[tuple[float, float, str]]) -> list[Cue]:
    """Return the cues of a subtitle stream's events (start_s, end_s, plain text), cleaned and in order of time.

    Raises InputError (BAD_TRANSCRIPT) for times that are not finite.
    """
    return _ordered(events)


def _text(data: bytes, config: TranscriptConfig) -> str:
    mark, encoding = next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8"))
    body = data[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as e:
        if mark or config.encoding is None:
            raise _invalid(
                f"byte {len(mark) + e.start:,} is not valid {encoding}; convert the file to UTF-8 or set `encoding`"
            ) from e
        try:
            text = body.decode(config.encoding)
        except UnicodeDecodeError as second:
            raise _invalid(f"byte {second.start:,} is neither UTF-8 nor {config.encoding}") from second
    if (nul := text.find("\0")) >= 0:
        raise _invalid(f"NUL at character {nul:,}: the file is binary")
    return text


def _cues(lines: list[str], *, is_vtt: bool) -> Iterator[tuple[float, float, str]]:
    timings = [(i, m) for i, line in enumerate(lines) if (m := _timing(line, i + 1))]
    ends = [*(i for i, _ in timings[1:]), len(lines)]
    for (first, timing), end in zip(timings, ends, strict=False):
        body = lines[first + 1 : end]
        if is_vtt:
            body = body[: body.index("")] if "" in body else body  # a line of one space is not blank
        elif end < len(lines) and body and _NUMBER.fullmatch(body[-1]):
            body.pop()  # the next cue's number
        text = _ENTITY.sub(lambda m: html.unescape(m[0]), _plain("\n".join(body)))
        yield _seconds(timing.groups()[:4]), _seconds(timing.groups()[4:]), text


def _timing(line: str, number: int) -> re.Match[str] | None:
    timing = _TIMING.fullmatch(line)
    if timing is None and _BROKEN_TIMING.match(line):
        raise _invalid(
            f"line {number} has a malformed time: {line.strip()[:80]!r}; expected `00:00:01,000 --> 00:00:02,000`"
        )
    return timing


def _plain(text: str) -> str:
    return _TAG.sub("", _BREAK.sub("\n", text))


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds = (int(part or 0) for part in parts[:3])
    milliseconds = int((parts[3] or "0").ljust(3, "0"))
    return (((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds) / 1000


def _ordered(events: Iterable[tuple[float, float, str]]) -> list[Cue]:
    cues = []
    for start, end, raw in events:
        if not (math.isfinite(start) and math.isfinite(end)):
            raise _invalid(f"a cue has the times {start} to {end} s")
        start = max(start, 0.0)
        lines = (" ".join(line.split()) for line in raw.split("\n"))
        if text := "\n".join(line for line in lines if line):
            cues.append(Cue(start, max(start, end), text))
    return sorted(dict.fromkeys(cues), key=lambda cue: (cue.start_s, cue.end_s))


def _unrolled(cues: list[Cue]) -> Iterator[Cue]:
    """Remove the first lines of a cue that the previous cue still shows."""
    shown: list[str] = []
    until = -math.inf
    for cue in cues:
        lines = cue.text.split("\n")
        longest = min(len(shown), len(lines), _MAX_ROLL_LINES) if cue.start_s - until <= _MAX_ROLLING_GAP_S else 0
        repeated = next((n for n in range(longest, 0, -1) if shown[-n:] == lines[:n]), 0)
        if repeated < len(lines):
            yield Cue(cue.start_s, cue.end_s, "\n".join(lines[repeated:]))
        shown, until = lines, max(until, cue.end_s)


def _invalid(problem: str) -> InputError:
    return InputError(Reason.BAD_TRANSCRIPT, f"invalid transcript: {problem}")
