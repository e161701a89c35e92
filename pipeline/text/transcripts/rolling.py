"""Unrolls rolling captions, so that each line is in one cue.

Captions of speech recognition and of live television scroll: a cue shows the previous line again above the new one, or
the same line with more words.

    welcome to the series                      welcome to the series
    welcome to the series / on networks   ─►   on networks
    on networks / programming                  programming

The same file may be SubRip, WebVTT, SubStation or a subtitle stream. Repetition alone does not tell rolling captions
from a chorus or from "Yes." "Yes."; a *run* of cues is taken for rolling if each shows the end of the previous one
without a pause, and at least two of them add a line that the run did not show before (one, if the run also has a cue
too short to read, as such files often have between two lines). Elsewhere only cues too short to read are dropped, if
they repeat the previous one. In files with times for single words, which speech recognition writes, every run rolls.
Cost: linear.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.text.transcripts.cues import Cue

_MAX_PAUSE_S = 0.25  # between two cues of a run
_MAX_FLASH_S = 0.1  # a cue that nobody can read
_MAX_LINES = 4  # that one cue repeats
_MIN_ADDITIONS = 2
_CJK = "\u2e80"  # from here on, most scripts have no spaces between words


class Unrolled(NamedTuple):
    """The cues, and the number of lines that were removed from them."""

    cues: list[Cue]
    removed_lines: int


@dataclass(frozen=True)
class _Step:
    """A cue of a run as lines, and what it repeats of the previous cue."""

    cue: Cue
    lines: list[str]
    repeated: int = 0  # lines at its start that the previous cue ends with
    grows: bool = False  # the line after them continues the last line of the previous cue

    @property
    def added(self) -> list[str]:
        return self.lines[self.repeated :]

    @property
    def is_flash(self) -> bool:
        return self.repeated > 0 and not self.added and self.cue.end_s - self.cue.start_s <= _MAX_FLASH_S


def unroll(cues: Sequence[Cue], *, have_word_times: bool = False) -> Unrolled:
    """Return cues in order of time without the lines that the previous cue already showed."""
    unrolled: list[Cue] = []
    for run in _runs(cues):
        unrolled += (
            _flattened(run) if have_word_times or _is_rolling(run) else [step.cue for step in run if not step.is_flash]
        )
    before, after = (sum(cue.text.count("\n") + 1 for cue in found) for found in (cues, unrolled))
    return Unrolled(unrolled, before - after)


def _runs(cues: Sequence[Cue]) -> Iterator[list[_Step]]:
    run: list[_Step] = []
    until = -math.inf
    for cue in cues:
        lines = cue.text.split("\n")
        step = _Step(cue, lines)
        if run and cue.start_s - until <= _MAX_PAUSE_S:
            step = _compared(step, run[-1].lines)
        if run and not (step.repeated or step.grows):
            yield run
            run = []
        run.append(step)
        until = max(until, cue.end_s)
    if run:
        yield run


def _compared(step: _Step, shown: list[str]) -> _Step:
    lines = step.lines
    for count in range(min(len(shown), len(lines), _MAX_LINES), 0, -1):
        *kept, last = shown[-count:]
        if kept != lines[: count - 1]:
            continue
        if last == lines[count - 1]:
            return replace(step, repeated=count)
        if _continues(lines[count - 1], last):
            return replace(step, repeated=count - 1, grows=True)
    return step


def _continues(line: str, shown: str) -> bool:
    """Whether a line is another one with more words."""
    if not line.startswith(shown):
        return False
    before, after = line[len(shown) - 1], line[len(shown)]
    return not (before.isalnum() and after.isalnum() and before < _CJK)


def _is_rolling(run: Sequence[_Step]) -> bool:
    seen, additions = set(run[0].lines), 0
    for step in run[1:]:
        additions += not seen.issuperset(step.added)
        seen.update(step.lines)
    return additions >= _MIN_ADDITIONS - any(step.is_flash for step in run)


def _flattened(run: Sequence[_Step]) -> list[Cue]:
    cues: list[Cue] = []
    for step in run:
        added = step.added
        if step.grows and cues:  # the line begins where its first words do
            *earlier, _ = cues[-1].text.split("\n")
            cues[-1] = replace(cues[-1], end_s=step.cue.end_s, text="\n".join([*earlier, added[0]]))
            added = added[1:]
        if added:
            cues.append(replace(step.cue, text="\n".join(added)))
    return cues
