"""Options of Dataflow: what is missing is named, and what a job asks for is in its description."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime.engines.dataflow import DataflowConfig, DataflowEngine
from pipeline.runtime.job_log import JobLog
from schemas.errors import ConfigError
from schemas.storage.location import Location

CONFIG = DataflowConfig(project="p", region="us-central1", image="example.invalid/longreel:1", temp_location="gs://b/t")


def test_required_options_that_are_missing_are_named() -> None:
    with pytest.raises(ConfigError, match=r"needs --dataflow.region, --dataflow.image, --dataflow.temp-location$"):
        DataflowConfig(project="p").flags()


def test_options_become_those_of_beam() -> None:
    flags = CONFIG.flags()
    assert {"--project=p", "--sdk_container_image=example.invalid/longreel:1", "--staging_location=gs://b/t"} <= {
        *flags
    }
    assert not [flag for flag in flags if "None" in flag or "template" in flag]


@pytest.mark.parametrize(
    ("accelerator", "expected"), [(None, {}), ("type:t4;count:1", {"accelerator": "type:t4;count:1"})]
)
def test_the_step_that_encodes_asks_for_memory_and_an_accelerator(
    accelerator: str | None, expected: dict[str, str]
) -> None:
    config = DataflowConfig(memory_gb=16, accelerator=accelerator)
    assert DataflowEngine(config).hints() == {"min_ram": "16GB"} | expected


def test_a_local_workspace_or_input_is_an_error(tmp_path: Path) -> None:
    engine = DataflowEngine(CONFIG)
    local, remote = JobLog(Location.parse(tmp_path / "out/logs"), "survey", "r"), Location.parse("gs://bucket/out/logs")
    with (
        pytest.raises(ConfigError, match=f"Dataflow's workers cannot reach {tmp_path}/out: copy inputs to a bucket"),
        engine.pipeline(local, workers=1, options=(), reads=()),
    ):
        pass
    with (
        pytest.raises(ConfigError, match=r"cannot reach /v/a.mp4: "),
        engine.pipeline(JobLog(remote, "survey", "r"), workers=1, options=(), reads=("/v/a.mp4",)),
    ):
        pass
