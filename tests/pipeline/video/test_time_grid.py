"""The time grid and the geometry, held against slow and obvious versions of themselves."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.video.time_grid import (
    EXIF_ORIENTATIONS,
    Orientation,
    Shown,
    Timed,
    Timeline,
    TimeStamps,
    epsilon_s,
    geometry,
    grid_count,
    on_grid,
    orientation_of,
    pixel_shape,
    shown_size,
)

few = settings(max_examples=60, deadline=None)


def sampled(times: list[float | None], *, fps: float, last_s: float = 0.1, tick_s: float = 1e-4) -> list[int]:
    """The number of the frame that is seen at each grid point."""
    return sampled_with(Timeline(typical_s=last_s), times, fps=fps, tick_s=tick_s)


def sampled_with(timeline: Timeline, times: list[float | None], *, fps: float, tick_s: float = 1e-4) -> list[int]:
    frames = [Timed(time_s, 0.0, number) for number, time_s in enumerate(times)]
    runs = list(on_grid(frames, timeline, fps=fps, epsilon=epsilon_s(tick_s, fps)))
    assert [run.first for run in runs] == [sum(r.count for r in runs[:i]) for i in range(len(runs))]
    return [run.content for run in runs for _ in range(run.count)]


@few
@given(
    steps=st.lists(st.integers(1, 9000), min_size=1, max_size=40),
    start=st.integers(-(10**7), 10**9),
    fps=st.sampled_from([0.5, 1.0, 3.0, 4.0, 24.0, 30000 / 1001]),
)
def test_at_every_grid_point_the_latest_frame_is_seen(steps: list[int], start: int, fps: float) -> None:
    tick_s = 1 / 9000
    ticks = np.cumsum([0, *steps[:-1]])
    seen = sampled([float((start + t) * tick_s) for t in ticks], fps=fps, last_s=steps[-1] * tick_s, tick_s=tick_s)
    end_s = (ticks[-1] + (steps[-2] if len(steps) > 1 else steps[-1])) * tick_s
    epsilon = epsilon_s(tick_s, fps)
    assert len(seen) == grid_count(end_s, fps, epsilon)
    for k, number in enumerate(seen):
        # Twice the arithmetic's own error off, either neighbor is right.
        slow = {int(np.flatnonzero(ticks * tick_s <= k / fps + epsilon + nudge)[-1]) for nudge in (-1e-7, 1e-7)}
        assert number in slow


@few
@given(rate=st.integers(1, 120), seconds=st.integers(1, 20), start=st.integers(0, 10**6))
def test_a_grid_as_fine_as_the_source_takes_each_frame_once(rate: int, seconds: int, start: int) -> None:
    times = [(start + i) / rate for i in range(rate * seconds)]
    assert sampled(times, fps=rate, last_s=1 / rate, tick_s=1 / rate) == list(range(rate * seconds))


def test_a_finer_grid_repeats_frames() -> None:
    assert sampled([0.0, 0.5], fps=4, last_s=0.5) == [0, 0, 1, 1]


def test_times_rounded_to_milliseconds_do_not_shift_the_grid() -> None:
    times = [round(i * 1001 / 30000, 3) for i in range(90)]  # as Matroska writes 29.97 fps
    assert sampled(times, fps=30000 / 1001, last_s=0.033, tick_s=1e-3) == list(range(90))


def test_a_frame_without_time_follows_the_one_before() -> None:
    assert sampled([0.0, None, None, 0.3], fps=10) == [0, 1, 2, 3]


def test_a_video_without_any_time_runs_at_its_usual_rate() -> None:
    assert sampled([None, None, None], fps=10) == [0, 1, 2]
    assert sampled([None, 7.0, 7.1], fps=10) == [0, 1, 2]


def test_of_two_frames_with_one_time_the_later_is_seen() -> None:
    assert sampled([0.0, 0.1, 0.1, 0.2], fps=10) == [0, 2, 3]


def test_a_frame_behind_its_predecessor_is_passed_over() -> None:
    timeline = Timeline(typical_s=0.1)
    assert sampled_with(timeline, [0.0, 0.2, 0.1, 0.3], fps=10) == [0, 0, 1, 3]
    assert (timeline.passed_over, timeline.resets, timeline.frames) == (1, 0, 4)


def test_a_clock_that_starts_again_goes_on() -> None:
    timeline = Timeline(typical_s=0.5)
    assert sampled_with(timeline, [10.0, 10.5, 11.0, 11.5, 0.0, 0.5], fps=2) == [0, 1, 2, 3, 4, 5]
    assert timeline.resets == 1


@pytest.mark.parametrize(("jumps", "expected"), [(True, 4), (False, 102)])
def test_a_step_ahead_is_a_reset_only_where_clocks_may_jump(jumps: bool, expected: int) -> None:
    timeline = Timeline(typical_s=1.0, jumps=jumps)
    assert len(sampled_with(timeline, [0.0, 1.0, 100.0, 101.0], fps=1)) == expected
    assert timeline.resets == int(jumps)


def test_presentation_times_hold_until_they_run_backwards_more_often_than_packet_times() -> None:
    stamps = TimeStamps()
    pairs: list[tuple[int | None, int | None]] = [(0, 0), (2, 1), (1, 2), (4, 3), (None, 4), (6, None), (5, 6)]
    assert [stamps.best(pts, dts) for pts, dts in pairs] == [0, 2, 2, 3, 4, None, 6]
    joined: list[tuple[int | None, int | None]] = [(8, 8), (9, 9), (0, 0), (1, 1)]
    assert [TimeStamps(faults=f).best(7, 3) for f in (0, 1)] == [7, 3]
    stamps = TimeStamps()
    assert [stamps.best(pts, dts) for pts, dts in joined] == [8, 9, 0, 1]


def test_no_frames_give_no_grid_and_one_frame_gives_a_point() -> None:
    assert sampled([], fps=4) == []
    assert sampled([3.0], fps=4, last_s=0.001) == [0]


def test_runs_hold_their_place_on_the_grid() -> None:
    frames = [Timed(0.0, 0.3, "a"), Timed(0.3, 0.2, "b")]
    runs = list(on_grid(frames, Timeline(typical_s=1), fps=10, epsilon=1e-4))
    assert runs == [Shown(0, 3, "a"), Shown(3, 2, "b")]


@few
@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    sar=st.fractions(Fraction(1, 4), Fraction(4)),
    size=st.integers(8, 512),
)
def test_the_square_lies_in_the_middle_of_the_scaled_picture(width: int, height: int, sar: Fraction, size: int) -> None:
    placed = geometry(width, height, sar, size)
    assert min(placed.width, placed.height) == size
    assert 0 <= placed.width - size - 2 * placed.left <= 1
    assert 0 <= placed.height - size - 2 * placed.top <= 1
    assert placed.width / placed.height == pytest.approx(float(width * sar / height), rel=0.51 / size + 1e-9)


def test_shown_size_keeps_the_coded_pixels_of_the_longer_side() -> None:
    assert shown_size(176, 144, Fraction(128, 117), Orientation()) == (193, 144)
    assert shown_size(1440, 1080, Fraction(4, 3), Orientation(1)) == (1080, 1920)
    assert shown_size(720, 576, Fraction(1, 2), Orientation()) == (720, 1152)


@pytest.mark.parametrize("sar", [None, Fraction(0), Fraction(1, 1000), Fraction(1000)])
def test_unknown_and_absurd_pixel_shapes_are_square(sar: Fraction | None) -> None:
    assert pixel_shape(sar) == 1


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [False, True])
def test_display_matrix_moves_every_pixel_where_it_says(clockwise: int, flip: bool) -> None:
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    mirror = -1 if flip else 1  # x is mirrored before the turn
    x_to, y_to = (cos * mirror, sin * mirror), (-sin, cos)
    one = 1 << 16
    turned = orientation_of([x_to[0] * one, x_to[1] * one, 0, y_to[0] * one, y_to[1] * one, 0, 0, 0, 1 << 30])

    coded = np.arange(6).reshape(2, 3)
    shown = np.rot90(coded[:, ::-1] if turned.flip else coded, turned.turns)
    moved = {}
    for (y, x), value in np.ndenumerate(coded):
        moved[x * x_to[0] + y * y_to[0], x * x_to[1] + y * y_to[1]] = value
    left, top = min(x for x, _ in moved), min(y for _, y in moved)
    slow = np.zeros_like(shown)
    for (x, y), value in moved.items():
        slow[y - top, x - left] = value
    assert shown.tolist() == slow.tolist()


@pytest.mark.parametrize("tag", range(1, 9))
def test_exif_orientations_are_those_of_pillow(tag: int) -> None:
    coded = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(coded)
    image.getexif()[274] = tag
    turned = EXIF_ORIENTATIONS.get(tag, Orientation())
    ours = np.rot90(coded[:, ::-1] if turned.flip else coded, turned.turns)
    assert ours.tolist() == np.asarray(ImageOps.exif_transpose(image)).tolist()
