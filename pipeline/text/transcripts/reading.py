"""Transcripts: text with times, from a subtitle file or from a subtitle stream of a video.

The content of a file tells its format: SubRip, WebVTT, SubViewer (`timed_text`) or SubStation (`substation`). All of
them, and the events of subtitle streams, are cleaned, ordered and unrolled (`rolling`) by the same rules. Cost: the
whole file in memory, up to a limit.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pipeline.text.encoding import byte_order_mark
from pipeline.text.transcripts.cue_text import clean_lines, has_word_times, substation_text
from pipeline.text.transcripts.cues import Cue, Event, Transcript
from pipeline.text.transcripts.rolling import unroll
from pipeline.text.transcripts.substation import is_substation, parse_substation
from pipeline.text.transcripts.timed_text import is_webvtt, parse_timed_text
from schemas.errors import ConfigError, InputError, Reason
from schemas.storage.regular import open_regular

VERSION = 2  # increment when the same file gives other cues


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


def read_transcript(path: Path, config: TranscriptConfig = TranscriptConfig()) -> Transcript:
    """Return the cues of a subtitle file. See `parse_transcript`."""
    try:
        with open_regular(path) as file:
            if (size := os.fstat(file.fileno()).st_size) > config.max_bytes:
                raise _invalid(f"{size:,} bytes, the limit is {config.max_bytes:,}")
            data = file.read()
    except OSError as e:
        raise _invalid(f"{path} cannot be read: {e.strerror or e}") from e
    return parse_transcript(data, config)


def parse_transcript(data: bytes, config: TranscriptConfig = TranscriptConfig()) -> Transcript:
    """Return the cues in the bytes of a subtitle file, without formatting and in order of time.

    Times are those of the file: they can be negative, cues can overlap and have no duration. An end before its start
    becomes the start; blank and exactly repeated cues are dropped; rolling captions are unrolled. What was changed is
    counted in the notes. Raises InputError (BAD_TRANSCRIPT) for files without cues (except WebVTT), binary files, and
    times that cannot be read.
    """
    padded = _text(data, config)
    text = padded.rstrip("\0")
    if (nul := text.find("\0")) >= 0:
        raise _invalid(f"NUL at character {nul:,}: the file is binary")
    notes = Counter({"NUL characters at the end dropped": len(padded) - len(text)})
    lines = re.split(r"\r{0,2}\n|\r", text)
    if is_substation(lines):
        return _transcript(parse_substation(lines), notes)
    events = parse_timed_text(lines)
    if not events and not is_webvtt(lines):
        raise _invalid(
            "it has no cues; expected SubRip (.srt), WebVTT (.vtt), SubViewer (.sbv) or SubStation (.ass, .ssa), with "
            "times such as `00:00:01,000 --> 00:00:02,000`"
        )
    return _transcript(events, notes, have_word_times=has_word_times(text))


def embedded_transcript(events: Iterable[Event]) -> Transcript:
    """Return the cues of a subtitle stream's events (start_s, end_s, text as FFmpeg gives it).

    Raises InputError (BAD_TRANSCRIPT) for times that are not finite.
    """
    return _transcript(((start, end, substation_text(text)) for start, end, text in events), Counter())


def _text(data: bytes, config: TranscriptConfig) -> str:
    mark, encoding = byte_order_mark(data)
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
    return text.lstrip("\ufeff")  # some programs write the mark twice


def _transcript(events: Iterable[Event], notes: Counter[str], *, have_word_times: bool = False) -> Transcript:
    cues = [cue for event in events if (cue := _cue(event, notes))]
    notes["out of order"] += sum(later.start_s < cue.start_s for cue, later in pairwise(cues))
    unique = dict.fromkeys(cues)
    notes["repeated exactly"] += len(cues) - len(unique)
    unrolled = unroll(sorted(unique, key=lambda cue: (cue.start_s, cue.end_s)), have_word_times=have_word_times)
    notes["repeated lines of rolling captions"] += unrolled.removed_lines
    notes["overlapping"] += sum(later.start_s < cue.end_s for cue, later in pairwise(unrolled.cues))
    return Transcript(tuple(unrolled.cues), +notes)


def _cue(event: Event, notes: Counter[str]) -> Cue | None:
    start, end, text = event
    if not (math.isfinite(start) and math.isfinite(end)):
        raise _invalid(f"a cue has the times {start} to {end} s")
    if not (text := clean_lines(text)):
        return None
    notes["with an end before the start"] += end < start
    notes["without a duration"] += end == start
    return Cue(round(start, 6), round(max(start, end), 6), text)


def _invalid(problem: str) -> InputError:
    return InputError(Reason.BAD_TRANSCRIPT, f"invalid transcript: {problem}")
