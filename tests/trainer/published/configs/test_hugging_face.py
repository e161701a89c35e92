from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import ConfigError
from tests.support.published.models import hf_config, tiny
from trainer.model.llama.rope_scaling import RopeScaling
from trainer.published.configs.hugging_face import read_config, write_config

_LONG = {"factor": 8.0, "original_max_position_embeddings": 8192}
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, **_LONG}
_LISTS = {"short_factor": [1.0, 2.0], "long_factor": [1.0, 2.0], **_LONG}


def read(**changes: Any) -> Any:
    return read_config(hf_config(tiny(), **changes))


def test_version_4_and_version_5_describe_the_same_rotary_embedding() -> None:
    expected = RopeScaling(kind="llama3", factor=8.0, original_positions=8192)
    four = read(rope_theta=5e5, rope_scaling={"rope_type": "llama3", **_LLAMA3})
    old = read(rope_theta=5e5, rope_scaling={"type": "llama3", **_LLAMA3})
    values = hf_config(tiny(), rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, **_LLAMA3})
    del values["rope_theta"]
    five = read_config(values)
    for found in (four, old, five):
        assert (found.rope_theta, found.rope_scaling) == (5e5, expected)
    by_layer = {"full_attention": {"rope_type": "default", "rope_theta": 7e5}}
    assert read(rope_parameters=by_layer).rope_theta == 7e5
    assert read(rope_scaling=None).rope_scaling is None
    assert read(rope_parameters={"rope_type": "default", "rope_theta": 3e5}).rope_theta == 3e5


def test_every_kind_of_scaling_is_read() -> None:
    assert read(rope_scaling={"type": "linear", "factor": 2}).rope_scaling == RopeScaling(kind="linear", factor=2.0)
    yarn = read(rope_scaling={"type": "yarn", "factor": 4.0}).rope_scaling
    assert (yarn.kind, yarn.original_positions, yarn.attention_factor) == ("yarn", 64, None)
    scaled = read(rope_scaling={"type": "yarn", "mscale": 1.0, "mscale_all_dim": 1.0, **_LONG}).rope_scaling
    assert scaled.attention_factor == 1.0
    assert read(rope_scaling={"type": "longrope", **_LISTS}).rope_scaling.divisors == (1.0, 2.0)


@pytest.mark.parametrize(
    ("architecture", "changes", "expected"),
    [
        ("LlamaForCausalLM", {}, (False, False, False)),
        ("LlamaForCausalLM", {"attention_bias": True}, (True, True, False)),
        ("MistralForCausalLM", {"sliding_window": None}, (False, False, False)),
        ("Qwen2ForCausalLM", {}, (True, False, False)),
        ("Qwen2ForCausalLM", {"sliding_window": 4096, "use_sliding_window": False}, (True, False, False)),
        ("Qwen3ForCausalLM", {}, (False, False, True)),
    ],
)
def test_what_an_architecture_has(architecture: str, changes: dict[str, Any], expected: tuple[bool, ...]) -> None:
    found = read(architectures=[architecture], **changes)
    assert (found.qkv_bias, found.output_bias, found.qk_norm) == expected


def test_defaults_are_those_of_transformers() -> None:
    values = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 1}
    found = read_config({**values, "intermediate_size": 8})
    assert (found.kv_heads, found.head_dim, found.norm_eps, found.rope_theta) == (4, 4, 1e-6, 1e4)
    assert (found.tied_heads, found.max_positions) == (False, 2048)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "the architecture 'GPT2LMHeadModel' is not supported"),
        ({"architectures": None}, "the architecture None is not supported"),
        ({"quantization_config": {"bits": 4}}, "its weights are quantized"),
        ({"hidden_act": "gelu"}, "hidden_act must be silu, got 'gelu'"),
        ({"mlp_bias": True}, "mlp_bias is true"),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 4096}, "a sliding window of 4096 tokens"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "a sliding window"),
        ({"model_type": "qwen2", "architectures": None, "use_sliding_window": True, "sliding_window": 9}, "of 9 "),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "kind dynamic is not supported: its frequencies depend"),
        ({"rope_scaling": {"type": "ntk"}}, "rope_scaling.kind must be one of"),
        ({"rope_scaling": {"type": "linear"}}, "the field factor is missing"),
        ({"rope_scaling": {"type": "longrope", **_LISTS, "long_factor": [2.0, 3.0]}, "max_position_embeddings": 16384},
         "one list of factors for up to 8192 tokens and another beyond"),
        ({"rope_scaling": [1]}, "rope_scaling must be an object"),
        ({"hidden_size": "16"}, "hidden_size must be a positive integer, got '16'"),
        ({"num_key_value_heads": 3}, "heads must be a multiple of kv_heads"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qkv_bias": True},
        {"qkv_bias": True, "output_bias": True},
        {"qk_norm": True},
        {"rope_scaling": RopeScaling(kind="linear", factor=2.0)},
        {"rope_scaling": RopeScaling(kind="yarn", factor=2.0, original_positions=32, attention_factor=1.1)},
        {"rope_scaling": RopeScaling(kind="longrope", factor=2.0, original_positions=32, divisors=(1.0, 2.0))},
    ],
)
def test_a_written_configuration_is_read_back(changes: dict[str, Any]) -> None:
    config = tiny(**changes, tile=128, chunk=256)
    assert read_config(write_config(config, vocab_size=9, bos_id=1, eos_id=2, dtype="float32")) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_bias": True}, "no architecture of transformers has qkv_bias = False, output_bias = True"),
        ({"qkv_bias": True, "head_dim": 8}, "exported as Qwen2ForCausalLM, whose head_dim is dim / heads"),
    ],
)
def test_a_model_without_an_architecture_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_config(tiny(**changes), vocab_size=9, bos_id=1, eos_id=2, dtype="float32")
