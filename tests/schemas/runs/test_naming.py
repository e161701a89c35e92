from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from schemas.runs.naming import array_name, earlier_name, key_words


class Pair(NamedTuple):
    first: object
    second: object


def names(tree: object) -> list[str]:
    return [array_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]


def test_names_do_not_depend_on_the_classes_of_the_nodes() -> None:
    assert names(Pair({"kernel": 1}, [2, 3])) == ["first/kernel", "second/0", "second/1"]
    assert names({"first": {"kernel": 1}, "second": (2, 3)}) == ["first/kernel", "second/0", "second/1"]


def test_the_parameters_of_a_module_are_named_by_its_attributes() -> None:
    params = nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    assert sorted(names(params)) == ["bias", "kernel"]
    assert key_words([jax.tree_util.GetAttrKey("encoder"), jax.tree_util.GetAttrKey("value")]) == ["encoder"]


def test_a_parameter_that_is_called_value_keeps_its_name() -> None:
    class Attention(nnx.Module):
        def __init__(self) -> None:
            self.key, self.value = nnx.Param(np.zeros(1)), nnx.Param(np.ones(1))

    assert sorted(names({"layers": nnx.state(Attention())})) == ["layers/key", "layers/value"]
    assert earlier_name("layers/value") == "layers"
