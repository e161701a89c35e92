"""The survey job: which items it surveys again, and size limits."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace, read_units
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.select.selection import read_selection
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.text.qa import QaConfig
from schemas.errors import ManifestError
from schemas.records import SURVEY
from tests.support.inputs.parquet_files import not_utf8
from tests.support.stages import write_books
from tests.support.surveys import run_survey

pytestmark = pytest.mark.slow


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A folder of three books."""
    return write_books(tmp_path / "books")


def test_a_remux_is_a_duplicate(folder: Path, tmp_path: Path) -> None:
    run_survey(folder, tmp_path / "out")
    workspace = Workspace.existing(tmp_path / "out")
    select_items(workspace, SelectConfig(), Runner())
    judged = {Path(row["uri"]).name: row for row in read_selection(workspace).rows.to_pylist()}
    assert (judged["a.mp4"]["reason"], judged["b.mkv"]["reason"]) == (None, "duplicate")
    assert judged["b.mkv"]["detail"].startswith("same content as ")


def test_a_second_run_does_nothing_and_the_same_input_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    def made(out: Path) -> dict[str, bytes]:
        return {path.parts[-3]: path.read_bytes() for path in out.glob("s*/*/unit-*.parquet")}

    run_survey(folder, tmp_path / "out")
    before = made(tmp_path / "out")
    assert set(before) == {"survey", "signatures"}
    assert run_survey(folder, tmp_path / "out")[0].new == 0
    run_survey(folder, tmp_path / "other")
    assert made(tmp_path / "out") == made(tmp_path / "other") == before


def test_another_configuration_changes_the_rows(folder: Path, tmp_path: Path) -> None:
    _, _, before = run_survey(folder, tmp_path / "out")
    report, rows, after = run_survey(folder, tmp_path / "out", thumbnails=2)
    name = rows["a.mp4"]["content_id"]
    assert report.new == 6
    sizes = [Image.open(io.BytesIO(found[name]["thumbnail"])).size[0] for found in (before, after)]
    assert sizes == [5 * 144, 2 * 144]
    sparse = run_survey(folder, tmp_path / "out", decode_below_s=0)[1]
    assert sparse["a.mp4"]["measures"]["sampled_frames"] < rows["a.mp4"]["measures"]["sampled_frames"]


def test_raising_the_size_limit_accepts_items_that_it_rejected(books: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out", units=2)
    for limit, rejected in ((5, {"too_large": 3}), (1 << 20, {})):
        worker = SurveyWorker(workspace=workspace, config=SurveyConfig(max_bytes=limit))
        assert survey_items([str(books)], workspace, worker, Runner()).rejected == rejected


def test_question_answer_documents_have_their_own_size_limit(books: Path, tmp_path: Path) -> None:
    (books / "long.qa.json").write_text('{"turns": [{"role": "answer", "text": "%s"}]}' % ("x" * 5000))
    workspace = Workspace.open(tmp_path / "out", units=2)
    for limit, rejected in ((4000, {"too_large": 1}), (6000, {})):
        worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), qa=QaConfig(max_bytes=limit))
        assert survey_items([str(books)], workspace, worker, Runner()).rejected == rejected


def test_retry_surveys_only_the_rejected_items_again(books: Path, tmp_path: Path) -> None:
    (books / "0.txt").write_bytes(b"\0")
    # One item per unit, because `new` counts all items of a unit.
    workspace = Workspace.open(tmp_path / "out", units=10_000)
    for retry, new in ((False, 3), (False, 0), (True, 1)):
        worker = SurveyWorker(workspace=workspace, config=SurveyConfig(), retry=retry)
        assert survey_items([str(books)], workspace, worker, Runner()).new == new


def test_a_text_of_40_gigabytes_is_rejected_without_reading_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "huge.txt").open("wb") as f:
        f.truncate(40 << 30)  # sparse: takes no room, and would take minutes to read
    workspace = Workspace.open(tmp_path / "out", units=1)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig())
    started = time.monotonic()
    assert survey_items([str(tmp_path / "in")], workspace, worker, Runner()).rejected == {"too_large": 1}
    assert time.monotonic() - started < 60  # of the 100 and more that 40 GB take to hash


def test_invalid_rows_are_rejected_and_the_others_are_surveyed(books: Path, tmp_path: Path) -> None:
    lines = ['{"uri": "books/0.txt"}', '{"uri": "books/1.txt", "title": 1984}', "{oops", '{"kind": "video"}']
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    pq.write_table(pa.table({"text": not_utf8([b"caf\xe9", b"a tale " * 200])}), tmp_path / "t.parquet")
    inputs = [str(tmp_path / name) for name in ("m.jsonl", "t.parquet")]
    workspace = Workspace.open(tmp_path / "out", units=2)
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig())
    for new in (6, 0):
        report = survey_items(inputs, workspace, worker, Runner())
        assert (report.items, report.kept, report.rejected) == (6, 2, {"invalid_row": 3, "not_text": 1})
        assert report.new == new
    rejected = {row["detail"]: row for row in read_units(workspace.survey, SURVEY).to_pylist() if row["reason"]}
    (title,) = (row for detail, row in rejected.items() if "1984" in detail)
    assert (title["uri"], title["kind"], title["document_id"]) == (str(books / "1.txt"), "book", None)


def test_an_input_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "new")
    with pytest.raises(ManifestError, match="no such file or folder"):
        survey_items(["gone"], workspace, SurveyWorker(workspace=workspace, config=SurveyConfig()), Runner())
