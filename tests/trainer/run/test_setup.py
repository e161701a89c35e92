from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError
from schemas.storage.location import located
from tests.support.training import bigram_model
from tests.support.training.training_dataset import VOCABULARY, write_dataset
from trainer.config import MeshConfig
from trainer.model.llama.config import debug
from trainer.model.llama.costs import flops_per_token
from trainer.model.registry import FAMILIES
from trainer.run.config import Cadence, Memory, TrainConfig
from trainer.run.model_options import ModelOptions
from trainer.run.setup import Setup
from trainer.run.tracking import Tracking

S = 128


@pytest.fixture(autouse=True)
def bigram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "bigram", bigram_model.FAMILY)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "set", context=S, train=10, val=3)


def _config(dataset: Path, **changes: Any) -> TrainConfig:
    config = TrainConfig(
        dataset=(located(dataset),),
        out=dataset.parent / "run",
        model=ModelOptions(recipe="bigram"),
        steps=5,
        batch_size=4,
    )
    return dataclasses.replace(config, **changes)


def test_a_setup_describes_the_model_and_the_data_and_writes_nothing(dataset: Path) -> None:
    setup = Setup.of(_config(dataset, memory=Memory(accumulate=2)))
    assert setup.description.vocabulary == VOCABULARY
    assert setup.description.context_length == S
    assert setup.description.dataset_fingerprint == setup.split.fingerprint
    assert setup.epochs(5) == {"epoch": 2.0}
    assert setup.placement.shape == (4, S)
    assert setup.held_out_placement.shape == (2, S)  # one micro-batch
    assert not (dataset.parent / "run").exists()


def test_the_held_out_split_is_opened_only_if_the_run_evaluates(dataset: Path) -> None:
    held_out = Setup.of(_config(dataset)).held_out
    assert held_out is not None
    assert len(held_out) == 3
    assert Setup.of(_config(dataset, cadence=Cadence(eval_every=0))).held_out is None


def test_a_context_longer_than_the_model_supports_is_rejected(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = dataclasses.replace(
        bigram_model.FAMILY, recipes={"bigram": lambda: bigram_model.BigramConfig(max_positions=64)}
    )
    monkeypatch.setitem(FAMILIES, "bigram", short)
    with pytest.raises(ConfigError, match="context of 128 tokens is longer than the model's max_positions 64"):
        Setup.of(_config(dataset))


def test_init_from_must_be_the_output_of_a_run(dataset: Path) -> None:
    Setup.of(_config(dataset)).check_init_from()
    with pytest.raises(ConfigError, match="not the output of `longreel train`"):
        Setup.of(_config(dataset, init_from=located(dataset))).check_init_from()


def test_the_stored_configuration_names_model_vocabulary_data_and_mesh(dataset: Path, tmp_path: Path) -> None:
    setup = Setup.of(_config(dataset, mesh=MeshConfig(data=2)))
    setup.write_config(tmp_path / "config.json")
    facts = json.loads((tmp_path / "config.json").read_text())
    assert facts["config"]["steps"] == 5
    assert facts["model"]["family"] == "bigram"
    assert facts["parameters"] == setup.parameters == 8 * 2 * VOCABULARY.size
    assert facts["vocabulary"] == VOCABULARY.to_dict()
    assert facts["dataset_fingerprint"] == setup.split.fingerprint
    assert facts["mesh"] == {"data": 2, "fsdp": 1, "tensor": 1, "sequence": 4}


def test_a_run_without_a_number_of_steps_gets_one_that_fits_the_data(dataset: Path) -> None:
    assert Setup.of(_config(dataset, steps=0)).config.steps == 50
    assert Setup.of(_config(dataset, steps=7)).config.steps == 7


def test_the_time_is_expected_from_the_operations_of_the_steps_that_are_left(dataset: Path) -> None:
    assert Setup.of(_config(dataset)).expected_seconds(0) is None  # the family has no costs
    options = ModelOptions(recipe="debug")
    setup = Setup.of(_config(dataset, steps=10, model=options, tracking=Tracking(peak_flops=1e9)))
    sizes = {"text_size": VOCABULARY.text_size, "vision_size": VOCABULARY.vision_size}
    flops = flops_per_token(debug(), **sizes, mean_span=(setup.split.mean_document + 1) / 2)
    assert setup.expected_seconds(4) == pytest.approx(6 * 4 * S * flops / (0.4 * 8 * 1e9))


def test_the_summary_names_mesh_and_batch(dataset: Path) -> None:
    made = str(Setup.of(_config(dataset, memory=Memory(accumulate=2))))
    assert "sequence 8" in made
    assert "4 sequences of 128 tokens" in made
    assert "2 micro-batches" in made
    assert "2 epochs in 5 steps" in made
