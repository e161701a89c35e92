from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from schemas.errors import ConfigError
from trainer.model.llama.config import debug, flops_per_token, small
from trainer.model.registry import parameter_count


def test_flops_are_six_per_weight_plus_those_of_attention() -> None:
    config, span = small(), 500.5
    counted = flops_per_token(config, text_size=1000, vision_size=200, mean_span=span)
    products = parameter_count(config, text_size=1000, vision_size=200)
    products -= 128 * 1200 + 128 * (2 * config.layers + 1)  # a lookup and the norms multiply nothing
    assert counted == pytest.approx(6 * products + 12 * config.layers * 128 * span)


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 0},
        {"heads": 3},
        {"head_dim": 7},
        {"rope_theta": 1.0},
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
