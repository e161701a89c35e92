"""Frames of a video next to their reconstruction from tokens."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.reports.reconstruction import codes_of, find_video, source_frames
from pipeline.runtime.token_store import StoreFacts
from pipeline.runtime.workspace import Workspace
from tests.support.stages import Models, Reports, rows_of

pytestmark = pytest.mark.slow


def test_the_picture_of_a_video_shows_its_first_clip(clips: tuple[Workspace, Reports], models: Models) -> None:
    workspace, _ = clips
    stored = find_video(workspace, "three")
    assert stored.row["document_id"].endswith("#00000")
    assert len(codes_of(stored, StoreFacts.read(workspace.tokens).vocabulary)) == 8
    second = type(stored)(rows_of(workspace, "three.mp4")[1], stored.tokens)
    config = models.config().decode
    whole = type(stored)(stored.row | {"clip": None}, stored.tokens)
    assert np.array_equal(source_frames(second, config, 3), source_frames(whole, config, 24)[8:11])
