"""The list of shot starts."""

from __future__ import annotations

from pipeline.video.shots.protocol import ShotStarts


def test_first_shot_starts_at_zero_and_short_shots_are_not_started() -> None:
    starts = ShotStarts(min_length_s=0.5)
    for time_s in (0.4, 0.5, 0.9, 1.0, 3.0):
        starts.add(time_s)
    assert starts.times_s == [0.0, 0.5, 1.0, 3.0]


def test_lists_of_two_videos_are_independent() -> None:
    ShotStarts().add(5.0)
    assert ShotStarts().times_s == [0.0]
