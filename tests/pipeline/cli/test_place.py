"""The options that all jobs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.place import Place
from schemas.errors import ConfigError


def test_the_runner_has_the_workers_and_the_options_for_beam() -> None:
    runner = Place(out=Path("out"), workers=3).runner(("--direct_running_mode=in_memory",))
    assert (runner.workers, tuple(runner.options)) == (3, ("--direct_running_mode=in_memory",))


def test_no_worker_is_an_error() -> None:
    with pytest.raises(ConfigError, match="workers"):
        Place(out=Path("out"), workers=0).runner(())
