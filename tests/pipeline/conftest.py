"""Tokenizers, and a workspace of clips, that tests of several packages read.

The fixtures import what they need, so that tests of pure functions do not wait for Beam and JAX.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipeline.runtime.workspace import Workspace
    from tests.support.stages import Models, Reports


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A text model and a tiny VQGAN, both as files."""
    from tests.support.stages import save_models

    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def shots_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of three shots with a caption and cues, one of a single shot, and a book."""
    from tests.support.stages import write_shots

    return write_shots(tmp_path_factory.mktemp("shots"))


@pytest.fixture(scope="session")
def clips(shots_folder: Path, models: Models, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Reports]:
    """The workspace, tokenized and packed, in which each shot of `shots_folder` is a document; and the reports.

    Tests must not change it.
    """
    from tests.support.stages import run_on_clips

    return run_on_clips(shots_folder, tmp_path_factory.mktemp("clips") / "out", models)
