"""The time grid against slow, obvious versions of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.video.time_grid import (
    GridRun,
    TimedFrame,
    Timeline,
    TimestampSelector,
    grid_length,
    sample_on_grid,
    tolerance_s,
)

few = settings(max_examples=60, deadline=None)


def shown_frames(times: list[float | None], *, fps: float, last_s: float = 0.1, tick_s: float = 1e-4) -> list[int]:
    """The number of the frame that is shown at each grid point."""
    return shown_frames_with(Timeline(last_s), times, fps=fps, tick_s=tick_s)


def shown_frames_with(timeline: Timeline, times: list[float | None], *, fps: float, tick_s: float = 1e-4) -> list[int]:
    frames = [TimedFrame(time_s, 0.0, number) for number, time_s in enumerate(times)]
    runs = list(sample_on_grid(frames, timeline, fps=fps, tolerance=tolerance_s(tick_s, fps)))
    assert [run.first for run in runs] == [sum(r.count for r in runs[:i]) for i in range(len(runs))]
    return [run.content for run in runs for _ in range(run.count)]


@few
@given(
    steps=st.lists(st.integers(1, 9000), min_size=1, max_size=40),
    start=st.integers(-(10**7), 10**9),
    fps=st.sampled_from([0.5, 1.0, 3.0, 4.0, 24.0, 30000 / 1001]),
)
def test_every_grid_point_shows_the_latest_frame(steps: list[int], start: int, fps: float) -> None:
    tick_s = 1 / 9000
    ticks = np.cumsum([0, *steps[:-1]])
    seen = shown_frames([float((start + t) * tick_s) for t in ticks], fps=fps, last_s=steps[-1] * tick_s, tick_s=tick_s)
    end_s = (ticks[-1] + (steps[-2] if len(steps) > 1 else steps[-1])) * tick_s
    epsilon = tolerance_s(tick_s, fps)
    assert len(seen) == grid_length(end_s, fps, epsilon)
    for k, number in enumerate(seen):
        # Within the rounding error of the arithmetic, either neighbor is right.
        slow = {int(np.flatnonzero(ticks * tick_s <= k / fps + epsilon + nudge)[-1]) for nudge in (-1e-7, 1e-7)}
        assert number in slow


@few
@given(rate=st.integers(1, 120), seconds=st.integers(1, 20), start=st.integers(0, 10**6))
def test_grid_at_the_source_rate_shows_each_frame_once(rate: int, seconds: int, start: int) -> None:
    times = [(start + i) / rate for i in range(rate * seconds)]
    assert shown_frames(times, fps=rate, last_s=1 / rate, tick_s=1 / rate) == list(range(rate * seconds))


def test_finer_grid_repeats_frames() -> None:
    assert shown_frames([0.0, 0.5], fps=4, last_s=0.5) == [0, 0, 1, 1]


def test_times_rounded_to_milliseconds_do_not_shift_the_grid() -> None:
    times = [round(i * 1001 / 30000, 3) for i in range(90)]  # as Matroska writes 29.97 fps
    assert shown_frames(times, fps=30000 / 1001, last_s=0.033, tick_s=1e-3) == list(range(90))


def test_frame_without_time_follows_the_previous_frame() -> None:
    assert shown_frames([0.0, None, None, 0.3], fps=10) == [0, 1, 2, 3]


def test_video_without_times_uses_the_default_duration() -> None:
    assert shown_frames([None, None, None], fps=10) == [0, 1, 2]
    assert shown_frames([None, 7.0, 7.1], fps=10) == [0, 1, 2]


def test_later_of_two_frames_with_equal_times_is_shown() -> None:
    assert shown_frames([0.0, 0.1, 0.1, 0.2], fps=10) == [0, 2, 3]


def test_frame_behind_its_predecessor_is_skipped_and_counted() -> None:
    timeline = Timeline(0.1)
    assert shown_frames_with(timeline, [0.0, 0.2, 0.1, 0.3], fps=10) == [0, 0, 1, 3]
    assert (timeline.skipped_frames, timeline.discontinuities, timeline.frames) == (1, 0, 4)


def test_time_continues_after_a_clock_reset() -> None:
    timeline = Timeline(0.5)
    assert shown_frames_with(timeline, [10.0, 10.5, 11.0, 11.5, 0.0, 0.5], fps=2) == [0, 1, 2, 3, 4, 5]
    assert timeline.discontinuities == 1


@pytest.mark.parametrize(("allows_jumps", "expected"), [(True, 4), (False, 102)])
def test_step_ahead_is_a_discontinuity_only_in_formats_that_allow_jumps(allows_jumps: bool, expected: int) -> None:
    timeline = Timeline(1.0, allows_jumps=allows_jumps)
    assert len(shown_frames_with(timeline, [0.0, 1.0, 100.0, 101.0], fps=1)) == expected
    assert timeline.discontinuities == int(allows_jumps)


def test_presentation_times_are_used_until_they_run_backwards_more_often_than_decoding_times() -> None:
    stamps = TimestampSelector()
    pairs: list[tuple[int | None, int | None]] = [(0, 0), (2, 1), (1, 2), (4, 3), (None, 4), (6, None), (5, 6)]
    assert [stamps.select(pts, dts) for pts, dts in pairs] == [0, 2, 2, 3, 4, None, 6]
    joined: list[tuple[int | None, int | None]] = [(8, 8), (9, 9), (0, 0), (1, 1)]
    assert [TimestampSelector(faults=f).select(7, 3) for f in (0, 1)] == [7, 3]
    stamps = TimestampSelector()
    assert [stamps.select(pts, dts) for pts, dts in joined] == [8, 9, 0, 1]


def test_no_frames_give_an_empty_grid_and_one_frame_gives_one_point() -> None:
    assert shown_frames([], fps=4) == []
    assert shown_frames([3.0], fps=4, last_s=0.001) == [0]


def test_runs_have_consecutive_grid_indices() -> None:
    frames = [TimedFrame(0.0, 0.3, "a"), TimedFrame(0.3, 0.2, "b")]
    runs = list(sample_on_grid(frames, Timeline(1), fps=10, tolerance=1e-4))
    assert runs == [GridRun(0, 3, "a"), GridRun(3, 2, "b")]
