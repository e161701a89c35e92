"""One valid file of every kind of input, damaged copies of it, and their survey."""

from __future__ import annotations

import faulthandler
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace, read_units
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.text.transcripts.reading import read_transcript
from pipeline.video.decoder import DecodeConfig
from schemas.errors import InputError, LongreelError, Reason
from schemas.record_errors import record_errors
from schemas.records import SURVEY
from tests.faults.outcomes import Outcomes
from tests.support.inputs.epubs import make_epub
from tests.support.inputs.media import make_video
from tests.support.mutations import mutate
from tests.support.texts import story

ITEM_LIMIT_S = 30.0
_SIZE = (64, 48)
CAPTION = b"A caption of one line."
_CUES = "1\n00:00:00,000 --> 00:00:00,400\nHello there.\n\n2\n00:00:00,500 --> 00:00:00,900\nGood evening.\n"
TRANSCRIPTS = {"a.srt": _CUES.encode(), "b.vtt": f"WEBVTT\n\n{_CUES.replace(',', '.')}".encode()}
_TURNS = {
    "turns": [
        {"role": "context", "text": "A clerk came in."},
        {"role": "question", "text": "Who came in?"},
        {"role": "answer", "text": "A clerk."},
    ]
}
VIDEOS = {"a.mp4": "libx264", "b.mkv": "libx265", "c.ts": "libx264", "d.avi": "mpeg4", "e.webm": "libvpx-vp9"}
PICTURES = ("a.png", "b.jpg", "c.webp", "d.tiff", "e.gif", "f.bmp")
TABLES = ("a.csv", "b.jsonl", "c.parquet")


def write_items(folder: Path) -> list[Path]:
    """Write one valid file of every kind of item."""
    files = [make_video(folder / name, codec=codec, frames=16, size=_SIZE) for name, codec in VIDEOS.items()]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    for name in PICTURES:
        picture.save(folder / f"picture-{name}")
        files.append(folder / f"picture-{name}")
    texts = {
        "book.txt": story(0, 12),
        "book.md": f"# One\n\n{story(1, 12)}",
        "book.html": f"<html><body><h1>One</h1><p>{story(2, 12)}</p></body></html>",
        "talk.qa.json": json.dumps(_TURNS),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        files.append(folder / name)
    return [*files, make_epub(folder / "book.epub")]


def write_tables(folder: Path) -> list[Path]:
    """Write a manifest in every form, and a table of texts."""
    book = folder / "listed.txt"
    book.write_text(story(3, 12))
    rows = [{"uri": str(book), "license": "CC0-1.0", "title": "One"}]
    csv, lines, parquet = (folder / name for name in TABLES)
    csv.write_text("uri,license,title\n" + ",".join(rows[0].values()) + "\n")
    lines.write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    texts = folder / "texts.parquet"
    pq.write_table(pa.table({"text": [story(n, 6) for n in range(3)], "title": ["a", "b", "c"]}), texts)
    return [csv, lines, parquet, texts]


@contextmanager
def watchdog(seconds: float) -> Iterator[None]:
    """End the whole test run with the stacks of all threads if the body takes longer: nothing may hang."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def survey_damaged(whole: Path, folder: Path, *, seeds: Sequence[int]) -> Outcomes:
    """Survey damaged copies of one file, together; each must have one row."""
    folder.mkdir()
    copies = [folder / f"{seed:08}{''.join(whole.suffixes)}" for seed in seeds]
    for seed, copy in zip(seeds, copies, strict=True):
        copy.write_bytes(mutate(whole.read_bytes(), seed))
    return survey_folder(whole.name, folder, expected=[str(copy) for copy in copies])


def survey_damaged_captions(whole: bytes, folder: Path, *, seeds: Sequence[int]) -> Outcomes:
    """Survey a picture with damaged captions; each copy must have one row."""
    folder.mkdir()
    picture = Image.new("RGB", _SIZE)
    copies = [folder / f"{seed:08}.png" for seed in seeds]
    for seed, copy in zip(seeds, copies, strict=True):
        picture.save(copy)
        copy.with_suffix(".txt").write_bytes(mutate(whole, seed))
    return survey_folder("caption", folder, expected=[str(copy) for copy in copies])


def read_damaged_transcripts(name: str, whole: bytes, folder: Path, *, seeds: Sequence[int]) -> Outcomes:
    """Read damaged copies of a transcript as `tokenize` does."""
    folder.mkdir()
    outcomes = Outcomes(f"transcript {name}")
    for seed in seeds:
        copy = folder / f"{seed:08}-{name}"
        copy.write_bytes(mutate(whole, seed))
        try:
            with watchdog(ITEM_LIMIT_S), record_errors(str(copy)):
                read_transcript(copy)
        except InputError as e:
            outcomes.named += e.reason is not Reason.FAILED
            outcomes.wrong += [] if e.reason is not Reason.FAILED else [f"{name}, seed {seed}: {e}"]
        else:
            outcomes.unchanged += 1
    return outcomes


def survey_folder(kind: str, folder: Path, *, expected: Sequence[str]) -> Outcomes:
    """Survey a folder in this process: every expected item has one row, and none failed because of a defect."""
    workspace = Workspace.open(folder.with_name(f"{folder.name}.out"), units=1)
    decode = DecodeConfig(time_limit_s=ITEM_LIMIT_S)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), decode=decode)
    outcomes = Outcomes(kind)
    with watchdog(60 + ITEM_LIMIT_S * len(expected)):
        survey_items([str(folder)], workspace, worker, Runner())
    return count_rows(outcomes, workspace, expected=expected)


def count_rows(outcomes: Outcomes, workspace: Workspace, *, expected: Sequence[str]) -> Outcomes:
    """Add the rows of a finished survey to the outcomes."""
    rows = read_units(workspace.survey, SURVEY).select(["uri", "reason", "detail"]).to_pylist()
    counts = Counter(row["uri"] for row in rows)
    outcomes.wrong += [f"{uri} has {counts[uri]} rows" for uri in expected if counts[uri] != 1]
    for row in rows:
        if row["reason"] is None:
            outcomes.unchanged += 1
        elif row["reason"] == Reason.FAILED or not row["detail"]:
            outcomes.wrong.append(f"{row['uri']}: {row['reason']}, {row['detail']}")
        else:
            outcomes.named += 1
    return outcomes


def survey_damaged_table(whole: Path, folder: Path, *, seeds: Sequence[int]) -> Outcomes:
    """Survey damaged copies of a manifest, one at a time: it gives rows, or an error of Longreel ends that survey."""
    folder.mkdir()
    outcomes = Outcomes(f"table {whole.name}")
    for seed in seeds:
        copy = folder / f"{seed:08}{whole.suffix}"
        copy.write_bytes(mutate(whole.read_bytes(), seed))
        workspace = Workspace.open(folder / f"{seed:08}.out", units=1)
        worker = SurveyWorker(workspace=workspace, config=SurveyConfig())
        try:
            with watchdog(60 + ITEM_LIMIT_S):
                survey_items([str(copy)], workspace, worker, Runner())
        except LongreelError:
            outcomes.named += 1
        except Exception as e:  # noqa: BLE001 - what escapes is what is looked for
            outcomes.wrong.append(f"{whole.name}, seed {seed}: {e!r}")
        else:
            failed = count_rows(Outcomes(""), workspace, expected=()).wrong
            outcomes.wrong += failed
            outcomes.unchanged += not failed
    return outcomes
