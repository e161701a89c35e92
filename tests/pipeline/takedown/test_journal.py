"""The record of progress of a takedown, and its receipt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.runtime.workspace import Workspace
from pipeline.takedown.find import Found, Related, Target
from pipeline.takedown.journal import Journal, Request, discard_unbegun, new_id, pending
from schemas.errors import DatasetError
from schemas.fingerprint import sha256_file

TARGET = Target(uri="/v/a.mp4", kind="video", document_id="d", content_id=None, because="requested")
FOUND = Found(
    targets=(TARGET,), related=(Related(uri="/v/b.mp4", content_id="c", shares="10%"),), adopters={"e": "/v/c"}
)
REQUEST = Request(
    id="id", started="now", items=("a.mp4",), near_duplicates=True, min_containment=0.5, found=FOUND, also=("/x",)
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(Workspace.open(tmp_path / "out", units=1), "id")
    journal.begin(REQUEST)
    return journal


def test_a_request_is_read_as_written_and_pending_until_it_is_finished(journal: Journal, tmp_path: Path) -> None:
    workspace = Workspace.existing(tmp_path / "out")
    (found,) = pending(workspace)
    assert found.request() == REQUEST
    found.finish({"id": "id"})
    assert pending(workspace) == []
    assert json.loads(found.receipt.read())["id"] == "id"


def test_a_damaged_request_names_its_file(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "out" / "takedown" / "pending" / "id" / "request.json"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DatasetError, match="delete its folder and name the items again"):
        journal.request()


def test_the_first_hash_of_a_file_is_kept_over_a_kill(journal: Journal, tmp_path: Path) -> None:
    root = tmp_path / "out"
    (root / "folder").mkdir()
    for name in ("folder/changed", "folder/deleted", "same"):
        (root / name).write_text("before")
        journal.before(root / name)
    before = sha256_file(root / "same")
    (root / "folder" / "changed").write_text("between")
    again = Journal(Workspace.existing(root), "id")
    again.before(root / "folder" / "changed")
    (root / "folder" / "changed").write_text("after")
    (root / "folder" / "deleted").unlink()
    after = sha256_file(root / "folder" / "changed")
    assert again.changes() == [
        {"path": "folder/changed", "sha256_before": before, "sha256_after": after},
        {"path": "folder/deleted", "sha256_before": before, "sha256_after": None},
    ]


def test_a_receipt_is_never_written_over(journal: Journal) -> None:
    journal.finish({"id": "first"})
    journal.finish({"id": "second"})
    assert json.loads(journal.receipt.read())["id"] == "first"


def test_a_request_that_was_not_written_is_discarded(journal: Journal, tmp_path: Path) -> None:
    workspace = Workspace.existing(tmp_path / "out")
    unbegun = workspace.takedown.local() / "pending" / "other"
    unbegun.mkdir()
    (unbegun / ".request.json.0123abcd.tmp").touch()
    discard_unbegun(workspace)
    assert [found.id for found in pending(workspace)] == ["id"]
    assert not unbegun.exists()


def test_ids_differ() -> None:
    assert new_id() != new_id()
