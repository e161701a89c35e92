from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from pipeline.tokenizer_jobs.perceptual_weights import convolutions
from schemas.errors import JobError
from tokenizer.training.perceptual import shapes

h5py: Any = pytest.importorskip("h5py", reason="h5py reads the published file: pip install 'longreel[perceptual]'")


def published(*, without: str = "") -> bytes:
    """A file laid out as Keras lays out HED, each tensor filled with a different number."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for number, (block, count) in enumerate(((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))):
            for j in range(count):
                name = f"block{block}/layers/conv2d" + (f"_{j}" if j else "")
                for part, word in enumerate(("kernel", "bias")):
                    if f"{name}/{word}" != without:
                        shape = shapes()[f"block{block}_conv{j + 1}.{word}"]
                        fill = 100 * number + 10 * j + part
                        file.create_dataset(f"{name}/vars/{part}", shape, np.float32, fillvalue=fill)
    return content.getvalue()


def test_the_convolutions_of_the_published_file_are_renamed_for_the_distance() -> None:
    tensors = convolutions(published())
    assert {name: tensor.shape for name, tensor in tensors.items()} == shapes()
    assert tensors["block1_conv1.kernel"].max() == 0
    assert tensors["block3_conv2.bias"].max() == 211
    assert tensors["block5_conv3.kernel"].max() == 420


def test_a_missing_tensor_is_named() -> None:
    with pytest.raises(JobError, match=r"no block4_conv1.bias of shape \[512\]"):
        convolutions(published(without="block4/layers/conv2d/bias"))
