"""MVBench's and Video-MME's files become multiple choice about videos inside the given folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.files.video_choices import choice_sample, mvbench_samples, video_mme_samples
from pipeline.language_models.chat import Media
from schemas.errors import ConfigError, DatasetError
from tests.support.inputs.media import make_video


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.webm"):
        (folder / name).touch()
    (tmp_path / "secret.mp4").touch()
    return folder


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "task.json"
    path.write_text(json.dumps(rows))
    return path


def test_mvbench_has_lettered_candidates(tmp_path: Path, videos: Path) -> None:
    row = {"video": "a.mp4", "question": "What moves?", "candidates": ["ball", "cat", "door"], "answer": "cat"}
    (sample,) = mvbench_samples([written(tmp_path, [row])], videos, parts=tmp_path)
    media, text = sample.request.messages[0].parts
    assert media == Media("video", videos / "a.mp4")
    assert text == "What moves?\nA. ball\nB. cat\nC. door\nAnswer with the letter of the right option only."
    assert (sample.choices, sample.references, sample.task) == (("A", "B", "C"), ("B",), "task")
    with pytest.raises(ConfigError, match="the answer 'dog' is not a candidate"):
        list(mvbench_samples([written(tmp_path, [row | {"answer": "dog"}])], videos, parts=tmp_path))


@pytest.mark.slow
def test_a_part_of_a_video_becomes_a_file_that_is_kept(tmp_path: Path, videos: Path) -> None:
    make_video(videos / "a.mp4", frames=12, rate=4)
    row = {"video": "a.mp4", "question": "What?", "candidates": ["x", "y"], "answer": "y", "start": 1, "end": 2.0}
    file, parts = written(tmp_path, [row, row | {"start": None, "end": 0.5}]), tmp_path / "parts"
    first, second = (sample.request.messages[0].parts[0] for sample in mvbench_samples([file], videos, parts=parts))
    assert isinstance(first, Media)
    assert sorted(parts.iterdir()) == sorted([first.path, second.path])  # type: ignore[union-attr]
    before = first.path.stat()
    again, _ = (sample.request.messages[0].parts[0] for sample in mvbench_samples([file], videos, parts=parts))
    assert again == first
    assert first.path.stat() == before


@pytest.mark.parametrize(
    "part", [{"end": "soon"}, {"start": 2, "end": 1}, {"end": float("inf")}, {"start": [], "end": {}}]
)
def test_times_that_are_none_are_refused(tmp_path: Path, videos: Path, part: dict[str, Any]) -> None:
    row = {"video": "a.mp4", "question": "What?", "candidates": ["x", "y"], "answer": "y", **part}
    with pytest.raises(ConfigError, match="row 1 of .*: start and end must be"):
        list(mvbench_samples([written(tmp_path, [row])], videos, parts=tmp_path))


def test_video_mme_has_options_with_letters(tmp_path: Path, videos: Path) -> None:
    row = {"videoID": "b", "question": "Who?", "options": ["A. One", "B. Two"], "answer": "A", "duration": "long"}
    (sample,) = video_mme_samples(written(tmp_path, [row]), videos)
    assert sample.request.messages[0].text.startswith("Who?\nA. One\nB. Two\n")
    assert (sample.references, sample.task) == (("A",), "long")
    assert sample.request.messages[0].parts[0] == Media("video", videos / "b.webm")
    with pytest.raises(ConfigError, match="the answer 'C' is not an option"):
        list(video_mme_samples(written(tmp_path, [row | {"answer": "C"}]), videos))


@pytest.mark.parametrize("name", ["none", "../secret.mp4", "/etc/passwd", ""])
def test_a_video_outside_of_the_folder_is_not_found(tmp_path: Path, videos: Path, name: str) -> None:
    row = {"videoID": name, "question": "Who?", "options": ["A. One", "B. Two"], "answer": "A"}
    with pytest.raises((ConfigError, DatasetError)):
        list(video_mme_samples(written(tmp_path, [row]), videos))


def test_a_question_needs_two_to_eight_candidates(videos: Path) -> None:
    for candidates in (["x"], list("abcdefghi")):
        with pytest.raises(ConfigError, match="not 2 to 8"):
            choice_sample("n", "t", videos / "a.mp4", "?", candidates, 0)
