"""The cues of a transcript, and the part of them that a video shows."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

_TOLERANCE_S = 0.001  # the resolution of the times in subtitle files

Event = tuple[float, float, str]
"""Start and end in seconds, and the text with its formatting."""


@dataclass(frozen=True)
class Cue:
    """A part of a transcript: `text` is shown from `start_s` to `end_s`, in seconds of a file's time line."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """The cues of a transcript in order of time, and what was changed to read them."""

    cues: tuple[Cue, ...]
    notes: Mapping[str, int] = field(default_factory=dict)  # number of cues or lines by what was changed
    outside: int = 0  # cues left out because the video does not show anything at their time

    def shifted(self, seconds: float) -> Transcript:
        """Return the transcript with `seconds` added to all times, to the microsecond."""
        cues = (Cue(round(c.start_s + seconds, 6), round(c.end_s + seconds, 6), c.text) for c in self.cues)
        return dataclasses.replace(self, cues=tuple(cues))

    def within(self, duration_s: float) -> Transcript:
        """Return the cues that overlap the time from 0 to `duration_s`, cut to it; count the others.

        A cue without a duration overlaps if its time is in that range.
        """
        inside = [cue for cue in self.cues if _overlaps(cue, duration_s)]
        cues = tuple(Cue(max(0.0, cue.start_s), min(max(0.0, cue.end_s), duration_s), cue.text) for cue in inside)
        notes = Counter(self.notes)
        notes["cut to the time of the video"] += sum(
            before != after for before, after in zip(inside, cues, strict=True)
        )
        return Transcript(cues, +notes, self.outside + len(self.cues) - len(inside))

    @property
    def summary(self) -> str:
        """What was left out and changed, in words; "" if nothing."""
        counts = ({"outside the video": self.outside} if self.outside else {}) | dict(self.notes)
        return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _overlaps(cue: Cue, duration_s: float) -> bool:
    return cue.start_s < duration_s - _TOLERANCE_S and (cue.end_s > _TOLERANCE_S or cue.start_s > -_TOLERANCE_S)
