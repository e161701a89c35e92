"""The loss curves and the generated pictures of the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.reports.training import HEIGHT, LEFT, RIGHT, TOP, WIDTH, picture_uri, read_training
from schemas.errors import ConfigError
from schemas.runs.metrics import MetricsLog
from tests.support.training.written_runs import falling_losses, write_run


def test_curves_span_the_plot_and_many_steps_are_averaged(tmp_path: Path) -> None:
    run = read_training(write_run(tmp_path / "run", falling_losses(700)))
    train, evaluated = run.curves
    assert (run.name, run.steps) == ("run", 700)
    assert evaluated.points.split() == [f"{LEFT},{TOP}", f"{WIDTH - RIGHT},{HEIGHT - 28.0}"]
    assert (train.last, evaluated.last) == ("3.009", "3.000")
    assert 200 < len(train.points.split()) <= 300
    assert [text for _, text in run.x_ticks] == ["0", "175", "350", "525", "700"]
    assert [text for _, text in run.y_ticks] == ["3.00", "6.00", "9.00"]


def test_a_run_without_losses_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no losses"):
        read_training(tmp_path)


def test_a_constant_loss_is_a_line(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=-1) as log:
        log.write("train", 1, {"loss": 2.0})
    (curve,) = read_training(tmp_path).curves
    assert curve.points.startswith(f"{WIDTH - RIGHT},")


def test_only_pictures_of_a_bounded_size_are_shown(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert picture_uri(tmp_path / "a.png").startswith("data:image/png;base64,")
    (tmp_path / "b.png").write_bytes(bytes(4_000_001))
    with pytest.raises(ConfigError, match="more than"):
        picture_uri(tmp_path / "b.png")
    with pytest.raises(ConfigError, match="is no picture"):
        picture_uri(tmp_path / "a.html")
