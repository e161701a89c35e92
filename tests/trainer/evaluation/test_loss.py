from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError, DatasetError, VocabularyMismatch
from schemas.runs.metrics import read_metrics
from schemas.storage.location import located
from tests.support.training.training_dataset import with_other_tokenizer, write_dataset
from trainer.config import MeshConfig
from trainer.evaluation.loss import LossConfig, measure_loss
from trainer.run.config import Cadence, TrainConfig
from trainer.run.loop import train
from trainer.run.model_options import ModelOptions
from trainer.run.optimizer import OptimizerConfig

pytestmark = pytest.mark.slow

S = 128


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("packed") / "set", context=S, train=10, val=5)


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    config = TrainConfig(
        dataset=(located(dataset),),
        out=out,
        steps=2,
        batch_size=4,
        model=ModelOptions(recipe="debug"),
        cadence=Cadence(eval_every=1, checkpoint_every=1),
        optimizer=OptimizerConfig(warmup_steps=0),
    )
    train(config)
    return out


@pytest.mark.parametrize("step", [1, 2])
def test_the_loss_of_a_checkpoint_is_that_of_the_training_run(run: Path, dataset: Path, step: int) -> None:
    config = LossConfig(model=located(run), dataset=(located(dataset),), batch_size=4, checkpoint_step=step)
    measured = measure_loss(config, MeshConfig())
    logged = next(r for r in read_metrics(run / "metrics.jsonl") if (r["kind"], r["step"]) == ("eval", step))
    names = ("loss", "text_loss", "vision_loss")
    assert [measured[name] for name in names] == pytest.approx([logged[name] for name in names], rel=1e-6)
    assert (measured["step"], measured["sequences"]) == (step, 5)
    assert measured["text_perplexity"] == pytest.approx(np.exp(measured["text_loss"]))


def test_the_loss_does_not_depend_on_mesh_layout_and_batch_size(run: Path, dataset: Path) -> None:
    expected = measure_loss(LossConfig(model=located(run), dataset=(located(dataset),)), MeshConfig())
    other = LossConfig(model=located(run), dataset=(located(dataset),), batch_size=2, layout="zigzag")
    measured = measure_loss(other, MeshConfig(data=2, sequence=4))
    assert [row["first"] for row in measured["by_position"]] == [0, 1, 2, 4, 8, 16, 32, 64][
        : len(expected["by_position"])
    ]
    for ours, theirs in ((measured, expected), *zip(measured["by_position"], expected["by_position"], strict=True)):
        numbers = {name: value for name, value in theirs.items() if name != "by_position"}
        assert {name: ours[name] for name in numbers} == pytest.approx(numbers, rel=1e-5, nan_ok=True)
    # The mean over all positions is that of the ranges.
    rows = measured["by_position"]
    mean = np.average([row["loss"] for row in rows], weights=[row["weight"] for row in rows])
    assert measured["loss"] == pytest.approx(mean)


def test_what_does_not_exist_is_an_error(run: Path, dataset: Path, tmp_path: Path) -> None:
    def measure(**changes: object) -> object:
        options = {"model": located(run), "dataset": (located(dataset),), **changes}
        return measure_loss(LossConfig(**options), MeshConfig())  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="no checkpoint of step 7; it has: 1, 2"):
        measure(checkpoint_step=7)
    with pytest.raises(DatasetError, match="no sequences in the split 'test'"):
        measure(split="test")
    with pytest.raises(ConfigError, match="not the output of `longreel train`"):
        measure(model=located(dataset))


def test_a_dataset_of_another_vocabulary_is_rejected(run: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "set", context=S, train=1, val=1, vocabulary=with_other_tokenizer())
    with pytest.raises(VocabularyMismatch):
        measure_loss(LossConfig(model=located(run), dataset=(located(other),)), MeshConfig())


@pytest.mark.parametrize("name", ["sequences", "batch_size", "devices"])
def test_a_number_below_one_is_rejected(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
        LossConfig(**{"model": located(Path("run")), "dataset": (), name: 0})  # type: ignore[arg-type]
