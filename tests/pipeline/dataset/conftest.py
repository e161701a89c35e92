from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.datasets.packed_datasets import make_dataset
from tests.support.datasets.removal_datasets import DOCUMENTS


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a token store and the dataset packed/64."""
    root = tmp_path_factory.mktemp("root")
    make_dataset(root, DOCUMENTS)
    return root


@pytest.fixture
def dataset(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the dataset that the test can change."""
    return Path(shutil.copytree(root / "packed" / "64", tmp_path / "64"))
