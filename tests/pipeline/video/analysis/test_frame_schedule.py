"""The times at which frames are sampled."""

from __future__ import annotations

import numpy as np

from pipeline.video.analysis.frame_schedule import (
    DENSE_S,
    MAX_BURST_S,
    SPARSE_S,
    BurstSchedule,
    FrameSchedule,
    burst_end_s,
)


def test_dense_schedule_samples_once_per_step() -> None:
    schedule = FrameSchedule(DENSE_S)
    assert [k for k in range(60) if schedule.accepts(k / 10)] == list(range(0, 60, 5))


def test_burst_schedule_samples_sparsely_and_densely_in_bursts() -> None:
    schedule = BurstSchedule()
    accepted = [float(t) for t in np.arange(0, 90, 0.125) if schedule.accepts(t)]
    bursts = [t for end_s in (27, 58) for t in np.arange(end_s - MAX_BURST_S, end_s, DENSE_S)]
    assert accepted == sorted({*np.arange(0, 90, SPARSE_S), *bursts})


def test_bursts_end_twice_in_the_first_minute_and_then_less_often() -> None:
    ends = [burst_end_s(t) for t in (0, 26.9, 27, 57.9, 58, 148, 149, 7200)]
    assert ends == [27, 27, 58, 58, 149, 149, 240, 7247]


def test_bursts_meet_all_phases_of_a_key_frame_interval() -> None:
    ends = np.unique([burst_end_s(t) for t in range(1000)])
    for interval_s in (2.0, 4.0, 5.0, 10.0, 250 / 24, 250 / 30):
        phases = np.sort(ends % interval_s / interval_s)
        assert np.diff([*phases, phases[0] + 1]).max() < 0.55


def test_frame_slightly_early_is_accepted_and_the_grid_of_samples_stays() -> None:
    schedule = FrameSchedule(DENSE_S)
    assert [t for t in (0.0, 0.48, 0.5, 0.98, 1.4, 1.49) if schedule.accepts(t)] == [0.0, 0.48, 0.98, 1.49]
