"""The choice of a stored video, its prompt and codes, and the comparison image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.reports.reconstruction import StoredVideo, codes_of, find_video, prompt_of, source_frames, write_rows
from pipeline.runtime.token_store import StoreFacts
from pipeline.runtime.workspace import Workspace
from schemas.errors import ConfigError
from schemas.rows import DocumentRow
from tests.support.stages import Models, Reports, rows_of
from tests.support.token_stores import FRAME, VOCABULARY, StoredDocument, book, video, write_workspace


def test_a_video_of_the_validation_split_is_the_default(tmp_path: Path) -> None:
    documents = [video("a.mp4", [4]), video("b.mp4", [3], split="val"), book("c.txt", 20, split="val")]
    workspace = write_workspace(tmp_path / "out", documents)
    assert find_video(workspace, None).row.uri == "files/b.mp4"
    stored = find_video(workspace, "a.mp4")
    np.testing.assert_array_equal(stored.tokens, documents[0].tokens)


@pytest.mark.parametrize(
    ("documents", "name", "message"),
    [
        ([book("c.txt", 20)], None, "has no tokenized video"),
        ([video("a.mp4", [2]), video("b.mp4", [2])], "mp4", "'mp4' matches 2 stored videos; give one of: a.mp4, b.mp4"),
        ([video("a.mp4", [2])], "z", "'z' matches 0 stored videos; give one of: a.mp4"),
    ],
)
def test_no_video_or_several_matching_videos_are_an_error(
    tmp_path: Path, documents: list[StoredDocument], name: str | None, message: str
) -> None:
    workspace = write_workspace(tmp_path / "out", documents)
    with pytest.raises(ConfigError, match=message):
        find_video(workspace, name)


def test_the_prompt_ends_after_its_last_frame(tmp_path: Path) -> None:
    stored = find_video(write_workspace(tmp_path / "out", [video("a.mp4", [4, 2])]), None)
    prompt = prompt_of(stored, 2)
    assert prompt[-1] == VOCABULARY.eof
    assert (prompt == VOCABULARY.eof).sum() == 2
    with pytest.raises(ConfigError, match="has 4 frames before its first text; got --prompt-frames 4"):
        prompt_of(stored, 4)  # nothing would be left to compare the continuation with
    assert codes_of(stored, VOCABULARY).shape == (6, FRAME - 1)


def test_the_image_marks_where_the_generation_begins(tmp_path: Path) -> None:
    frames = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.full((1, 8, 8, 3), 20, np.uint8)
    write_rows(tmp_path / "a.png", {"all": frames, "two": frames[:3]}, columns=3, title="a.mp4", generated_from=2)
    red = (255, 0, 0)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (3 * 8 + 2 * 2, 18 + 2 * (8 + 18 + 2))
        assert [image.getpixel((10 * x + 4, 40)) for x in range(3)] == [(0, 0, 0), (20, 20, 20), (40, 40, 40)]
        assert image.getpixel((24, 40)) == (40, 40, 40)
        assert [image.getpixel((x, 40)) for x in (18, 19, 20)] == [red, red, (40, 40, 40)]  # the line
        assert [image.getpixel((x, 68)) for x in (12, 20, 24)] == [(20, 20, 20), red, (40, 40, 40)]  # the last row


@pytest.mark.slow
def test_source_frames_of_a_clip_start_at_its_time_in_the_video(
    clips: tuple[Workspace, Reports], models: Models
) -> None:
    workspace, _ = clips
    stored = find_video(workspace, "three")
    assert stored.row.document_id.endswith("#00000")
    assert len(codes_of(stored, StoreFacts.read(workspace.tokens).vocabulary)) == 8
    second = StoredVideo(DocumentRow.from_row(rows_of(workspace, "three.mp4")[1]), stored.tokens)
    config = models.config().decode
    whole = StoredVideo(replace(stored.row, clip=None), stored.tokens)
    assert np.array_equal(source_frames(second, config, 3), source_frames(whole, config, 24)[8:11])
