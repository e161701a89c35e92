from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.published.models import lwm_tree, random_state, tiny
from trainer.published.configs.lwm import per_layer, read_shapes
from trainer.published.files.tensor import Tensor

CONFIG = tiny(kv_heads=4, layers=3)


def tensors(**options: Any) -> dict[str, Tensor]:
    def stored(array: np.ndarray) -> Tensor:
        return Tensor(array.shape, "F32", lambda start, stop: array.reshape(-1)[start:stop])

    return {name: stored(array) for name, array in lwm_tree(CONFIG, random_state(CONFIG), **options).items()}


@pytest.mark.parametrize("scan", [0, 1])
def test_stacked_layers_are_taken_apart_on_either_axis(scan: int) -> None:
    apart, expected = per_layer(tensors(scan=scan)), per_layer(tensors(scan=None))
    assert apart.keys() == expected.keys()
    for name, tensor in expected.items():
        assert apart[name].shape == tensor.shape
        rows = len(tensor.rows(0, tensor.shape[0]))
        np.testing.assert_array_equal(apart[name].rows(0, rows), tensor.rows(0, rows))


def test_sizes_follow_from_the_shapes() -> None:
    found = read_shapes(per_layer(tensors()), heads=4, rope_theta=None)
    assert (found.dim, found.layers, found.heads, found.head_dim, found.ff_dim) == (16, 3, 4, 4, 24)
    assert (found.norm_eps, found.rope_theta, found.softmax) == (1e-6, 5e7, "by_modality")
    text = read_shapes(per_layer(tensors(vision=False)), heads=4, rope_theta=1e6)
    assert (text.softmax, text.rope_theta) == ("joint", 1e6)


def test_the_prefixes_of_a_train_state_are_removed() -> None:
    prefixed = {f"params/params/{name}": tensor for name, tensor in tensors().items()}
    assert per_layer(prefixed).keys() == per_layer(tensors()).keys()


def test_what_is_not_of_lwm_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="does not follow from a model dim of 16: give --heads"):
        read_shapes(per_layer(tensors()), heads=None, rope_theta=None)
    with pytest.raises(ConfigError, match="--heads 3 does not divide the model dim 16"):
        read_shapes(per_layer(tensors()), heads=3, rope_theta=None)
    with pytest.raises(ConfigError, match="has no decoder of LWM"):
        read_shapes({}, heads=None, rope_theta=None)
    some = tensors()
    name = "transformer/h/scan_decoder/attention/wq/kernel"
    for shape in ((2, 16, 16), (3,)):
        with pytest.raises(ConfigError, match=r"layers on axis 0|is not a stack of layers"):
            per_layer(some | {name: Tensor(shape, "F32", some[name].read)})
    with pytest.raises(ConfigError, match="is not a stack of layers of LWM"):
        per_layer({name: some[name]})
