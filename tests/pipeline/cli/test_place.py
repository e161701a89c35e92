"""The options that all jobs share."""

from __future__ import annotations

from typing import Literal

import pytest

from pipeline.cli.place import Place
from pipeline.runtime.cores import default_workers
from pipeline.runtime.engines.dask import DaskEngine
from pipeline.runtime.engines.dataflow import DataflowEngine
from pipeline.runtime.engines.engine import Engine
from pipeline.runtime.engines.local import LocalEngine
from pipeline.runtime.engines.other import OtherEngine
from schemas.errors import ConfigError, UsageError
from schemas.storage.location import Location

OUT = Location.parse("/out")


def test_the_runner_has_the_workers_and_the_options_for_beam() -> None:
    runner = Place(out=OUT, workers=3).runner(("--direct_running_mode=in_memory",))
    assert (runner.workers, tuple(runner.options)) == (3, ("--direct_running_mode=in_memory",))


def test_the_local_engine_has_a_worker_per_core_by_default() -> None:
    assert Place(out=OUT).runner(()).workers == default_workers()
    assert Place(out=OUT, engine="dask").runner(()).workers == 1


def test_no_worker_is_an_error() -> None:
    with pytest.raises(ConfigError, match="workers"):
        Place(out=OUT, workers=0).runner(())


def test_each_engine_can_be_selected() -> None:
    engines: dict[Literal["local", "dask", "dataflow", "beam"], type[Engine]] = {
        "local": LocalEngine,
        "dask": DaskEngine,
        "dataflow": DataflowEngine,
        "beam": OtherEngine,
    }
    for name, engine in engines.items():
        assert type(Place(out=OUT, engine=name).runner(()).engine) is engine


def test_a_scheduler_without_dask_is_an_error() -> None:
    with pytest.raises(UsageError, match="--scheduler is an option of --engine dask, got --engine local"):
        Place(out=OUT, scheduler="tcp://host:8786").runner(())
