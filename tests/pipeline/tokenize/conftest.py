"""Small inputs for the tests of tokenize."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.inputs.media import make_video
from tests.support.stages import CLOCKS, drifting_patches, write_books


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, and a book."""
    folder = tmp_path_factory.mktemp("videos")
    for name, frames in (("a.mp4", 50), ("b.mkv", 75), ("c.mp4", 60)):
        make_video(folder / name, frames=frames, picture=drifting_patches(frames))
    write_books(folder, 1).joinpath("0.txt").rename(folder / "book0.txt")
    return folder


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A folder of three books."""
    return write_books(tmp_path / "books")


@pytest.fixture
def questions(books: Path, videos: Path) -> Path:
    """The books with a video and three question-answer documents, of which one is broken."""
    shutil.copy(videos / "c.mp4", books / "c.mp4")
    story = {"role": "context", "text": CLOCKS.format(7)}
    for n in range(2):
        asked = [{"role": "question", "text": f"Clock {i}?"} for i in range(n + 1)]
        answers = [{"role": "answer", "text": f"Thirteen, as on day {i}."} for i in range(n + 1)]
        turns = [story, *(turn for pair in zip(asked, answers, strict=True) for turn in pair)]
        (books / f"{n}.qa.json").write_text(json.dumps({"turns": turns}))
    (books / "broken.qa.json").write_text('{"turns": [')
    (books / "notes.json").write_text("{}")  # not a question-answer document: skipped
    return books
