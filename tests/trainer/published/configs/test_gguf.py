from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.published.models import plain, tiny
from trainer.model.llama.rope_scaling import RopeScaling
from trainer.published.configs.gguf import frequency_divisors, read_metadata, write_metadata
from trainer.published.files.tensor import Tensor

_METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.embedding_length": 16,
    "llama.block_count": 2,
    "llama.feed_forward_length": 24,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": float(np.float32(1e-5)),
    "llama.rope.freq_base": 5e5,
    "llama.context_length": 131072,
}


def tensors(*names: str) -> dict[str, Tensor]:
    values = np.array([1.0, 8.0], np.float32)
    return {name: Tensor((2,), "F32", lambda start, stop: values[start:stop]) for name in names}


def read(*names: str, **changes: Any) -> Any:
    given = {f"llama.{name.replace('__', '.')}": value for name, value in changes.items()}
    return read_metadata(_METADATA | given, tensors(*names))


def test_sizes_come_from_the_metadata_and_options_from_the_tensors() -> None:
    found = read("output.weight")
    assert (found.dim, found.layers, found.heads, found.kv_heads, found.head_dim, found.ff_dim) == (16, 2, 4, 2, 4, 24)
    assert (found.norm_eps, found.rope_theta, found.max_positions, found.tied_heads) == (1e-5, 5e5, 131072, False)
    tied = read("blk.0.attn_q.bias", "blk.0.attn_output.bias", "blk.0.attn_q_norm.weight")
    assert (tied.tied_heads, tied.qkv_bias, tied.output_bias, tied.qk_norm) == (True, True, True, True)


def test_scaling_comes_from_the_metadata_or_from_the_tensor_of_divisors() -> None:
    assert read(rope__scaling__type="none").rope_scaling is None
    assert read(rope__scaling__type="linear", rope__scaling__factor=2.0).rope_scaling.factor == 2.0
    yarn = {"rope__scaling__factor": 4.0, "rope__scaling__original_context_length": 32768}
    found = read(rope__scaling__type="yarn", **yarn).rope_scaling
    assert (found.original_positions, round(found.amplitude, 4)) == (32768, 1.1386)
    listed = read("rope_freqs.weight").rope_scaling
    assert (listed.kind, listed.divisors, listed.amplitude) == ("longrope", (1.0, 8.0), 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"expert_count": 8}, "expert_count is 8, which is not supported"),
        ({"attention__sliding_window": 4096}, "sliding_window is 4096, which is not supported"),
        ({"attention__head_count": [4, 2]}, "head_count must be a positive integer, got a list"),
        ({"rope__dimension_count": 2}, "rope.dimension_count must be the size of a head, 4, got 2"),
        ({"attention__value_length": 8}, "value_length must be that of keys, 4, got 8"),
        (
            {"attention__key_length": 8, "attention__value_length": 8, "rope__scaling__type": "su"},
            "must be none, linear",
        ),
        ({"block_count": None}, "block_count is missing"),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(**changes)


def test_another_architecture_and_divisors_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="the architecture 'mamba' is not supported"):
        read_metadata({"general.architecture": "mamba"}, {})
    with pytest.raises(ConfigError, match=r"must have the shape \(4,\), got \(2,\)"):
        read("rope_freqs.weight", attention__key_length=8, attention__value_length=8)


_LONG: dict[str, Any] = {"factor": 4.0, "original_positions": 32}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rope_scaling": RopeScaling(kind="linear", factor=2.0)},
        {
            "rope_scaling": RopeScaling(kind="yarn", attention_factor=2 * (0.1 * math.log(4) + 1), **_LONG),
            "norm_eps": 1e-6,
        },
    ],
)
def test_written_metadata_is_read_again(options: dict[str, Any]) -> None:
    config = tiny(**options)
    values = write_metadata(config, vocab_size=99)
    assert values["llama.vocab_size"] == 99
    assert frequency_divisors(config) is None
    stored = {key: float(np.float32(value)) if type(value) is float else value for key, value in values.items()}
    assert plain(read_metadata(stored, tensors("output.weight"))) == plain(config)


def test_scalings_without_a_name_become_divisors_with_the_same_factor_on_cosines() -> None:
    scaling = RopeScaling(kind="longrope", divisors=(1.0, 8.0), **_LONG)
    config = tiny(rope_scaling=scaling)
    divisors = frequency_divisors(config)
    assert divisors is not None
    assert divisors.tolist() == [1.0, 8.0]
    found = read_metadata(write_metadata(config, vocab_size=9), tensors("rope_freqs.weight")).rope_scaling
    assert found is not None
    assert (found.divisors, found.amplitude) == ((1.0, 8.0), pytest.approx(scaling.amplitude, rel=1e-6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qk_norm": True, "qkv_bias": True, "output_bias": True}, "qwen3 has no biases"),
        (
            {"qk_norm": True, "rope_scaling": RopeScaling(kind="llama3", **_LONG)},
            "qwen3 has no rope_scaling",
        ),
        ({"rope_scaling": RopeScaling(kind="yarn", truncate=False, **_LONG)}, "no truncate = false"),
        ({"qk_norm": True, "qkv_bias": True}, "cannot be exported"),
    ],
)
def test_models_that_llama_cpp_does_not_have_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_metadata(tiny(**options), vocab_size=9)
