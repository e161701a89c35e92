"""Clips: the parts of a video that become separate documents, chosen on the grid of frames after encoding.

    whole     the video is one document
    shots     every shot is one document; a shot shorter than `min_clip_s` is joined with the next one (the last with
              the previous one), and a shot longer than `max_clip_s` is cut into equal parts
    seconds   the smallest number of equal parts of at most `max_clip_s`

Every frame is in exactly one clip. Every cue is in exactly one clip, the one with the longest overlap. Every clip has
the caption, because each is a training document by itself. Times remain those of the video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

from pipeline.text.transcripts.cues import Cue
from schemas.errors import ConfigError

Clips = Literal["whole", "shots", "seconds"]
_SLACK = 1e-6  # frames; rounding error of seconds times frame rate


class Clip(NamedTuple):
    """The frames [first, end) of the grid."""

    first: int
    end: int


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """How videos are divided into documents."""

    clips: Clips = "whole"
    """The documents of a video: the whole video, one per shot, or one per equal part of at most `max_clip_s`."""
    min_clip_s: float = 1.0
    """Join a shorter shot with the next one, in seconds."""
    max_clip_s: float | None = None
    """Cut a longer shot into equal parts, in seconds; with clips=seconds, the maximum length of a part."""

    def __post_init__(self) -> None:
        if self.clips not in get_args(Clips):
            raise ConfigError(f"clips must be one of {', '.join(get_args(Clips))}; got {self.clips!r}")
        if not self.min_clip_s >= 0:
            raise ConfigError(f"min_clip_s must be at least 0, got {self.min_clip_s}")
        if self.max_clip_s is not None and not self.max_clip_s > 0:
            raise ConfigError(f"max_clip_s must be above 0, got {self.max_clip_s}")
        if self.clips == "shots" and self.max_clip_s is not None and self.max_clip_s < self.min_clip_s:
            raise ConfigError(f"max_clip_s must be at least min_clip_s ({self.min_clip_s}), got {self.max_clip_s}")
        if self.clips == "seconds" and self.max_clip_s is None:
            raise ConfigError("clips=seconds needs max_clip_s: give --max-clip-s 30, for example")

    @property
    def fingerprint_fields(self) -> tuple[object, ...]:
        """The options that affect the clips of a video, for the fingerprints of its documents."""
        return {
            "whole": ("whole",),
            "shots": ("shots", self.min_clip_s, self.max_clip_s),
            "seconds": ("seconds", self.max_clip_s),
        }[self.clips]


def cut(frames: int, shot_frames: Sequence[int], config: ClipConfig, *, fps: float) -> list[Clip]:
    """Return the clips of a video of `frames` > 0 frames whose shots begin at `shot_frames`."""
    starts = [0]
    if config.clips == "shots":
        shortest = config.min_clip_s * fps - _SLACK
        for first in shot_frames:
            if starts[-1] < first < frames and first - starts[-1] >= shortest:
                starts.append(first)
        if len(starts) > 1 and frames - starts[-1] < shortest:
            starts.pop()
    if config.clips == "whole" or config.max_clip_s is None:
        return [Clip(first, end) for first, end in pairwise([*starts, frames])]
    longest = max(1, int(config.max_clip_s * fps + _SLACK))
    return [part for first, end in pairwise([*starts, frames]) for part in _parts(first, end, longest)]


def _parts(first: int, end: int, longest: int) -> list[Clip]:
    length = end - first
    count = -(-length // longest)
    edges = [first + i * length // count for i in range(count + 1)]
    return [Clip(start, stop) for start, stop in pairwise(edges)]


def share_cues(cues: Sequence[Cue], clips: Sequence[Clip], *, fps: float) -> list[list[Cue]]:
    """Return the cues of each clip: a cue belongs to the clip with the longest overlap, the first of several.

    A cue that overlaps no clip belongs to the nearest one.
    """
    shares: list[list[Cue]] = [[] for _ in clips]
    first = 0
    for cue in sorted(cues, key=lambda cue: (cue.start_s, cue.end_s)):
        start, end = cue.start_s * fps, cue.end_s * fps
        while first < len(clips) - 1 and clips[first].end <= start:
            first += 1
        best = first
        for number in range(first + 1, len(clips)):
            if clips[number].first >= end:
                break
            if _overlap(clips[number], start, end) > _overlap(clips[best], start, end) + _SLACK:
                best = number
        shares[best].append(cue)
    return shares


def _overlap(clip: Clip, start: float, end: float) -> float:
    return min(clip.end, end) - max(clip.first, start)
