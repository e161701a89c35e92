from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.curriculum.estimate import Estimate, Hardware, estimates
from pipeline.cli.curriculum.stages import training_stages
from pipeline.packing.curriculum import read_curriculum_file
from schemas.errors import ConfigError
from schemas.storage.location import located
from tests.support.curricula import write_curriculum
from tests.support.training.training_dataset import write_dataset
from trainer.config import MeshConfig
from trainer.mesh import mesh_sizes
from trainer.planning.plan import TrainingPlan, Workload


def estimated(source: str | Path, folder: Path, *, devices: int | None = None) -> list[Estimate]:
    found = training_stages(read_curriculum_file(source), packed=located(folder), out=folder / "out")
    return list(estimates(found, Hardware(devices=devices, flops_per_s=1e12, utilization=0.5), vocabulary=None))


@pytest.mark.slow
def test_the_stages_of_the_paper_have_its_tokens_and_the_plan_of_each(tmp_path: Path) -> None:
    rows = estimated("lwm-paper", tmp_path, devices=256)
    assert [row.parameters for row in rows] == [rows[0].parameters] * 10
    assert sum(row.tokens for row in rows[:5]) == pytest.approx(35e9, rel=0.01)
    last = rows[-1]
    work = Workload(context=1 << 20, batch_size=8, text_size=32_000, vision_size=8_194)
    mesh = mesh_sizes(MeshConfig(data=1, fsdp=-1, tensor=16, sequence=4), devices=256)
    plan = TrainingPlan.of(last.stage.config.model_config(), mesh, work, last.stage.config.optimizer)
    assert last.device_bytes == plan.memory.total
    assert last.seconds == pytest.approx(50 * plan.flops / (256 * 1e12 * 0.5))


def test_a_stage_has_the_model_of_the_one_before_with_its_own_changes(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("""
    [[stage]]
    context = 64
    train = {model = {recipe = "debug", layers = 1}}
    [[stage]]
    context = 128
    train = {model = {rope-theta = 1e6}}
    """)
    first, second = estimated(path, tmp_path)
    assert second.parameters == first.parameters


def test_epochs_are_counted_where_the_dataset_is_packed(tmp_path: Path) -> None:
    path = write_curriculum(tmp_path / "c.toml", steps=6)
    write_dataset(tmp_path / "64", context=64, train=4, val=2)
    packed, missing = estimated(path, tmp_path)
    assert (packed.sequences, packed.epochs) == (4, 6 * 2 / 4)
    assert (missing.sequences, missing.epochs) == (None, None)


@pytest.mark.slow
def test_a_mesh_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="devices"):
        estimated("lwm-paper", tmp_path, devices=6)
