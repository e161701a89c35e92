"""Items that were taken down return under no name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.dedup.block_list import BlockedItem, BlockList, SampleKeys, search_of
from pipeline.runtime.beam import Runner
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.workspace import Workspace
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.taken_down import (
    listed_fingerprint,
    replaced_items,
    taken_down_item,
    taken_down_row,
    unsearchable_note,
    without_blocked,
)
from pipeline.survey.worker import SurveyWorker
from pipeline.takedown.takedown import TakedownConfig, take_down
from schemas.rows import ManifestItem, SurveyRow, manifest_items, manifest_table
from tests.support.leftovers import files_with
from tests.support.texts import story


def survey(workspace: Workspace, *inputs: Path) -> JobReport:
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig())
    return survey_items([str(path) for path in inputs], workspace, worker, Runner())


@pytest.mark.slow
def test_a_book_returns_neither_under_its_name_nor_as_a_copy_edition_or_row_of_a_table(tmp_path: Path) -> None:
    folder, workspace = tmp_path / "in", Workspace.open(tmp_path / "out", units=2)
    folder.mkdir()
    (folder / "a.txt").write_text(story(1, 200))
    (folder / "b.txt").write_text(story(2, 200))
    assert survey(workspace, folder).kept == 2
    take_down(workspace, ["a.txt"], TakedownConfig())
    assert survey(workspace, folder).new == 0
    (folder / "again.txt").write_text(story(1, 200))
    (folder / "edition.txt").write_text("A preface.\n\n" + story(1, 200))
    rows = [{"text": story(1, 200), "title": "zebra"}, {"text": story(3, 200), "title": "heron"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = survey(workspace, folder, tmp_path / "rows.jsonl")
    assert (report.kept, report.rejected) == (2, {"taken_down": 4})
    assert files_with(workspace.root, b"zebra") == []
    assert survey(workspace, folder, tmp_path / "rows.jsonl").new == 0
    (folder / "again.txt").write_text("Another text at an address that was taken down.")
    assert BlockList.read(workspace).at(str(folder / "again.txt")) is not None
    assert survey(workspace, folder, tmp_path / "rows.jsonl").new == 0


def test_only_address_and_kind_stay_of_an_item() -> None:
    row = SurveyRow(uri="a.mp4", kind="video", title="t", captions=("c",), document_id="d", content_id="c")
    left = taken_down_row(row, "id")
    item = taken_down_item("a.mp4", "video", "id")
    assert left == SurveyRow.of(item, fingerprint=listed_fingerprint(item))
    assert item.detail == "taken down; see takedown/receipts/id.json"
    items = manifest_table(
        [ManifestItem(uri="a.mp4", kind="video", title="t"), ManifestItem(uri="b.mp4", kind="video")]
    )
    assert without_blocked(items, BlockList()) == items
    assert manifest_items(replaced_items(items, {"a.mp4": "id"})) == [ManifestItem(uri="b.mp4", kind="video"), item]


def test_a_row_of_a_table_keeps_its_fingerprint() -> None:
    row = SurveyRow(uri="/t.jsonl#byte=000000000000", kind="book", fingerprint="f")
    assert taken_down_row(row, "id").fingerprint == "f"


def test_taken_down_items_whose_copies_can_no_longer_be_searched_are_named() -> None:
    keys = SampleKeys(np.zeros((1, 1), np.uint64), np.zeros(1, np.int32))
    now = BlockedItem(uri="/v/a", kind="video", takedown="t", content_id="c", search=search_of("video"), samples=keys)
    assert unsearchable_note(BlockList((now,))) == ""
    old = dataclasses.replace(now, search="of another version")
    assert unsearchable_note(BlockList((now, old))).startswith(
        "hash keys of another version: 1 taken-down item, such as /v/a;"
    )
