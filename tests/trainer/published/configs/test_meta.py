from __future__ import annotations

import pytest

from schemas.errors import ConfigError
from trainer.model.llama.rope_scaling import RopeScaling
from trainer.published.configs.meta import read_params

_LLAMA_2 = {"dim": 4096, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-5, "vocab_size": -1, "multiple_of": 256}
_LLAMA_3 = {**_LLAMA_2, "n_kv_heads": 8, "rope_theta": 500000.0, "vocab_size": 128256, "ffn_dim_multiplier": 1.3}


def test_the_generations_of_llama_are_told_apart_by_their_rotary_embedding() -> None:
    two, three = read_params(_LLAMA_2, ff_dim=11008), read_params(_LLAMA_3, ff_dim=14336)
    assert (two.kv_heads, two.head_dim, two.rope_theta, two.max_positions) == (32, 128, 1e4, 4096)
    assert (three.kv_heads, three.ff_dim, three.rope_theta, three.max_positions) == (8, 14336, 5e5, 8192)
    newer = read_params({**_LLAMA_3, "use_scaled_rope": True}, ff_dim=14336)
    assert newer.rope_scaling == RopeScaling(kind="llama3", factor=8.0, original_positions=8192)
    assert newer.max_positions == 131072
    small = read_params({**_LLAMA_3, "use_scaled_rope": True, "rope_scaling_factor": 32.0}, ff_dim=8192)
    assert small.rope_scaling is not None
    assert small.rope_scaling.factor == 32.0


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigError, match="the field n_heads is missing"):
        read_params({"dim": 8}, ff_dim=8)
