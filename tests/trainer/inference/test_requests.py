from __future__ import annotations

import math
from typing import Any

import pytest

from schemas.errors import ConfigError
from trainer.inference.requests import FrameLimits, Guidance, Request, Sampling, StopConditions


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("min_p", math.nan),
        ("repetition_penalty", 0.0),
        ("seed", -1),
        ("seed", 1 << 64),
    ],
)
def test_invalid_sampling_is_rejected_with_the_value(field: str, value: float) -> None:
    settings: dict[str, Any] = {field: value}
    with pytest.raises(ConfigError, match=f"{field} must .*, got {value}"):
        Sampling(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
        ({"prompt": []}, "prompt must hold at least one id"),
        ({"logprobs": 21}, "logprobs must lie in 0..20, got 21"),
    ],
)
def test_invalid_requests_are_rejected(change: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"prompt": [1], "max_tokens": 1} | change
    with pytest.raises(ConfigError, match=message):
        Request(**asked)


def test_invalid_parts_are_rejected() -> None:
    with pytest.raises(ConfigError, match="stop texts must not be empty"):
        StopConditions(texts=("",), decode=str)
    with pytest.raises(ConfigError, match="decode must be given with stop texts"):
        StopConditions(texts=("x",))
    with pytest.raises(ConfigError, match="guidance scale must be a finite number, got nan"):
        Guidance(prompt=[1], scale=math.nan)
    with pytest.raises(ConfigError, match="frames must lie in 0..1, got 2"):
        FrameLimits(most=1, least=2)
