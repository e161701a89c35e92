from __future__ import annotations

from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from schemas.errors import InternalError
from trainer.run import arrays
from trainer.run.arrays import ArrayReader, ArrayWriter

A = np.arange(48, dtype=np.float32).reshape(4, 6, 2)


def test_orbax_restores_what_is_written_in_parts(tmp_path: Path) -> None:
    writer = ArrayWriter(tmp_path)
    writer.create("layers/a", A.shape, chunks=(1, 4, 2))
    writer.create("b", (3,), chunks=(3,))
    for i in range(4):
        writer.write("layers/a", (i, slice(0, 4), slice(0, 2)), A[i, :4])
        writer.write("layers/a", (i, slice(4, 6), slice(0, 2)), A[i, 4:])
    writer.write("b", (slice(0, 3),), np.zeros(3, np.float32))
    writer.finish()
    as_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in ("layers/a", "b")}
    found = ocp.PyTreeCheckpointer().restore(tmp_path, restore_args=as_numpy)
    np.testing.assert_array_equal(found["layers/a"], A)
    np.testing.assert_array_equal(found["b"], np.zeros(3))
    np.testing.assert_array_equal(ArrayReader(tmp_path).read("layers/a", (2, slice(1, 5), slice(0, 2))), A[2, 1:5])


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_parts_are_read_of_what_orbax_writes(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_SMALL_CHUNK_BYTES", limit)
    ocp.PyTreeCheckpointer().save(tmp_path / "c", {"layers/a": A, "layers": A + 1})
    reader = ArrayReader(tmp_path / "c")
    for i in range(4):
        np.testing.assert_array_equal(reader.read("layers/a", (i, slice(0, 6), slice(0, 2))), A[i])
    # Before 2026-11-28, the array `layers/value` was called `layers`.
    np.testing.assert_array_equal(reader.read("layers/value", (slice(0, 4), 1, 1)), A[:, 1, 1] + 1)


def test_a_missing_part_is_an_internal_error(tmp_path: Path) -> None:
    writer = ArrayWriter(tmp_path)
    writer.create("a", A.shape, chunks=A.shape)
    writer.write("a", (slice(0, 3), slice(0, 6), slice(0, 2)), A[:3])
    with pytest.raises(InternalError, match=r"not written as a whole; values left: \{'a': 12\}"):
        writer.finish()
    assert not (tmp_path / "_METADATA").exists()
