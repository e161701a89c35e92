from __future__ import annotations

import pytest

from pipeline.packing.config import PackConfig, require_context
from schemas.errors import ConfigError
from tests.support.packing.packing_cases import (
    packed_plan,
)
from tests.support.token_stores import book


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_weighting": "row"}, "loss_weighting must be 'token' or 'document', got 'row'"),
        ({"text_weight": -1.0}, "text_weight must be a finite number of at least 0, got -1.0"),
        ({"vision_weight": float("nan")}, "vision_weight must be a finite"),
        ({"text_weight": 0.0, "vision_weight": 0.0}, "both 0"),
        ({"shard_bytes": 0}, "shard_bytes must be at least 1, got 0"),
        ({"attention": "row"}, "attention must be one of document, sequence, got 'row'"),
        ({"sentence_reach": 0.5}, "sentence_reach must lie in 0..0.25, got 0.5"),
    ],
)
def test_invalid_options_raise(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PackConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("context", [0, 15, 1 << 31])
def test_an_unsupported_context_length_raises(context: int) -> None:
    with pytest.raises(ConfigError, match="context_length must lie in 16"):
        packed_plan([book("a", 9)], context)


def test_reach_is_a_fraction_of_the_context() -> None:
    assert PackConfig().reach(1 << 20) == 512
    assert PackConfig(sentence_reach=0.25).reach(64) == 16
    assert PackConfig(sentence_reach=0).reach(4096) == 0


def test_supported_context_lengths_do_not_raise() -> None:
    for context in (16, 4096, (1 << 31) - 1):
        require_context(context)
