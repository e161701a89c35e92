from __future__ import annotations

import math
from pathlib import Path

import pytest

from schemas.errors import ConfigError, DatasetError
from trainer.run.divergence import LEFT_OUT, Divergence, LeftOut, Updates


def _row(step: int, norm: float | None = 1.0, *, applied: bool = True) -> dict[str, float | None]:
    return {"step": step, "applied": int(applied), "gradient_norm": norm}


def test_every_gradient_is_used_until_the_usual_norm_is_known() -> None:
    updates = Updates(Divergence(spike_factor=4), map(_row, range(1, 20)))
    assert updates.limit(0) == math.inf
    updates.record(20, applied=True, norm=3.0)
    assert updates.limit(0) == 4.0
    assert Updates(Divergence(), map(_row, range(1, 200))).limit(0) == math.inf


def test_the_usual_norm_is_the_median_of_the_last_hundred_updates() -> None:
    updates = Updates(Divergence(spike_factor=2), (_row(step, 1.0 if step <= 100 else 8.0) for step in range(1, 181)))
    assert updates.limit(0) == 16.0
    for step in range(181, 281):
        updates.record(step, applied=False, norm=1000.0)
    assert updates.limit(0) == 16.0


def test_a_run_stops_when_more_updates_are_skipped_within_a_thousand_steps_than_allowed() -> None:
    updates = Updates(Divergence(skip_budget=2), [])
    for step in (5, 500):
        updates.record(step, applied=False, norm=None)
    assert not updates.must_stop
    updates.record(1004, applied=False, norm=math.nan)
    assert updates.must_stop
    updates.record(1005, applied=True, norm=1.0)
    assert updates.skipped == 2
    assert not updates.must_stop


def test_a_run_that_is_to_stop_stops_at_the_first() -> None:
    updates = Updates(Divergence(on_divergence="stop"), [])
    updates.record(1, applied=True, norm=1.0)
    assert not updates.must_stop
    updates.record(2, applied=False, norm=None)
    assert updates.must_stop


def test_a_resumed_run_decides_as_if_it_had_not_stopped() -> None:
    rows = [_row(step, step % 7 + 0.5, applied=step % 11 > 0) for step in range(1, 90)]
    straight, resumed = (Updates(Divergence(spike_factor=3), rows[:n]) for n in (0, 60))
    for row in rows:
        straight.record(int(row["step"] or 0), applied=bool(row["applied"]), norm=row["gradient_norm"])
    for row in rows[60:]:
        resumed.record(int(row["step"] or 0), applied=bool(row["applied"]), norm=row["gradient_norm"])
    assert (straight.limit(0), straight.skipped) == (resumed.limit(0), resumed.skipped)


def test_the_steps_before_a_divergence_are_left_out_and_not_counted(tmp_path: Path) -> None:
    left_out = LeftOut(tmp_path)
    assert 3 not in left_out
    left_out.add(3, 5)
    left_out.add(9, 9)
    again = LeftOut(tmp_path)
    assert [step for step in range(12) if step in again] == [3, 4, 5, 9]
    updates = Updates(Divergence(skip_budget=0), [], left_out=again)
    assert (updates.limit(2), updates.limit(3)) == (math.inf, -1.0)
    updates.record(3, applied=False, norm=1.0)
    assert not updates.must_stop
    again.clear(delete=True)
    assert 3 not in LeftOut(tmp_path)


def test_a_damaged_list_of_steps_is_named(tmp_path: Path) -> None:
    (tmp_path / LEFT_OUT).write_text('{"steps": 3}')
    with pytest.raises(DatasetError, match=r"left-out-steps\.json is damaged: delete it"):
        LeftOut(tmp_path)


@pytest.mark.parametrize("values", [{"on_divergence": "retry"}, {"skip_budget": -1}, {"spike_factor": 1.0}])
def test_an_invalid_option_is_rejected_by_name(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        Divergence(**values)  # type: ignore[arg-type]
