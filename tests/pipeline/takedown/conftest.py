"""A finished workspace that a test can change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.runtime.workspace import Workspace
from tests.support.finished_workspace import write_finished_workspace


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return write_finished_workspace(tmp_path_factory.mktemp("finished") / "out")


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    return Workspace.existing(Path(shutil.copytree(finished.root.local(), tmp_path / "out")))
