from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from schemas.errors import ConfigError
from trainer.model.llama.config import RECIPES, debug
from trainer.model.registry import parameter_count


@pytest.mark.parametrize(
    ("name", "in_layers"),
    [("10m", 9.4e6), ("30m", 29.5e6), ("100m", 100.7e6), ("1b", 0.97e9), ("7b", 6.98e9), ("lwm_7b", 6.48e9)],
)
def test_a_recipe_has_the_parameters_that_it_is_named_after(name: str, in_layers: float) -> None:
    config = RECIPES[name]()
    count = parameter_count(config, text_size=1, vision_size=0) - 2 * config.dim
    assert count == pytest.approx(in_layers, rel=0.01)


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 0},
        {"heads": 3},
        {"head_dim": 7},
        {"rope_theta": 1.0},
        {"norm_eps": 0.0},
        {"dtype": "float16"},
        {"softmax": "hard"},
        {"tile": 0},
        {"chunk": -1},
    ],
)
def test_an_invalid_shape_is_rejected_with_the_name_of_the_field(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        dataclasses.replace(debug(), **change)


def test_a_mesh_that_does_not_divide_the_heads_is_rejected() -> None:
    debug().require_mesh({"data": 1, "fsdp": 1, "tensor": 2, "sequence": 4})
    with pytest.raises(ConfigError, match="tensor = 4 does not divide the model's kv_heads = 2"):
        debug().require_mesh({"data": 1, "fsdp": 1, "tensor": 4, "sequence": 1})
