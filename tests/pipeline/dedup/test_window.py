"""Windows of a picture: cropping, and finding the crop of a copy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.dedup.window import Window, _search, blurred, find_window, median, normalized, stretch
from pipeline.video.analysis.frame_signature import SIDE
from tests.support.signatures import scene


def test_the_window_of_a_crop_is_found() -> None:
    grays = np.stack(scene(9, 4))
    one = normalized(np.stack([g.reshape(SIDE, 4, SIDE, 4).mean((1, 3)) for g in grays]))
    given_window = Window(0.05, 0.02, 0.08, 0.0)
    found = find_window(one, given_window.crop(one))
    assert found == pytest.approx(given_window, abs=0.016)


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_the_search_finds_the_window_that_plain_crops_find(count: int) -> None:
    rng = np.random.default_rng(count)
    pictures = normalized(np.stack([g.reshape(SIDE, 4, SIDE, 4).mean((1, 3)) for g in scene(count, count / 2)]))
    others = normalized(Window(0.07, 0.1, 0.0, 0.05).crop(pictures) + rng.normal(0, 0.02, pictures.shape))
    rows, columns = ((0.0, 0.0), (0.04, 0.08), (0.08, 0.08)), ((0.0, 0.0), (0.0, 0.04))
    plain = {
        Window(*row, *column): np.median(np.einsum("nc,nc->n", Window(*row, *column).crop(pictures), others))
        for row, column in itertools.product(rows, columns)
    }
    assert plain[_search(pictures, others, rows, columns)] == pytest.approx(max(plain.values()), abs=1e-5)


@pytest.mark.parametrize("count", range(1, 8))
def test_medians_are_those_of_numpy(count: int) -> None:
    values = np.random.default_rng(count).normal(size=(count, 3, 5)).astype(np.float32)
    assert np.array_equal(median(values), np.median(values, axis=0))
    assert median(values[:, 0, 0]) == np.median(values[:, 0, 0])


def test_a_window_without_margins_keeps_the_picture() -> None:
    pictures = normalized(np.random.default_rng(0).normal(size=(3, SIDE, SIDE)))
    assert Window().crop(pictures) == pytest.approx(pictures, abs=1e-6)
    assert stretch(0, 0) == pytest.approx(np.eye(SIDE))


def test_normalized_pictures_have_zero_mean_and_unit_length() -> None:
    pictures = np.stack([np.arange(256).reshape(SIDE, SIDE), np.full((SIDE, SIDE), 7)])
    vectors = normalized(pictures)
    assert vectors.mean(1) == pytest.approx([0, 0], abs=1e-6)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0], abs=1e-6)


def test_blurring_averages_a_cell_with_its_neighbors() -> None:
    picture = np.zeros((1, SIDE, SIDE), np.float32)
    picture[0, 5, 5] = 16
    weights = np.outer([1, 2, 1], [1, 2, 1])
    found = blurred(picture.reshape(1, -1)).reshape(SIDE, SIDE)
    assert (found[4:7, 4:7] - found[0, 0]) / (found[4, 4] - found[0, 0]) == pytest.approx(weights, rel=1e-4)
