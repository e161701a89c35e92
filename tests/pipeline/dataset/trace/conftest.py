from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.support.datasets.trace_dataset import TraceDataset, make_trace_dataset


@pytest.fixture(scope="session")
def trace_dataset(tmp_path_factory: pytest.TempPathFactory) -> TraceDataset:
    return make_trace_dataset(tmp_path_factory.mktemp("out"))


@pytest.fixture
def dataset_copy(trace_dataset: TraceDataset, tmp_path: Path) -> TraceDataset:
    """Return a copy of the dataset outside of a workspace."""
    return dataclasses.replace(trace_dataset, dataset=Path(shutil.copytree(trace_dataset.dataset, tmp_path / "copy")))
