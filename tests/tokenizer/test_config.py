from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from schemas.errors import ConfigError
from tests.support.vqgan.tiny_vqgan import TINY
from tokenizer.config import lwm_256, named, require_weights, small_128


def test_the_factor_halves_the_resolution_once_per_level_after_the_first() -> None:
    assert (lwm_256().factor, small_128().factor, TINY.factor) == (16, 16, 2)
    assert lwm_256().grid(256, 512) == (16, 32)


def test_bits_is_the_number_of_codes_times_the_logarithm_of_the_codebook_size() -> None:
    assert small_128().bits(128, 128) == 64 * 10
    assert TINY.bits(16, 8) == 8 * 4 * math.log2(32)


@pytest.mark.parametrize(("height", "width", "message"), [(17, 16, "height.*got 17"), (16, 0, "width.*got 0")])
def test_a_frame_that_is_not_a_multiple_of_the_factor_is_rejected(height: int, width: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TINY.grid(height, width)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 3}, "channels must be multiples of groups=3"),
        ({"channels": ()}, "channels"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"frame_size": 17}, "multiple of 2 for 'tiny', got 17"),
        ({"attention": (2,)}, r"attention must name levels from 0 to 1, got \[2\]"),
        ({"lookup": "near"}, r"lookup must be one of \('distance', 'product', 'bounded'\), got 'near'"),
        ({"encoder_dim": 0}, "encoder_dim must be at least 1, got 0"),
    ],
)
def test_the_error_for_an_invalid_field_names_the_field_and_the_value(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **change)


def test_an_architecture_is_found_by_its_name() -> None:
    assert named("lwm-256") == lwm_256()


def test_the_error_for_an_unknown_name_lists_the_known_names() -> None:
    with pytest.raises(ConfigError, match=r"lwm-256, small-128, got 'large'"):
        named("large")


@pytest.mark.parametrize("weight", [-1.0, math.nan])
def test_a_loss_weight_must_be_zero_or_positive(weight: float) -> None:
    @dataclasses.dataclass(frozen=True)
    class Losses:
        l1: float

    require_weights(Losses(0.0), "l1")
    with pytest.raises(ConfigError, match="l1 must not be negative, got"):
        require_weights(Losses(weight), "l1")
