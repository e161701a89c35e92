"""Frame signatures, and which pictures are too flat to identify a frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.video.analysis.frame_signature import (
    GRAY_SIDE,
    SIDE,
    SIGNATURE_BYTES,
    frame_signature,
    is_flat,
    signature_pictures,
)
from tests.support.signatures import scene

Gray = NDArray[np.uint8]


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_signature_is_the_mean_of_each_cell(seed: int) -> None:
    gray = np.random.default_rng(seed).integers(0, 256, (GRAY_SIDE, GRAY_SIDE), np.uint8)
    signature = frame_signature(gray)
    assert len(signature) == SIGNATURE_BYTES
    (picture,) = signature_pictures([signature])
    cell = GRAY_SIDE // SIDE
    for row, column in ((0, 0), (3, 7), (SIDE - 1, SIDE - 1)):
        mean = gray[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell].mean()
        assert abs(float(picture[row, column]) - mean) <= 0.5


@pytest.mark.parametrize(
    "wrong", [np.zeros((64, 63), np.uint8), np.zeros((64, 64), np.float32), np.zeros((64, 64, 3), np.uint8)]
)
def test_other_shapes_and_dtypes_are_rejected(wrong: Gray) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \[64, 64\], got"):
        frame_signature(wrong)


def test_signatures_of_another_length_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"has 256 bytes, got \[3, 256\]"):
        signature_pictures([bytes(256), b"abc"])
    assert signature_pictures([]).shape == (0, SIDE, SIDE)


def flat(gray: Gray) -> bool:
    return bool(is_flat(signature_pictures([frame_signature(gray)]))[0])


def test_one_color_and_a_few_words_are_flat_and_a_picture_is_not() -> None:
    noise = np.random.default_rng(0).integers(0, 3, (GRAY_SIDE, GRAY_SIDE), np.uint8)
    assert all(flat(np.full((GRAY_SIDE, GRAY_SIDE), level, np.uint8)) for level in (0, 128, 255))
    assert flat(noise)
    words = Image.new("L", (GRAY_SIDE, GRAY_SIDE), 5)
    ImageDraw.Draw(words).text((24, 26), "fin", fill=255)
    assert flat(np.asarray(words))
    assert not flat(scene(1, 0.5)[0])
    assert not flat(scene(1, 0.5)[0] // 6)  # a dark one
    assert is_flat(signature_pictures([])).shape == (0,)
