"""Videos are cut into clips, and cues are assigned to them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.transcripts.cues import Cue
from pipeline.tokenize.clips import Clip, ClipConfig, cut, share_cues
from schemas.errors import ConfigError

FPS = 4


@given(
    frames=st.integers(1, 200),
    shot_frames=st.lists(st.integers(0, 210), max_size=12).map(sorted),
    shortest=st.floats(0, 5),
    longest=st.none() | st.floats(5, 30),
    clips=st.sampled_from(["whole", "shots", "seconds"]),
)
def test_clips_contain_every_frame_once_and_respect_the_length_limits(
    frames: int, shot_frames: list[int], shortest: float, longest: float | None, clips: Any
) -> None:
    if clips == "seconds" and longest is None:
        longest = 7.5
    config = ClipConfig(clips=clips, min_clip_s=shortest, max_clip_s=longest)
    parts = cut(frames, shot_frames, config, fps=FPS)
    assert [i for part in parts for i in range(part.first, part.end)] == list(range(frames))
    lengths = [part.end - part.first for part in parts]
    assert min(lengths) > 0
    if clips == "whole":
        assert lengths == [frames]
    elif longest is not None:
        assert max(lengths) <= longest * FPS
    if clips == "shots" and longest is None:
        assert len(parts) == 1 or min(lengths) >= shortest * FPS
        assert {part.first for part in parts} <= {0, *shot_frames}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ClipConfig(clips="shots", min_clip_s=0), [(0, 8), (8, 10), (10, 40)]),
        (ClipConfig(clips="shots", min_clip_s=1), [(0, 8), (8, 40)]),  # the shot of two frames has its follower
        (ClipConfig(clips="shots", min_clip_s=1, max_clip_s=3), [(0, 8), (8, 18), (18, 29), (29, 40)]),
        (ClipConfig(clips="seconds", max_clip_s=3), [(0, 10), (10, 20), (20, 30), (30, 40)]),
        (ClipConfig(clips="seconds", max_clip_s=0.05), [(i, i + 1) for i in range(40)]),  # a frame at least
    ],
)
def test_short_shots_are_joined_and_long_shots_are_cut_evenly(
    config: ClipConfig, expected: list[tuple[int, int]]
) -> None:
    assert cut(40, [0, 8, 10, 40], config, fps=FPS) == expected


def test_a_short_last_shot_is_joined_with_the_previous_one() -> None:
    assert cut(40, [0, 20, 38], ClipConfig(clips="shots"), fps=FPS) == [(0, 20), (20, 40)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"clips": "scenes"},
        {"clips": "seconds"},
        {"min_clip_s": -1},
        {"min_clip_s": float("nan")},
        {"clips": "shots", "min_clip_s": 5, "max_clip_s": 4},
        {"max_clip_s": 0},
        {"max_clip_s": float("nan")},
    ],
)
def test_invalid_clip_options_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"clip"):
        ClipConfig(**wrong)


def test_a_cue_belongs_to_the_clip_with_the_longest_overlap() -> None:
    clips = [Clip(0, 8), Clip(8, 16), Clip(16, 24)]  # two seconds each
    cues = {
        "in the first": (0.5, 1.5),
        "longer in the second": (1.5, 3.0),
        "longer in the first": (0.5, 2.4),
        "as long in both": (1.0, 3.0),
        "across all, longest in the middle": (1.5, 5.0),
        "behind the end": (9.0, 10.0),
        "of no length": (4.0, 4.0),
    }
    shares = share_cues([Cue(*times, text) for text, times in cues.items()], clips, fps=FPS)
    assert [{cue.text for cue in share} for share in shares] == [
        {"in the first", "longer in the first", "as long in both"},
        {"longer in the second", "across all, longest in the middle"},
        {"behind the end", "of no length"},
    ]


@given(
    edges=st.sets(st.integers(1, 39), max_size=6).map(lambda inner: sorted({0, *inner, 40})),
    cues=st.lists(st.tuples(st.floats(0, 12), st.floats(0, 8)), max_size=8),
)
def test_every_cue_is_in_exactly_the_clip_with_the_longest_overlap(
    edges: list[int], cues: list[tuple[float, float]]
) -> None:
    clips = [Clip(*ends) for ends in pairwise(edges)]
    cues_by_number = [Cue(start, start + length, str(i)) for i, (start, length) in enumerate(cues)]
    shares = share_cues(cues_by_number, clips, fps=FPS)
    assert sorted(cue.text for share in shares for cue in share) == sorted(cue.text for cue in cues_by_number)
    for clip, share in zip(clips, shares, strict=True):
        for cue in share:
            overlaps = [min(c.end, cue.end_s * FPS) - max(c.first, cue.start_s * FPS) for c in clips]
            assert overlaps[clips.index(clip)] >= max(overlaps) - 1e-4 or max(overlaps) <= 0
