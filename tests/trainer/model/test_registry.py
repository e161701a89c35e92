from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from schemas.errors import ConfigError
from tests.support.training import bigram_model
from tests.support.training.training_dataset import VOCABULARY, write_dataset
from trainer.config import MeshConfig
from trainer.inference.engine import Engine
from trainer.inference.requests import FrameLimits, Request
from trainer.mesh import make_mesh
from trainer.model.grammar import DocumentGrammar
from trainer.model.llama.config import LlamaConfig, debug, lwm_7b, small
from trainer.model.registry import (
    FAMILIES,
    config_from_dict,
    config_to_dict,
    create,
    family_of,
    parameter_count,
    recipe,
)
from trainer.run.config import Cadence, TrainConfig
from trainer.run.loop import train
from trainer.run.model_options import ModelOptions
from trainer.run.optimizer import OptimizerConfig
from trainer.run.state import load_model

pytestmark = pytest.mark.slow


@pytest.fixture
def bigram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "bigram", bigram_model.FAMILY)


def _config(tmp_path: Path, *, steps: int, model: str = "bigram") -> TrainConfig:
    return TrainConfig(
        dataset=(tmp_path / "set",),
        out=tmp_path / "run",
        model=ModelOptions(recipe=model),
        steps=steps,
        batch_size=4,
        cadence=Cadence(eval_every=2),
        optimizer=OptimizerConfig(learning_rate=0.3, warmup_steps=0, schedule="constant"),
    )


@pytest.mark.usefixtures("bigram")
def test_a_new_family_trains_resumes_and_generates(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", context=128, train=8, val=2)
    train(_config(tmp_path, steps=1))
    result = train(_config(tmp_path, steps=2))
    assert result.step == 2
    assert result.first_eval_loss is not None
    assert result.eval_loss is not None
    assert result.eval_loss < result.first_eval_loss
    facts = json.loads((tmp_path / "run" / "config-from-1.json").read_text())
    assert facts["model"]["family"] == "bigram"
    assert facts["parameters"] == 2 * 8 * VOCABULARY.size

    model, description = load_model(tmp_path / "run", mesh=make_mesh(MeshConfig(), devices=jax.devices()[:1]))
    assert description.model == recipe("bigram")
    grammar = DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=4)
    prompt = [VOCABULARY.bos_id, *VOCABULARY.begin_vision]
    request = Request(prompt=prompt, max_tokens=5, frames=FrameLimits(least=1, most=1))
    ids = np.asarray(Engine(model, grammar=grammar).generate([request])[0].ids)
    assert np.all((ids[:4] >= VOCABULARY.text_size) & (ids[:4] < VOCABULARY.eof))
    assert ids[4] == VOCABULARY.eov


@pytest.mark.usefixtures("bigram")
def test_a_checkpoint_of_another_family_is_rejected(tmp_path: Path) -> None:
    write_dataset(tmp_path / "set", context=128, train=8, val=2)
    train(_config(tmp_path, steps=1))
    with pytest.raises(ConfigError, match="another model family: it has bigram, this run llama"):
        train(_config(tmp_path, steps=2, model="debug"))


def test_recipes_are_found_by_name() -> None:
    assert recipe("small") == small()
    with pytest.raises(
        ConfigError, match="model must be one of debug, small, 10m, 30m, 100m, 1b, 7b, lwm_7b, got 'huge'"
    ):
        recipe("huge")


def test_a_configuration_survives_json() -> None:
    stored = json.loads(json.dumps(config_to_dict(lwm_7b())))
    assert stored["family"] == "llama"
    assert config_from_dict(stored) == lwm_7b()
    assert isinstance(config_from_dict(stored), LlamaConfig)


def test_a_configuration_that_an_earlier_version_stored_is_read_as_that_version_computed_it() -> None:
    newer = ("norm_eps", "tied_heads", "qkv_bias", "output_bias", "qk_norm", "rope_scaling")
    stored = {name: value for name, value in config_to_dict(debug()).items() if name not in newer}
    config = config_from_dict(stored)
    assert isinstance(config, LlamaConfig)
    assert config == debug()
    assert config.norm_eps == 1e-5  # a constant then, also for lwm_7b


def test_a_family_that_is_not_registered_is_rejected() -> None:
    with pytest.raises(ConfigError, match="BigramConfig belongs to no registered model family"):
        family_of(bigram_model.BigramConfig())


def test_parameters_are_counted() -> None:
    sizes = {"text_size": VOCABULARY.text_size, "vision_size": VOCABULARY.vision_size}
    mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    real = sum(x.size for x in jax.tree.leaves(nnx.state(create(debug(), **sizes, mesh=mesh, seed=7))))
    assert parameter_count(debug(), **sizes) == real
    seven = parameter_count(lwm_7b(), text_size=32000, vision_size=0)
    assert seven == 6_738_415_616  # LLaMA-2-7B as published
