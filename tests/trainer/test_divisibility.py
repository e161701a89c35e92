from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError
from trainer.divisibility import nearest, require_context, require_heads, require_rows
from trainer.model.llama.config import LlamaConfig, debug, lwm_7b


def _mesh(**sizes: int) -> dict[str, int]:
    return {"data": 1, "fsdp": 1, "tensor": 1, "sequence": 1} | sizes


def _require(model: LlamaConfig, tensor: int) -> None:
    require_heads(model.heads, model.kv_heads, _mesh(tensor=tensor), ff_dim=model.ff_dim)


@pytest.mark.parametrize(
    ("context", "mesh", "tile", "message"),
    [
        (
            100,
            {"sequence": 8},
            16,
            "context of 100 .* 8 devices .* tiles of 16 tokens: pack at a context of 96 or 104$",
        ),
        # Each device's part is longer than a tile, so it must be several.
        (1000, {"sequence": 4}, 128, "pack at a context of 512 or 1024$"),
        (320, {"sequence": 8}, 32, "pack at a context of 256 or 512, or take sequence = 2$"),
        (1 << 20, {"sequence": 48}, 128, "pack at a context of 1044480 or 1050624, or take sequence = 16$"),
        (120, {"sequence": 4, "tensor": 4}, 64, "4 devices of the axis sequence and 4 of tensor .* of 112 or 128"),
    ],
)
def test_an_indivisible_context_is_rejected_with_the_nearest_valid_values(
    context: int, mesh: dict[str, int], tile: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        require_context(context, _mesh(**mesh), tile=tile)


@settings(deadline=None)
@given(
    context=st.integers(1, 5000),
    sequence=st.integers(1, 16),
    tensor=st.sampled_from([1, 2, 4]),
    tile=st.integers(1, 64),
)
def test_suggested_values_are_valid(context: int, sequence: int, tensor: int, tile: int) -> None:
    try:
        require_context(context, _mesh(sequence=sequence, tensor=tensor), tile=tile)
    except ConfigError as e:
        contexts, _, axes = str(e).partition("pack at a context of ")[2].partition(", or take sequence = ")
        found = re.findall(r"\d+", contexts)
        assert found
        for other in found:
            require_context(int(other), _mesh(sequence=sequence, tensor=tensor), tile=tile)
        for other in re.findall(r"\d+", axes):
            require_context(context, _mesh(sequence=int(other), tensor=tensor), tile=tile)
    else:
        share = context // sequence
        assert context == share * sequence
        assert context % (sequence * tensor) == 0
        assert share <= tile or share % tile == 0


@pytest.mark.parametrize(
    ("batch_size", "mesh", "accumulate", "message"),
    [
        (3, {"data": 2}, 1, "batch_size = 3 cannot be split evenly over data x fsdp = 2 devices: take 2 or 4"),
        (4, {"data": 2, "fsdp": 4}, 1, "data x fsdp = 8 devices: take 8$"),
        (6, {"data": 2}, 4, "data x fsdp = 2 devices, 4 micro-batches: take 8$"),
    ],
)
def test_an_indivisible_batch_is_rejected_with_the_nearest_valid_sizes(
    batch_size: int, mesh: dict[str, int], accumulate: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        require_rows(batch_size, _mesh(**mesh), accumulate=accumulate)


@pytest.mark.parametrize(
    ("change", "tensor", "message"),
    [
        ({}, 4, r"tensor = 4 does not divide the model's kv_heads = 2: take tensor = 2$"),
        ({}, 3, r"heads = 4, kv_heads = 2: take tensor = 2$"),
        ({"ff_dim": 47}, 2, r"ff_dim = 47: take tensor = 1$"),
    ],
)
def test_tensor_parallelism_that_does_not_divide_the_heads_is_rejected_with_valid_sizes(
    change: dict[str, Any], tensor: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _require(dataclasses.replace(debug(), **change), tensor)


def test_valid_sizes_are_accepted() -> None:
    _require(lwm_7b(), 32)
    require_rows(16, _mesh(data=2, fsdp=2), accumulate=4)
    require_context(1 << 20, _mesh(sequence=64), tile=512)
    require_context(4096, _mesh(sequence=8), tile=512)
    require_context(4096, _mesh(sequence=64), tile=512)  # parts of 64 tokens: less than a tile


def test_nearest_returns_an_empty_text_if_no_value_is_valid() -> None:
    assert nearest(3, [1, 2, 4, 8], lambda n: n > 100) == ""
    assert nearest(3, [1, 2, 4, 8], lambda n: True) == "2 or 4"
