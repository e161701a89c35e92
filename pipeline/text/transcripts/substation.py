"""Parses SubStation Alpha files (.ass, .ssa): the lines `Dialogue:` of the section [Events].

http://www.tcax.org/docs/ass-specs.htm. A line `Format:` names the fields, of which the last is the text and may contain
commas. Comments, drawings and all formatting are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from pipeline.text.transcripts.cue_text import substation_text
from pipeline.text.transcripts.cues import Event
from schemas.errors import InputError, Reason

_FIELDS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")
_TIME = re.compile(r"\s*(-?)(\d{1,4}):(\d{1,2}):(\d{1,2})(?:[.:,](\d{1,3}))?\s*")


def is_substation(lines: Sequence[str]) -> bool:
    """Whether the first line is that of a SubStation file."""
    first = next((line for line in lines if line.strip()), "")
    return first.strip().lower() in ("[script info]", "[v4+ styles]", "[v4 styles]", "[events]")


def parse_substation(lines: Sequence[str]) -> Iterator[Event]:
    """Yield the events of a file in the order of its lines.

    Raises InputError (BAD_TRANSCRIPT) with the number of a dialogue line that cannot be read.
    """
    fields: Sequence[str] = _FIELDS
    section = ""
    for number, line in enumerate(lines):
        if line.startswith("["):
            section = line.strip().lower()
        name, _, value = line.partition(":")
        if section == "[events]" and name.strip().lower() == "format":
            fields = [field.strip().lower() for field in value.split(",")]
        elif name.strip().lower() == "dialogue":
            yield _event(value, fields, number)


def _event(value: str, fields: Sequence[str], number: int) -> Event:
    values = dict(zip(fields, value.split(",", len(fields) - 1), strict=False))
    if "text" not in values:
        _reject(number, f"has fewer fields than {', '.join(fields)}")
    return (
        _seconds(values.get("start", ""), number),
        _seconds(values.get("end", ""), number),
        substation_text(values["text"]),
    )


def _seconds(time: str, number: int) -> float:
    match = _TIME.fullmatch(time)
    if match is None:
        _reject(number, f"has a malformed time: {time.strip()[:80]!r}; expected `0:00:01.00`")
    hours, minutes, seconds = (int(part) for part in match.groups()[1:4])
    milliseconds = int((match[5] or "0").ljust(3, "0"))
    return (-1 if match[1] else 1) * (((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds) / 1000


def _reject(number: int, problem: str) -> NoReturn:
    raise InputError(Reason.BAD_TRANSCRIPT, f"invalid transcript: line {number + 1:,} {problem}")
