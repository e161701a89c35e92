"""The times at which frames are sampled."""

from __future__ import annotations

import numpy as np

from pipeline.video.analysis.frame_schedule import DENSE_S, PAIR_S, SPARSE_S, FrameSchedule


def test_dense_schedule_samples_once_per_step() -> None:
    schedule = FrameSchedule(DENSE_S)
    assert [k for k in range(60) if schedule.accepts(k / 10)] == list(range(0, 60, 5))
    assert not schedule.expects_second


def test_sparse_schedule_adds_a_second_frame_twice_a_minute() -> None:
    schedule = FrameSchedule(SPARSE_S)
    accepted = [float(t) for t in np.arange(0, 70, 0.125) if schedule.accepts(t)]
    seconds = [PAIR_S, 30 + PAIR_S, 60 + PAIR_S]
    assert [t for t in accepted if t not in seconds] == list(np.arange(0, 70, SPARSE_S))
    assert set(seconds) <= set(accepted)


def test_first_frame_of_a_pair_announces_the_second() -> None:
    schedule = FrameSchedule(SPARSE_S)
    assert schedule.accepts(0.0)
    assert schedule.expects_second
    assert schedule.accepts(PAIR_S)
    assert not schedule.expects_second


def test_frame_slightly_early_is_accepted_and_the_grid_of_samples_stays() -> None:
    schedule = FrameSchedule(DENSE_S)
    assert [t for t in (0.0, 0.48, 0.5, 0.98, 1.4, 1.49) if schedule.accepts(t)] == [0.0, 0.48, 0.98, 1.49]
