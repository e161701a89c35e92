"""A curated and packed workspace, built once for the tests of the report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.runtime.workspace import Workspace
from tests.support.finished_workspace import write_finished_workspace
from tests.support.survey_rows import select_config


@pytest.fixture(scope="package")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace that no test changes, selected with one limit that is not the default."""
    return write_finished_workspace(tmp_path_factory.mktemp("report") / "out", select_config("sharpness=1:"))


@pytest.fixture
def mine(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the workspace that a test may change."""
    return Workspace.existing(Path(shutil.copytree(workspace.root.local(), tmp_path / "out")))
