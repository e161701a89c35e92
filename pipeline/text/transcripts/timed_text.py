"""Parses SubRip (.srt), WebVTT (.vtt) and SubViewer (.sbv), which are lines of text between lines of times.

SubRip has no specification: what players accept is accepted, and the mistakes of editors and of machine translation
(other arrows and separators, spaces, full-width characters, negative times, missing hours, numbers or blank lines). Of
WebVTT (https://www.w3.org/TR/webvtt1/) text and times are read; identifiers, settings, notes, styles and regions are
not. Text that no time belongs to makes a file invalid: it would be lost, or be read as part of another cue.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

from pipeline.text.transcripts.cue_text import timed_text
from pipeline.text.transcripts.cues import Event
from schemas.errors import InputError, Reason

# Repetitions of white space have limits, so that the time to match a long line is linear.
_CLOCK = r"-?\d+(?:\s{0,3}[:.,;]\s{0,3}\d+){1,3}"
_DASH = "-‐‑‒–—―−ー"
_ARROW = rf"[{_DASH}=~\s]{{0,12}}(?:>|→|⇒|➔|➜|&gt;){{1,3}}|[{_DASH}]{{1,3}}|,"
_TIMING = re.compile(rf"\s*({_CLOCK})\s{{0,12}}({_ARROW})\s{{0,12}}({_CLOCK})(\s.*)?")
_FULL_CLOCK = r"(?:\d+\s{0,3}:\s{0,3}){1,2}\d+\s{0,3}[.,]\s{0,3}\d+"
_TWO_CLOCKS = re.compile(rf"\W{{0,3}}{_FULL_CLOCK}[^<\d]{{1,12}}{_FULL_CLOCK}")
_MAX_CLOCKS_CHARS, _MAX_CLOCKS_LETTERS = 100, 8  # of two times with mistakes
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_PART = re.compile(r"\s*([:.,;])\s*")
_NUMBER = re.compile(r"\s*\d+\s*")
_SETTINGS = re.compile(r"(?:\s+[a-z][\w-]*\s*:\s*\S+)+\s*", re.IGNORECASE)
_BLOCKS = re.compile(r"(?:NOTE|STYLE|REGION|WEBVTT)(?:\s|$)")  # of WebVTT, without cues
_HEADER = re.compile(r"[^\s:]+\s*[:=]|.*[{}]|##")  # metadata and styles, which some programs write before the first cue
_EXAMPLE = "expected `00:00:01,000 --> 00:00:02,000`"


class _Timing(NamedTuple):
    line: int  # index
    start_s: float
    end_s: float
    rest: str  # text on the same line


def parse_timed_text(lines: Sequence[str]) -> list[Event]:
    """Return the events of a file in the order of its lines, [] if it has no times.

    Raises InputError (BAD_TRANSCRIPT) with the number of a line whose time cannot be read, or that has none.
    """
    is_vtt = is_webvtt(lines)
    timings = list(_timings(lines))
    if not timings:
        return []
    check = _require_timed_blocks if is_vtt else _require_timed_lines
    check(lines, timings)
    events = []
    ends = [*(timing.line for timing in timings[1:]), len(lines)]
    for timing, end in zip(timings, ends, strict=True):
        body = lines[timing.line + 1 : end]
        if is_vtt and "" in body:  # a line of one space is not blank
            body = body[: body.index("")]
        elif end < len(lines):
            body = _without_number(body)
        events.append((timing.start_s, timing.end_s, timed_text("\n".join([timing.rest, *body]))))
    return events


def is_webvtt(lines: Sequence[str]) -> bool:
    """Whether the first line is that of a WebVTT file."""
    first = next((line for line in lines if line.strip()), "")
    return first.startswith("WEBVTT")


def _without_number(body: Sequence[str]) -> Sequence[str]:
    """Return the lines before the next time without the number of its cue: after a blank line, or the last line."""
    end = len(body)
    while end and not body[end - 1].strip():
        end -= 1
    if not end or not _NUMBER.fullmatch(body[end - 1]):
        return body
    return body[: end - 1] if end == len(body) or _is_blank(body, end - 2) else body


def _timings(lines: Sequence[str]) -> Iterator[_Timing]:
    for number, written in enumerate(lines):
        line = written if written.isascii() else _plain(written)
        if timing := _timing(line, number):
            yield timing
        elif _is_malformed(line, is_expected=_is_first_of_cue(lines, number)):
            _reject(number, f"has a malformed time: {written.strip()[:80]!r}; {_EXAMPLE}")


def _plain(line: str) -> str:
    """Return a line with ASCII instead of full-width characters, without marks of text direction and byte order."""
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", line))


def _timing(line: str, number: int) -> _Timing | None:
    match = _TIMING.fullmatch(line)
    if match is None:
        return None
    start, end = _seconds(match[1]), _seconds(match[3])
    # A line such as "10:00 - 11:00" is text, unless its arrow is the right one or the times are complete.
    if start is None or end is None or not (match[2] == "-->" or _is_complete(match)):
        return None
    rest = match[4] or ""
    return _Timing(number, start, end, "" if _SETTINGS.fullmatch(rest) else rest)


def _is_complete(match: re.Match[str]) -> bool:
    least = 2 if match[2].rstrip()[-1] in ">→⇒➔➜;" else 3
    return all(len(_PART.findall(clock)) >= least for clock in (match[1], match[3]))


def _seconds(clock: str) -> float | None:
    """Return the seconds of [hours:]minutes:seconds[,fraction], None if the parts are not those of a time."""
    sign, clock = (-1, clock[1:]) if clock.startswith("-") else (1, clock)
    numbers, marks = _PART.split(clock)[::2], _PART.findall(clock)
    has_fraction = len(numbers) == 4 or (len(numbers) == 3 and (marks[1] != marks[0] or len(numbers[2]) == 3))
    whole = numbers[:-1] if has_fraction else numbers
    fraction = numbers[-1] if has_fraction else ""
    if len({*marks[: len(whole) - 1]}) != 1 or (len(whole) == 2 and marks[0] != ":"):
        return None
    if has_fraction and marks[-1] == ":" and len(fraction) != 3:  # frames of a time code
        return None
    hours, minutes, seconds = ["0", *whole][-3:]
    if len(hours) > 4 or len(minutes) > 3 or len(seconds) > 2:
        return None
    milliseconds = int(fraction[:3].ljust(3, "0"))
    return sign * (((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + milliseconds) / 1000


def _is_first_of_cue(lines: Sequence[str], number: int) -> bool:
    """Whether a line is where that of the times is expected: after a blank line and a number."""
    before = [line.strip() for line in lines[max(0, number - 2) : number]]
    return not before or not before[-1] or (bool(_NUMBER.fullmatch(before[-1])) and not any(before[:-1]))


def _is_malformed(line: str, *, is_expected: bool) -> bool:
    if _TWO_CLOCKS.match(line) or (is_expected and _has_damaged_clocks(line)):
        return True
    return "-->" in line and (is_expected or bool(re.match(r"\s*-?\d", line)))


def _has_damaged_clocks(line: str) -> bool:
    is_short = len(line) <= _MAX_CLOCKS_CHARS and sum(map(str.isalpha, line)) <= _MAX_CLOCKS_LETTERS
    return is_short and line.count(":") >= 4 and "<" not in line


def _require_timed_lines(lines: Sequence[str], timings: Sequence[_Timing]) -> None:
    """Raise InputError for text before the first time, and for the number of a cue that no time follows."""
    for number, line in enumerate(lines[: timings[0].line]):
        if line.strip() and not _NUMBER.fullmatch(line):
            _reject(number, f"is text before the first time: {line.strip()[:80]!r}; {_EXAMPLE}")
    timed = {timing.line for timing in timings}
    last = 0
    for number, line in enumerate(lines[:-1]):
        if not _NUMBER.fullmatch(line) or len(line) > 9:
            continue
        if number + 1 in timed:
            last = int(line.strip())
        elif int(line.strip()) == last + 1 and lines[number + 1].strip() and _is_blank(lines, number - 1):
            _reject(number, f"is the number of cue {line.strip()}, but no time follows; {_EXAMPLE}")


def _require_timed_blocks(lines: Sequence[str], timings: Sequence[_Timing]) -> None:
    """Raise InputError for a block of WebVTT that has neither a time nor another purpose."""
    timed = {timing.line for timing in timings}
    start = 0
    for end in [*(number for number, line in enumerate(lines) if line == ""), len(lines)]:
        first = next((number for number in range(start, end) if number in timed), None)
        untimed = [line for line in lines[start : end if first is None else first] if line.strip()]
        is_before_cues = start < timings[0].line
        is_name = len(untimed) == 1 and (first is not None or _NUMBER.fullmatch(untimed[0]))
        if untimed and not (
            is_name or _BLOCKS.match(untimed[0]) or (is_before_cues and all(map(_HEADER.match, untimed)))
        ):
            _reject(start, f"is text without a time: {untimed[0].strip()[:80]!r}; {_EXAMPLE}")
        start = end + 1


def _is_blank(lines: Sequence[str], number: int) -> bool:
    return number < 0 or not lines[number].strip()


def _reject(number: int, problem: str) -> NoReturn:
    raise InputError(Reason.BAD_TRANSCRIPT, f"invalid transcript: line {number + 1:,} {problem}")
