"""Multiple choice about videos: MVBench (arXiv 2311.17005) and Video-MME (arXiv 2405.21075), from their files.

A model chooses the letter with the highest log-probability, so every reply is one of the choices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pipeline.evaluation.files.rows import Row, read_rows
from pipeline.evaluation.files.video_parts import write_part
from pipeline.evaluation.sample import Sample
from pipeline.language_models.chat import ChatRequest, Media, Message
from schemas.counted import counted
from schemas.errors import ConfigError
from schemas.files import inside

_LETTERS = "ABCDEFGH"
_VIDEO_ENDINGS = ("", ".mp4", ".webm", ".avi", ".mkv")


def mvbench_samples(paths: Sequence[Path], videos: Path, *, parts: Path, limit: int | None = None) -> Iterator[Sample]:
    """Yield the samples of MVBench's files `TASK.json`, at most `limit` of each.

    The part of a video that a question is about (`start` and `end`) becomes a file of the folder `parts`. Raises
    ConfigError for a file that is none, a video that is missing or a part that has no frame; InputError for a video
    that cannot be decoded.
    """
    for path in paths:
        rows = read_rows(path, ("video", "question", "candidates", "answer"))
        for number, row in enumerate(islice(rows, limit)):
            candidates = [str(candidate) for candidate in row["candidates"]]
            if row["answer"] not in candidates:
                raise ConfigError(f"row {number + 1} of {path}: the answer {row['answer']!r} is not a candidate")
            right = candidates.index(row["answer"])
            video = _video(videos, str(row["video"]))
            if row.get("end") is not None:
                video = write_part(video, _seconds(row, path, number), parts)
            yield choice_sample(f"{path.stem}/{number}", path.stem, video, str(row["question"]), candidates, right)


def video_mme_samples(path: Path, videos: Path, *, limit: int | None = None) -> Iterator[Sample]:
    """Yield the samples of Video-MME's file, at most `limit`; tasks are its durations short, medium and long."""
    for number, row in enumerate(islice(read_rows(path, ("videoID", "question", "options", "answer")), limit)):
        candidates = [re.sub(r"^[A-H][.)]\s*", "", str(option)) for option in row["options"]]
        if str(row["answer"]) not in _LETTERS[: len(candidates)]:
            raise ConfigError(f"row {number + 1} of {path}: the answer {row['answer']!r} is not an option")
        right = _LETTERS.index(str(row["answer"]))
        task, video = str(row.get("duration") or "video_mme"), _video(videos, str(row["videoID"]))
        yield choice_sample(_name(row, number), task, video, str(row["question"]), candidates, right)


def choice_sample(
    name: str,
    task: str,
    video: Path,
    question: str,
    candidates: Sequence[str],
    right: int,
    *,
    depth: float | None = None,
) -> Sample:
    """Return a question about a video with lettered candidates, of which the one with the number `right` is true."""
    if not 2 <= len(candidates) <= len(_LETTERS):
        raise ConfigError(f"the question {name} has {counted(len(candidates), 'candidate')}, not 2 to {len(_LETTERS)}")
    letters = tuple(_LETTERS[: len(candidates)])
    options = "\n".join(f"{letter}. {text}" for letter, text in zip(letters, candidates, strict=True))
    text = f"{question}\n{options}\nAnswer with the letter of the right option only."
    return Sample(
        id=name,
        task=task,
        request=ChatRequest(messages=(Message("user", (Media("video", video), text)),), max_tokens=1),
        references=(letters[right],),
        scorer="choice",
        choices=letters,
        depth=depth,
    )


def _seconds(row: Row, path: Path, number: int) -> tuple[float, float]:
    """Return the start and end of the part that a question is about."""
    try:
        start, end = float(row.get("start") or 0), float(row["end"])
    except (TypeError, ValueError) as e:
        raise ConfigError(f"row {number + 1} of {path}: start and end must be seconds: {e}") from e
    if not 0 <= start < end < math.inf:
        raise ConfigError(f"row {number + 1} of {path}: start and end must be ascending, got {start:g} and {end:g}")
    return start, end


def _video(folder: Path, name: str) -> Path:
    """Return the file of a video. Raises ConfigError if it is missing or not inside the folder."""
    for ending in _VIDEO_ENDINGS:
        path = inside(folder, name + ending)
        if path.is_file():
            return path
    raise ConfigError(f"the video {name!r} is not in {folder}")


def _name(row: Row, number: int) -> str:
    return str(row.get("question_id") or f"video_mme/{number}")
