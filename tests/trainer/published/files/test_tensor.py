from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError
from trainer.published.files.tensor import Tensor, in_file, joined, read_bytes, require_file


def tensor(array: np.ndarray) -> Tensor:
    return Tensor(array.shape, "F32", lambda start, stop: array.reshape(-1)[start:stop])


ARRAY = np.arange(60, dtype=np.float32).reshape(5, 3, 4)


def test_rows_and_parts_are_those_of_the_array() -> None:
    np.testing.assert_array_equal(tensor(ARRAY).rows(1, 4), ARRAY[1:4])
    part = tensor(ARRAY).part(1, 4)
    assert part.shape == (3, 3, 4)
    np.testing.assert_array_equal(part.rows(1, 3), ARRAY[2:4])


def test_one_index_of_either_axis_is_a_tensor() -> None:
    first, second = tensor(ARRAY).at(2, axis=0), tensor(ARRAY).at(2, axis=1)
    assert (first.shape, second.shape) == ((3, 4), (5, 4))
    np.testing.assert_array_equal(first.rows(1, 3), ARRAY[2, 1:3])
    np.testing.assert_array_equal(second.rows(1, 4), ARRAY[1:4, 2])
    np.testing.assert_array_equal(tensor(ARRAY[:, :, 0]).at(1, axis=1).rows(2, 5), ARRAY[2:5, 1, 0])


@pytest.mark.parametrize("axis", [0, 1])
def test_joined_tensors_are_the_concatenation(axis: int) -> None:
    parts = [ARRAY[:, :, 0], ARRAY[:, :, 1], ARRAY[:, :, 2]]
    whole = np.concatenate(parts, axis=axis)
    found = joined([tensor(part) for part in parts], axis=axis)
    assert found.shape == whole.shape
    for start, stop in ((0, len(whole)), (1, 3), (4, min(9, len(whole))), (2, 2)):
        np.testing.assert_array_equal(found.rows(start, stop), whole[start:stop])


def test_values_after_the_end_of_a_file_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(16))
    found = in_file(tmp_path / "f", 4, (4,), np.dtype("<f4"), name="F32")
    np.testing.assert_array_equal(found.rows(0, 3), np.zeros(3))
    with pytest.raises(ConfigError, match="f is truncated"):
        found.rows(0, 4)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in ((tmp_path / "pipe", "cannot be read"), (tmp_path, "cannot be read"), (tmp_path / "x", "not")):
        with pytest.raises(ConfigError, match=message):
            require_file(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_bytes(tmp_path / "pipe", 0, 1)
