from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.packing.config import PackConfig
from tests.support.datasets.altered_datasets import DOCUMENTS, SHARD
from tests.support.packing.local_packing import pack_documents
from tests.support.stored_files import file_of


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    pack_documents(root, DOCUMENTS, PackConfig(shard_bytes=16_000, seed=4))  # KEY has vision and text tokens
    assert file_of(root / "packed", SHARD).exists()
    return root


@pytest.fixture
def dataset(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the dataset that the test can change."""
    return Path(shutil.copytree(root / "packed", tmp_path / "packed"))
