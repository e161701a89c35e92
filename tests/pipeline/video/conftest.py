"""Fixtures for the tests of the decoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.inputs.media import make_video


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video long enough that its decoder still runs, or waits with a full ring, when a test interferes."""
    return make_video(tmp_path_factory.mktemp("video") / "a.mp4", frames=3000)
