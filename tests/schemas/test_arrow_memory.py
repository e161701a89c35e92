"""What Arrow arrays take as Python values is known before they are converted."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
import pytest

from schemas.arrow_memory import memory_of


def taken(value: Any) -> int:
    """Return the bytes of a Python value and of all that it contains."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sys.getsizeof(value) + sum(map(taken, inside))


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None, "b" * 1000] * 100),
        pa.array(["b" * 100_000] * 100).dictionary_encode(),
        pa.array([[1, 2, 3], [], None] * 100),
        pa.array([[["x"]], [[], ["y", "z"]]] * 100),
        pa.array([{"a": 1, "b": [1.5]}, None] * 100),
        pa.array([[("key", "value")], []] * 100, pa.map_(pa.string(), pa.string())),
        pa.array([[0.5] * 8] * 100, pa.list_(pa.float32(), 8)),
        pa.array([True, None] * 100),
    ],
    ids=lambda array: str(array.type),
)
def test_the_estimate_is_at_least_what_the_values_take(array: pa.Array) -> None:
    values = array.to_pylist()
    assert 0.9 * sum(map(taken, values)) <= memory_of([array]) <= 4 * sum(map(taken, values))


def test_a_slice_counts_its_own_values_only() -> None:
    array = pa.array([[1] * 1000, [1]])
    assert memory_of([array.slice(1, 1)]) < 200
