from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from schemas.errors import ConfigError
from tokenizer.evaluation.frechet import frechet_distance


def test_it_is_the_formula_with_a_general_square_root_of_a_matrix() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 5)), rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5)) + 1
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("dims", [1, 6])
def test_of_equal_sets_it_is_0_and_of_shifted_ones_the_square_of_the_shift(dims: int) -> None:
    a = np.random.default_rng(1).normal(size=(4, dims))  # fewer samples than dims: singular
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(4 * dims)


def test_a_set_of_one_sample_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 samples of each set, got 1 and 3"):
        frechet_distance(np.zeros((1, 2)), np.zeros((3, 2)))
