"""The figures of training runs, and what differs between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.training_runs import (
    different_options,
    is_run,
    losses_by_step,
    read_run,
    summarize_run,
)
from schemas.errors import ConfigError, DatasetError
from schemas.runs.metrics import METRICS
from tests.support.training.written_runs import write_run


def train_row(step: int, loss: float | None, **more: Any) -> dict[str, Any]:
    speed = {"useful_tokens": 100, "tokens_per_s": 50.0 + step, "step_s": 2.0, "compile_s": 6.0 if step == 1 else 0.0}
    return {"kind": "train", "step": step, "loss": loss, **speed, **more}


def eval_row(step: int, loss: float | None) -> dict[str, Any]:
    return {"kind": "eval", "step": step, "loss": loss}


ROWS = [eval_row(0, 9.0), *(train_row(n, 10.0 - n / 10) for n in range(1, 41)), eval_row(20, 7.0), eval_row(40, 7.5)]


def test_the_figures_are_those_of_the_rows() -> None:
    run = summarize_run("a", ROWS)
    assert (run.steps, run.tokens, run.eval_loss, run.best_eval_loss, run.best_step) == (40, 4000, 7.5, 7.0, 20)
    assert run.train_loss == pytest.approx(10 - (37 + 38 + 39 + 40) / 40)
    assert run.tokens_per_s == pytest.approx(70.5)
    assert run.hours == pytest.approx((40 * 2 + 6) / 3600)


def test_a_run_without_evaluations_or_losses_has_none() -> None:
    run = summarize_run("a", [train_row(1, None)])
    assert (run.train_loss, run.eval_loss, run.best_step) == (None, None, None)
    assert summarize_run("a", [eval_row(0, None)]).best_eval_loss is None


def test_losses_are_those_of_evaluations_where_all_runs_have_some() -> None:
    other = [eval_row(0, 9.5), eval_row(30, 8.0)]
    assert losses_by_step([ROWS, other]) == [(0, [9.0, 9.5]), (20, [7.0, None]), (30, [None, 8.0]), (40, [7.5, None])]


def test_losses_are_else_means_of_the_steps_between_the_rows_of_the_table() -> None:
    other = [train_row(n, 5.0) for n in range(1, 7)]
    found = losses_by_step([ROWS, other])
    assert (len(found), found[-1][0]) == (12, 40)
    assert found[0] == (3, [pytest.approx((9.9 + 9.8 + 9.7) / 3), 5.0])
    assert found[-1][1][1] is None
    assert losses_by_step([[train_row(2, None)], []]) == [(2, [None, None])]


def test_different_options_are_those_of_the_newest_start(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a", ROWS, {"out": "a", "steps": 5, "seed": 0, "model": {"dim": 8, "layers": 2}})
    other = write_run(tmp_path / "b", ROWS, {"out": "b", "steps": 6, "seed": 0, "model": {"dim": 16, "layers": 2}})
    assert different_options([one, other]) == [("model.dim", ["8", "16"])]
    assert different_options([one, write_run(tmp_path / "c", ROWS)])[0] == ("model.dim", ["8", ""])
    (one / "config-from-12.json").write_text("[]")
    with pytest.raises(DatasetError, match="damaged"):
        different_options([one, other])


def test_a_folder_without_metrics_is_no_run(tmp_path: Path) -> None:
    assert not is_run(tmp_path)
    with pytest.raises(ConfigError, match=METRICS):
        read_run(tmp_path)
    assert is_run(write_run(tmp_path / "a", ROWS))
    assert len(read_run(tmp_path / "a")) == len(ROWS)
