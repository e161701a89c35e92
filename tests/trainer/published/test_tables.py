from __future__ import annotations

import numpy as np

from trainer.published.files.tensor import Tensor
from trainer.published.tables import NewRows, deviation


def test_a_row_does_not_depend_on_which_rows_are_made_with_it() -> None:
    new = NewRows(table="vision_head", dim=4, deviation=0.5, seed=3)
    whole = new.rows(0, 700)
    assert whole.shape == (700, 4)
    for start, stop in ((0, 1), (255, 257), (300, 700)):
        np.testing.assert_array_equal(new.rows(start, stop), whole[start:stop])
    assert 0.45 < whole.std() < 0.55
    other = NewRows(table="vision_embedding", dim=4, deviation=0.5, seed=3)
    assert not np.array_equal(other.rows(0, 1), whole[:1])


def test_the_deviation_is_estimated_from_rows_of_any_dtype() -> None:
    values = np.array([[1, -1], [3, -3]], np.float16)
    tensor = Tensor((2, 2), "F16", lambda start, stop: values.reshape(-1)[start:stop])
    assert deviation(tensor) == np.sqrt(5)
