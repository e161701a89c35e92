from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError
from schemas.weight_files.stored import Stored
from tests.support.vqgan.hostile_files import assert_rejected
from tokenizer.checkpoints.lazy_tensor import flatten, of_array


def test_flatten_joins_the_names_of_nested_dictionaries_in_their_order() -> None:
    tree = {"b": {"y": np.zeros(2), "x": of_array(np.ones(3))}, "a": np.zeros((1, 4)), "steps": 3, 7: np.zeros(5)}
    flat = flatten(tree)
    assert [(name, tensor.shape) for name, tensor in flat.items()] == [("b.y", (2,)), ("b.x", (3,)), ("a", (1, 4))]
    np.testing.assert_array_equal(flat["b.x"].read(), np.ones(3))


def test_a_transformation_is_applied_when_the_tensor_is_read() -> None:
    reads: list[str] = []

    def read() -> np.ndarray:
        reads.append("read")
        return np.arange(6).reshape(2, 3)

    tensor = Stored((2, 3), read).transformed((3, 2), np.transpose)
    assert (tensor.shape, reads) == ((3, 2), [])
    np.testing.assert_array_equal(tensor.read(), [[0, 3], [1, 4], [2, 5]])
    assert reads == ["read"]


def test_a_tensor_with_too_many_values_is_rejected_without_reading_it() -> None:
    with pytest.raises(ConfigError, match=r"x claims the shape \[65536, 65536\]: this is not a VQGAN"):
        flatten({"x": Stored((1 << 16, 1 << 16), pytest.fail)})


def test_too_many_tensors_are_rejected() -> None:
    tensor = of_array(np.zeros(1))
    with pytest.raises(ConfigError, match="more than 20000 tensors"):
        flatten({str(i): tensor for i in range(20_001)})


def test_a_pickle_that_expands_without_limit_is_rejected(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"x": np.zeros(1, np.float32)}
    for _ in range(40):
        tree = {"a": tree, "b": tree}
    (tmp_path / "p").write_bytes(pickle.dumps(tree, 4))
    assert_rejected(tmp_path / "p", "this is not a VQGAN")
    loop: dict[str, Any] = {}
    loop["encoder"] = loop
    (tmp_path / "p").write_bytes(pickle.dumps(loop, 4))
    assert_rejected(tmp_path / "p", "this is not a VQGAN")
