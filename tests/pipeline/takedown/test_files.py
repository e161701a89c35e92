"""What a workspace has besides its tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime.workspace import Workspace
from pipeline.takedown.files import clear_files, is_unfinished, unknown_files
from pipeline.takedown.journal import Journal
from tests.pipeline.takedown.test_journal import REQUEST
from tests.support.datasets.removal_datasets import contents


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace.open(tmp_path / "out", units=1)
    (workspace.root.local() / "logs").mkdir()
    return workspace


def test_files_that_may_quote_an_item_are_deleted_and_journals_lose_its_lines(workspace: Workspace) -> None:
    root, journal = workspace.root.local(), Journal(workspace, "id")
    journal.begin(REQUEST)
    left = {
        "logs/run.toml",
        "logs/survey/run/element-00000.jsonl",
        "notes.txt",
        "workspace.json",
        "takedown/pending/id/request.json",
    }
    gone = ("logs/survey-error.txt", "logs/tokenize-defects.txt", "logs/survey/run/errors/1.json", "report.html")
    gone += ("survey/1/.unit-00000.parquet.0123abcd.tmp", "packed/64/.train.tar.0123abcd.tmp", "dedup/x/keys.u64")
    gone += ("takedown/blocked/.id.parquet.0123abcd.tmp",)
    for name in (*gone, *left - {"workspace.json", "takedown/pending/id/request.json"}):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('{"uri": "/v/a.mp4"}\n{"uri": "/v/b.mp4"}\n')
    clear_files(workspace, REQUEST, journal)
    assert {name for name in contents(root) if not name.startswith("takedown/pending/id/before/")} == left
    assert (root / "logs/survey/run/element-00000.jsonl").read_text() == '{"uri": "/v/b.mp4"}\n'
    assert unknown_files(workspace) == ["notes.txt"]


def test_the_log_loses_the_lines_that_name_an_item_or_its_file(workspace: Workspace) -> None:
    journal, log = Journal(workspace, "id"), workspace.root.local() / "logs" / "log.jsonl"
    journal.begin(REQUEST)
    lines = ['{"message": "working on a.mp4 for 9 s"}\n', '{"message": "/v/a.mp4 failed"}\n', '{"message": "b.mp4"}\n']
    earlier = log.with_name("log.jsonl.1")
    for file in (log, earlier):
        file.write_text("".join(lines))
    clear_files(workspace, REQUEST, journal)
    assert log.read_text() == earlier.read_text() == lines[2]


def test_a_dataset_is_unfinished_until_it_has_a_card(workspace: Workspace) -> None:
    folder = workspace.packed(64)
    assert is_unfinished(folder)
    (folder / "dataset.json").write(b"")
    assert not is_unfinished(folder)
