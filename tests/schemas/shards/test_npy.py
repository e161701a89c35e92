from __future__ import annotations

import io

import numpy as np
import pytest

from schemas.packed import SPAN_DTYPE
from schemas.shards.npy import npy, npy_header, parse_npy_header

DTYPES = [np.dtype("<u2"), np.dtype("<u4"), SPAN_DTYPE]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [0, 1, 1000])
def test_numpy_reads_what_is_written(dtype: np.dtype[np.void], length: int) -> None:
    values = np.zeros(length, dtype)
    found = np.load(io.BytesIO(npy(values)), allow_pickle=False)
    assert found.dtype == dtype
    assert found.shape == (length,)


@pytest.mark.parametrize("dtype", DTYPES)
def test_parse_npy_header_is_the_inverse_of_npy_header(dtype: np.dtype[np.void]) -> None:
    header = npy_header(dtype, 17)
    assert parse_npy_header(header + b"values") == ((17,), dtype, len(header))
    assert len(header) % 64 == 0


def test_object_arrays_are_rejected_before_anything_is_unpickled() -> None:
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        parse_npy_header(file.getvalue())


@pytest.mark.parametrize("data", [b"", b"PK", b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x01\x00\x02\x00{\n"])
def test_bytes_that_are_not_an_npy_header_are_rejected(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|Python literal"):
        parse_npy_header(data)
