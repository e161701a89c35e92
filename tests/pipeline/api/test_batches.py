"""Batches for JAX have the arrays of the sequences of a dataset."""

from __future__ import annotations

import numpy as np
import pytest

import longreel
from pipeline.runtime.workspace import Workspace
from schemas.errors import ConfigError
from tests.support.stages import Reports


def test_batches_have_the_arrays_of_the_sequences(clips: tuple[Workspace, Reports]) -> None:
    packed = next(iter(sorted((clips[0].root / "packed").local().iterdir())))
    dataset = longreel.Dataset(packed)
    batches = longreel.jax_batches(packed, batch_size=2)
    seen = [next(batches) for _ in range(len(dataset))]
    rows = [{name: np.asarray(values[i]) for name, values in batch.items()} for batch in seen for i in range(2)]
    known = [dataset.arrays(i) for i in range(len(dataset))]
    for row in rows:
        assert any(all(np.array_equal(row[name], one[name]) for name in row) for one in known)
    assert {row["tokens"].tobytes() for row in rows} == {one["tokens"].astype(np.int32).tobytes() for one in known}


def test_a_batch_needs_a_sequence(clips: tuple[Workspace, Reports]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        longreel.jax_batches(clips[0].root / "packed", batch_size=0)
