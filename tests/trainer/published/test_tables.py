from __future__ import annotations

import numpy as np
import pytest

from trainer.published.files.tensor import Tensor
from trainer.published.layout import Layout
from trainer.published.tables import NewRows, known_rows


def known(rows: int = 500) -> np.ndarray:
    """Return rows with a mean and with correlated values."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((rows, 2), np.float32) @ np.array([[1, 2, 0], [0, 1, -1]], np.float32)
    return values + np.float32(5)


def test_a_row_does_not_depend_on_which_rows_are_made_with_it() -> None:
    new = NewRows(table="vision_head", known=known(), seed=3)
    whole = new.rows(0, 700)
    assert whole.shape == (700, 3)
    assert whole.dtype == np.float32
    for start, stop in ((0, 1), (255, 257), (300, 700)):
        np.testing.assert_array_equal(new.rows(start, stop), whole[start:stop])
    other = NewRows(table="vision_embedding", known=known(), seed=3)
    assert not np.array_equal(other.rows(0, 1), whole[:1])


def test_new_rows_have_the_mean_and_the_covariance_of_the_known_ones() -> None:
    made = NewRows(table="text_head", known=known(), seed=0).rows(0, 20000)
    np.testing.assert_allclose(made.mean(axis=0), known().mean(axis=0), atol=0.05)
    np.testing.assert_allclose(np.cov(made.T), np.cov(known().T), atol=0.2)


@pytest.mark.parametrize("transposed", [False, True])
def test_known_rows_are_spaced_evenly_in_tables_of_either_order(transposed: bool) -> None:
    table = np.arange(6000, dtype=np.float16).reshape(3000, 2)
    stored = table.T.copy() if transposed else table
    tensor = Tensor(stored.shape, "F16", lambda start, stop: stored.reshape(-1)[start:stop])
    found = known_rows(tensor, Layout(shape=(3000, 2), transposed=transposed))
    assert found.shape == (1024, 2)
    np.testing.assert_array_equal(found[[0, -1]], table[[0, -1]])
    assert known_rows(tensor.part(0, 2) if transposed else tensor.part(0, 7), _small(transposed)).shape[1] == 2


def _small(transposed: bool) -> Layout:
    return Layout(shape=(3000 if transposed else 7, 2), transposed=transposed)
