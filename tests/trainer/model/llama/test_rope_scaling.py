from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError
from trainer.model.llama.config import debug
from trainer.model.llama.rope_scaling import RopeScaling, frequencies
from trainer.model.registry import config_from_dict, config_to_dict

HEAD_DIM, THETA = 128, 5e5
PLAIN = frequencies(head_dim=HEAD_DIM, theta=THETA, scaling=None)


def _scaled(**fields: Any) -> np.ndarray:
    return frequencies(head_dim=HEAD_DIM, theta=THETA, scaling=RopeScaling(**fields))


def test_linear_divides_all_frequencies() -> None:
    np.testing.assert_array_equal(_scaled(kind="linear", factor=4.0), PLAIN / 4)


def test_longrope_divides_each_frequency_by_its_own_number() -> None:
    divisors = tuple(np.linspace(1.0, 30.0, HEAD_DIM // 2).tolist())
    made = _scaled(kind="longrope", factor=32.0, original_positions=4096, divisors=divisors)
    np.testing.assert_array_equal(made, PLAIN / divisors)


@pytest.mark.parametrize(
    ("fields", "slow", "fast"),
    [
        ({"kind": "llama3", "factor": 8.0, "original_positions": 8192}, 1.0, 4.0),
        ({"kind": "yarn", "factor": 8.0, "original_positions": 8192, "truncate": False}, 1.0, 32.0),
    ],
)
def test_llama3_and_yarn_keep_fast_frequencies_and_divide_slow_ones(
    fields: dict[str, Any], slow: float, fast: float
) -> None:
    made, turns = _scaled(**fields), 8192 * PLAIN / (2 * math.pi)
    np.testing.assert_allclose(made[turns >= fast], PLAIN[turns >= fast], rtol=1e-12)
    np.testing.assert_allclose(made[turns <= slow], PLAIN[turns <= slow] / 8, rtol=1e-12)
    between = (turns > slow) & (turns < fast)
    assert between.sum() > 3
    assert np.all((made < PLAIN)[between] & (made > PLAIN / 8)[between])


def test_llama3_blends_in_proportion_to_the_turns_in_the_pretraining_context() -> None:
    made = _scaled(kind="llama3", factor=8.0, original_positions=8192)
    turns = 8192 * PLAIN[30] / (2 * math.pi)
    assert 1 < turns < 4
    share = (turns - 1) / 3
    assert made[30] == pytest.approx(share * PLAIN[30] + (1 - share) * PLAIN[30] / 8)


@pytest.mark.parametrize(
    ("fields", "amplitude"),
    [
        ({"kind": "linear", "factor": 4.0}, 1.0),
        ({"kind": "llama3", "factor": 8.0, "original_positions": 8192}, 1.0),
        ({"kind": "yarn", "factor": 4.0, "original_positions": 8192}, 0.1 * math.log(4) + 1),
        ({"kind": "yarn", "factor": 4.0, "original_positions": 8192, "attention_factor": 0.75}, 0.75),
        (
            {"kind": "longrope", "factor": 32.0, "original_positions": 4096},
            math.sqrt(1 + math.log(32) / math.log(4096)),
        ),
        ({"kind": "longrope", "factor": 1.0, "original_positions": 4096}, 1.0),
    ],
)
def test_cosines_and_sines_have_the_recommended_amplitude(fields: dict[str, Any], amplitude: float) -> None:
    assert RopeScaling(**fields).amplitude == pytest.approx(amplitude)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "dynamic", "factor": 2.0}, "dynamic is not supported: its frequencies depend on the length"),
        ({"kind": "su", "factor": 2.0}, "kind must be one of linear, yarn, llama3, longrope, got 'su'"),
        ({"kind": "linear", "factor": 0.0}, "factor must be a positive number, got 0.0"),
        ({"kind": "yarn", "factor": 2.0}, "original_positions must be at least 2 for yarn, got 0"),
        ({"kind": "llama3", "factor": 2.0, "original_positions": 8, "low_frequency_factor": 4.0}, "got 4.0"),
        ({"kind": "yarn", "factor": 2.0, "original_positions": 8, "beta_slow": 64.0}, "beta_slow must .* got 64.0"),
    ],
)
def test_an_invalid_scaling_is_rejected_with_the_reason(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RopeScaling(**fields)


@pytest.mark.parametrize(("divisors", "message"), [((1.0,), "head_dim / 2 = 4"), ((1.0, 2.0, 0.0, 1.0), "got 0.0")])
def test_longrope_needs_one_positive_divisor_per_frequency(divisors: tuple[float, ...], message: str) -> None:
    scaling = RopeScaling(kind="longrope", factor=2.0, original_positions=64, divisors=divisors)
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(debug(), rope_scaling=scaling)


def test_a_configuration_with_scaling_survives_json_and_can_be_a_key() -> None:
    scaling = RopeScaling(kind="longrope", factor=2.0, original_positions=64, divisors=(1.0, 2.0, 3.0, 4.0))
    config = dataclasses.replace(debug(), rope_scaling=scaling)
    read = config_from_dict(json.loads(json.dumps(config_to_dict(config))))
    assert read == config
    assert hash(read) == hash(config)


def test_a_field_of_another_type_is_rejected() -> None:
    with pytest.raises(TypeError, match="factor = 'two'"):
        RopeScaling.from_dict({"kind": "linear", "factor": "two"})
