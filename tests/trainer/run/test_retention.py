from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from trainer.run.retention import Retention


@dataclass
class _Checkpoint:
    step: int
    time: datetime


def _kept(retention: Retention, *, steps: range = range(10, 101, 10)) -> list[int]:
    """One checkpoint every ten steps and every half hour."""
    checkpoints = [_Checkpoint(step, datetime(2026, 1, 1) + timedelta(minutes=3 * step)) for step in steps]
    flags = retention.should_preserve(checkpoints, context=None)
    return [checkpoint.step for checkpoint, kept in zip(checkpoints, flags, strict=True) if kept]


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(newest=2), [90, 100]),
        (Retention(newest=1, every=40), [40, 80, 100]),
        (Retention(newest=1, hours=2), [10, 50, 90, 100]),
        (Retention(newest=1, best=2, loss={20: 1.0, 60: 0.5, 70: 0.5, 90: 0.9}.get), [60, 70, 100]),
        (Retention(newest=1, best=2), [100]),
        (Retention(newest=200), list(range(10, 101, 10))),
    ],
)
def test_checkpoints_are_kept_by_number_step_age_and_loss(retention: Retention, kept: list[int]) -> None:
    assert _kept(retention) == kept


def test_no_checkpoints_are_no_error() -> None:
    assert Retention().should_preserve([], context=None) == []
