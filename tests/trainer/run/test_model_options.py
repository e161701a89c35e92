from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError
from schemas.storage.location import located
from tests.support.training import bigram_model
from tests.trainer.run.test_checkpoint import DESCRIPTION
from trainer.model.llama.config import LlamaConfig, debug, small
from trainer.model.llama.rope_scaling import RopeScaling
from trainer.model.registry import FAMILIES
from trainer.run.checkpoint import Checkpoints
from trainer.run.model_options import ModelOptions, RopeScalingOptions
from trainer.run.retention import Retention


def _stored(run: Path, model: LlamaConfig, *, step: int = 1) -> Path:
    """Write a checkpoint with this configuration; its arrays do not matter."""
    arrays = {"x": np.zeros(1, np.float32)}
    with Checkpoints(run, keep=Retention(newest=2)) as checkpoints:
        description = dataclasses.replace(DESCRIPTION, model=model)
        checkpoints.save(step, params=arrays, optimizer=arrays, position={}, description=description)
    return run


def test_values_that_are_given_replace_those_of_the_recipe() -> None:
    options = ModelOptions(recipe="debug", layers=5, qkv_bias=True, rope_theta=1e4, chunk=64)
    expected = dataclasses.replace(debug(), layers=5, qkv_bias=True, rope_theta=1e4, chunk=64)
    assert options.configuration() == expected


def test_the_default_is_the_recipe_small(tmp_path: Path) -> None:
    assert ModelOptions().configuration(resumed=tmp_path / "none") == small()


def test_without_a_recipe_the_run_to_resume_or_else_to_start_from_decides(tmp_path: Path) -> None:
    ours, theirs = (dataclasses.replace(debug(), layers=n, norm_eps=1e-6) for n in (3, 4))
    out, source = tmp_path / "out", _stored(tmp_path / "source", theirs)
    assert ModelOptions().configuration(resumed=out, init_from=located(source)) == theirs
    _stored(out, ours)
    assert ModelOptions().configuration(resumed=out, init_from=located(source)) == ours
    assert ModelOptions().configuration(resumed=out, init_from=located(tmp_path / "gone")) == ours
    assert ModelOptions(rope_theta=5e7).configuration(resumed=out) == dataclasses.replace(ours, rope_theta=5e7)
    assert ModelOptions(recipe="debug").configuration(resumed=out, init_from=located(source)) == debug()


def test_a_damaged_checkpoint_does_not_decide_the_model(tmp_path: Path) -> None:
    for step in (1, 2):
        _stored(tmp_path, dataclasses.replace(debug(), layers=3), step=step)
    (tmp_path / "checkpoints" / "2" / "description" / "metadata").write_text("{")
    assert ModelOptions().configuration(resumed=tmp_path) == dataclasses.replace(debug(), layers=3)


def test_a_run_to_start_from_must_have_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the output of `longreel train`"):
        ModelOptions().configuration(init_from=located(tmp_path))


def test_unknown_recipes_and_sizes_that_do_not_fit_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="model must be one of debug, small, 10m, .* got 'huge'"):
        ModelOptions(recipe="huge")
    with pytest.raises(ConfigError, match="heads must be a multiple of kv_heads, got 3 and 2"):
        ModelOptions(recipe="debug", heads=3).configuration()
    monkeypatch.setitem(FAMILIES, "bigram", bigram_model.FAMILY)
    with pytest.raises(ConfigError, match="--model.kv-heads: models of the family bigram have no such value"):
        ModelOptions(recipe="bigram", kv_heads=2).configuration()


def _scaling(model: object) -> RopeScaling | None:
    assert isinstance(model, LlamaConfig)
    return model.rope_scaling


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "linear", "factor": 2.0},
        {"kind": "yarn", "factor": 4.0, "original_positions": 8192, "beta_fast": 16.0, "truncate": False},
        {"kind": "llama3", "factor": 8.0, "original_positions": 8192, "high_frequency_factor": 8.0},
        {"kind": "longrope", "factor": 4.0, "original_positions": 4096, "divisors": (1.0, 1.5, 2.0, 4.0)},
    ],
)
def test_rope_scaling_of_every_kind_is_an_option(values: dict[str, Any]) -> None:
    options = ModelOptions(recipe="debug", rope_scaling=RopeScalingOptions(**values))
    assert _scaling(options.configuration()) == RopeScaling(**values)


def test_the_scaling_of_the_model_to_start_from_is_changed_replaced_or_removed(tmp_path: Path) -> None:
    scaled = dataclasses.replace(debug(), rope_scaling=RopeScaling(kind="yarn", factor=2.0, original_positions=64))
    source = _stored(tmp_path / "source", scaled)

    def found(**values: Any) -> RopeScaling | None:
        return _scaling(
            ModelOptions(rope_scaling=RopeScalingOptions(**values)).configuration(init_from=located(source))
        )

    assert found() == scaled.rope_scaling
    assert found(factor=8.0) == RopeScaling(kind="yarn", factor=8.0, original_positions=64)
    assert found(kind="linear", factor=3.0) == RopeScaling(kind="linear", factor=3.0)
    assert found(kind="none") is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"factor": 2.0}, "rope_scaling needs a kind"),
        ({"kind": "yarn"}, "rope_scaling.kind yarn needs a factor"),
        ({"kind": "yarn", "factor": 2.0}, "original_positions must be at least 2 for yarn, got 0"),
        ({"kind": "dynamic", "factor": 2.0}, "dynamic is not supported"),
        ({"kind": "ntk", "factor": 2.0}, "must be one of linear, yarn, llama3, longrope, got 'ntk'"),
        ({"kind": "none", "factor": 2.0}, "takes no other values"),
        ({"kind": "longrope", "factor": 2.0, "original_positions": 8}, "must hold head_dim / 2 = 4 numbers, got 0"),
    ],
)
def test_a_scaling_that_is_incomplete_or_unknown_is_rejected(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelOptions(recipe="debug", rope_scaling=RopeScalingOptions(**values)).configuration()
